"""Batches of Azure ML Studio (classic): programs of its users, and what they ask for, against a server with keys."""

from __future__ import annotations

import csv
import json
import shutil
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ludocast.serve.jobs.options import JobOptions
from ludocast.serve.safety.guard import KeyGuard

from ludocast.__main__ import main
from tests.serve.listening import ask, listening, self_signed, served
from tests.serve.logistic import by_hand, write_logistic
from tests.serve.test_jobs import ended, get

CLIENTS = Path(__file__).parent / "classic_clients"
TABLE = "id,age,plan,active,last seen \n1,30,pro,true,\n2,41,basic,false,\n"
WANTED = [by_hand(30, "pro", "true", None), by_hand(41, "basic", "false", None)]


@dataclass(frozen=True)
class Place:
    url: str
    files: Path
    key: str
    other: str

    @property
    def service(self) -> str:
        return f"{self.url}/workspaces/0123456789abcdef/services/demo/jobs"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("classic")
    bundle = write_logistic(folder / "demo")
    files = folder / "blobs"
    (files / "container").mkdir(parents=True)
    (files / "container" / "in.csv").write_text(TABLE)
    keys = folder / "keys.json"
    printed: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *words, **_: printed.append(str(words[0])))
        for name, scope in (("night", "jobs"), ("other", "jobs"), ("front", "predict")):
            assert main(["keys", "add", name, "--keys", str(keys), "--scopes", scope]) == 0
    with served(bundle, guard=KeyGuard(keys), jobs=JobOptions(folder / "jobs", files)) as url:
        yield Place(url, files, printed[0], printed[-1])


def check_result(path: Path) -> None:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-2:] == ["Scored Labels", "Scored Probabilities"]
    assert [float(row["Scored Probabilities"]) for row in rows] == pytest.approx(WANTED, abs=1e-6)
    assert [row["id"] for row in rows] == ["1", "2"]


def run(place: Place, folder: Path, *command: str | Path) -> None:
    words = [*map(str, command), place.service, place.key, "/container/in.csv", "container/out/scored.csv"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    check_result(folder / "result.csv")
    check_result(place.files / "container" / "out" / "scored.csv")


def test_a_program_in_python(place: Place, tmp_path: Path) -> None:
    run(place, tmp_path, sys.executable, CLIENTS / "batch.py")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_a_program_in_javascript(place: Place, tmp_path: Path) -> None:
    run(place, tmp_path, "node", CLIENTS / "batch.js")


@pytest.mark.skipif(shutil.which("mcs") is None, reason="mono is not installed (apt-get install mono-devel)")
def test_a_program_in_c_sharp(place: Place, tmp_path: Path) -> None:
    compiler = ["mcs", "-r:System.Net.Http", "-r:System.Web.Extensions", f"-out:{tmp_path / 'batch.exe'}"]
    subprocess.run([*compiler, str(CLIENTS / "Batch.cs")], check=True, capture_output=True)
    run(place, tmp_path, "mono", tmp_path / "batch.exe")


def call(place: Place, path: str, body: object = None, method: str = "GET") -> tuple[int, object]:
    return ask(f"{place.service}{path}", body, method, {"Authorization": f"Bearer {place.key}"})


def test_a_job_from_its_id_to_its_end(place: Place) -> None:
    status, job = call(place, "", {"Input": {"RelativeLocation": "container/in.csv"}, "Output": None}, "POST")
    assert status == 200
    assert isinstance(job, str)
    status, found = call(place, f"/{job}?api-version=2.0")
    assert isinstance(found, dict)
    assert (found["StatusCode"], found["Results"], found["Details"]) == ("NotStarted", None, None)
    request = {"Authorization": f"Bearer {place.key}"}
    assert ask_status(place, f"/{job}/start?api-version=2.0", "POST") == 204
    ended(place.url, job, request)
    _, found = call(place, f"/{job}")
    assert isinstance(found, dict)
    assert found["StatusCode"] == "Finished"
    location = found["Results"]["output1"]
    assert location["RelativeLocation"] == "output1.csv"
    url = location["BaseLocation"] + location["RelativeLocation"]
    assert get(url + location["SasBlobToken"])[0] == 200
    for wrong in ("", "?sig=", location["SasBlobToken"] + "x"):
        assert get(url + wrong)[0] == 403
    assert ask_status(place, f"/{job}/start", "POST") == 400
    assert ask_status(place, f"/{job}", "DELETE") == 204
    assert ask_status(place, f"/{job}", "GET") == 404


def ask_status(place: Place, path: str, method: str) -> int:
    import urllib.error
    import urllib.request

    headers = {"Authorization": f"Bearer {place.key}"}
    data = b"" if method == "POST" else None
    try:
        with urllib.request.urlopen(
            urllib.request.Request(place.service + path, data, headers, method=method), timeout=20
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code if json.loads(error.read())["error"]["details"] else 0


def test_a_job_that_is_deleted_before_its_end_is_cancelled(place: Place) -> None:
    _, job = call(place, "", {"Input": {"RelativeLocation": "container/in.csv"}}, "POST")
    assert ask_status(place, f"/{job}", "DELETE") == 204
    _, found = call(place, f"/{job}")
    assert isinstance(found, dict)
    assert found["StatusCode"] == "Cancelled"


@pytest.mark.parametrize(
    ("document", "status", "sentence"),
    [
        ({}, 400, "RelativeLocation"),
        ({"Input": {"RelativeLocation": "../secret.csv"}}, 403, "not below"),
        ({"Input": {"RelativeLocation": "container/none.csv"}}, 400, "no such file"),
        ({"Input": {"RelativeLocation": "container/in.csv"}, "Outputs": {"o": {"RelativeLocation": "../../x"}}}, 403, "not below"),
        ({"Input": {"RelativeLocation": "container/in.csv"}, "Output": {"RelativeLocation": "container/in.csv"}}, 400, "that of the input"),
        ({"Input": {"RelativeLocation": "container/in.csv"}, "GlobalParameters": {"a": "1"}}, 400, "GlobalParameters"),
    ],
)  # fmt: skip
def test_refusals_have_the_shape_of_the_service(place: Place, document: object, status: int, sentence: str) -> None:
    found, answer = call(place, "?api-version=2.0", document, "POST")
    assert isinstance(answer, dict)
    assert found == status, answer
    assert sentence in answer["error"]["details"][0]["message"]


def test_keys_have_their_scopes_and_their_own_jobs(place: Place) -> None:
    front = {"Authorization": f"Bearer {place.other}"}
    assert ask(f"{place.url}/jobs", headers=front)[0] == 403
    assert ask(f"{place.url}/jobs")[0] == 401


def test_an_output_of_a_server_that_speaks_https_is_read_by_https(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    certificate, key = self_signed(tmp_path)
    context = ssl.create_default_context(cafile=str(certificate))
    (tmp_path / "in.csv").write_text(TABLE)
    options = ("--tls-certificate", certificate, "--tls-key", key, "--jobs", tmp_path / "jobs", "--job-files", tmp_path)
    with listening(write_logistic(tmp_path / "demo"), options=tuple(map(str, options))) as url:

        def answer(address: str, body: bytes | None = None) -> bytes:
            request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=20, context=context) as found:
                return bytes(found.read())

        jobs = f"{url}/workspaces/w/services/demo/jobs"
        asked = json.dumps({"Input": {"RelativeLocation": "in.csv"}}).encode()
        job = f"{jobs}/{json.loads(answer(jobs, asked))}"
        answer(f"{job}/start", b"")
        until = time.monotonic() + 60
        while (told := json.loads(answer(job)))["StatusCode"] != "Finished":
            assert time.monotonic() < until, told
            time.sleep(0.05)
        output = told["Results"]["output1"]
        assert output["BaseLocation"].startswith(f"{url}/outputs/")
        table = answer(output["BaseLocation"] + output["RelativeLocation"] + output["SasBlobToken"])
        assert b"Scored Probabilities" in table
