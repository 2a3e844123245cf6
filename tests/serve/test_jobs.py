"""Jobs over HTTP: real servers, real processes, killed where it hurts."""

from __future__ import annotations

import csv
import io
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ludocast.serve.jobs.options import JobOptions

from ludocast.__main__ import main
from tests.serve.listening import ROOT, ask, served
from tests.serve.logistic import write_logistic

CSV = {"Content-Type": "text/csv"}
TABLE = "id,age,plan,active,last seen \n1,30,pro,true,\n2,41,basic,false,2024-01-01\n3,,,,\n"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_logistic(tmp_path_factory.mktemp("bundles") / "demo")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "week 1").mkdir()
    (folder / "week 1" / "players.csv").write_text(TABLE)
    (folder / "outside.csv").symlink_to(ROOT / "README.md")
    return folder


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state") / "jobs"


@pytest.fixture(scope="module")
def url(bundle: Path, state: Path, files: Path) -> Iterator[str]:
    with served(bundle, jobs=JobOptions(state, files, largest_job=1)) as found:
        yield found


def get(url: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers or {})), timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def ended(url: str, job: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        status, found = ask(f"{url}/jobs/{job}", headers=headers)
        assert status == 200, found
        if found["state"] in ("done", "failed", "cancelled"):
            return dict(found)
        time.sleep(0.05)
    raise AssertionError(found)


def scored(bundle: Path, table: bytes, folder: Path, suffix: str = ".csv", *words: str) -> bytes:
    """What `ludocast score` makes of a table."""
    (folder / "table.csv").write_bytes(table)
    paths = ["--input", str(folder / "table.csv"), "--output", str(folder / f"wanted{suffix}")]
    assert main(["score", "--bundle", str(bundle), *paths, *words, "--overwrite"]) == 0
    return (folder / f"wanted{suffix}").read_bytes()


def test_an_uploaded_table_is_scored_as_by_the_command(url: str, bundle: Path, state: Path, tmp_path: Path) -> None:
    status, job = ask(f"{url}/jobs?keep=id&output=parquet&filename=my.csv", TABLE.encode(), headers=CSV)
    assert status == 202
    assert job["model"] == "demo"
    found = ended(url, job["id"])
    assert (found["state"], found["rows"], found["share"], found["error"]) == ("done", 3, 1.0, None)
    assert get(url + found["result"]) == (200, scored(bundle, TABLE.encode(), tmp_path, ".parquet", "--keep", "id"))
    assert job["id"] in [one["id"] for one in ask(f"{url}/jobs")[1]["jobs"]]
    assert ask(f"{url}/jobs/{job['id']}", method="DELETE") == (200, {"deleted": job["id"]})
    assert ask(f"{url}/jobs/{job['id']}")[0] == 404
    assert not (state / "files" / job["id"]).exists()


def test_bad_rows_are_left_out_and_told_of(url: str) -> None:
    text = TABLE + "4,old,,,\n5\n"
    job = ask(f"{url}/jobs?on_error=skip", text.encode(), headers=CSV)[1]["id"]
    found = ended(url, job)
    assert (found["state"], found["rows"], found["bad_rows"]) == ("done", 3, 2)
    rows = list(csv.reader(io.StringIO(get(f"{url}/jobs/{job}/bad_rows")[1].decode())))
    assert [row[:2] for row in rows[1:]] == [["4", "age"], ["5", ""]]
    failed = ended(url, ask(f"{url}/jobs", text.encode(), headers=CSV)[1]["id"])
    assert failed["state"] == "failed"
    assert "line 6" in failed["error"]
    assert "/" not in failed["error"].replace("1/", "")
    assert get(f"{url}/jobs/{failed['id']}/result")[0] == 409


def test_a_job_is_done_once(url: str) -> None:
    headers = {**CSV, "Idempotency-Key": "night of 3 May"}
    first = ask(f"{url}/jobs", TABLE.encode(), headers=headers)[1]
    again = ask(f"{url}/jobs", TABLE.encode(), headers=headers)
    assert again[0] == 202
    assert again[1]["id"] == first["id"]
    status, refused = ask(f"{url}/jobs?keep=id", TABLE.encode(), headers=headers)
    assert status == 422
    assert "Idempotency-Key" in refused["error"]
    assert ended(url, first["id"])["state"] == "done"


def test_a_table_below_the_folder_of_files_is_scored(url: str, bundle: Path, tmp_path: Path) -> None:
    document = {"input": "week 1/players.csv", "model": "demo", "output": "jsonl", "options": {"keep": ["id"]}}
    status, job = ask(f"{url}/jobs", document, headers={"Content-Type": "application/json"})
    assert status == 202, job
    found = ended(url, job["id"])
    assert get(url + found["result"])[1] == scored(bundle, TABLE.encode(), tmp_path, ".jsonl", "--keep", "id")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("../../etc/passwd", 403), ("/etc/passwd", 404), ("week 1/../../secret.csv", 403), ("outside.csv", 403),
        ("..\\..\\etc\\passwd", 403), ("week 1/none.csv", 404), ("", 422), (7, 422), ("a\0b", 422), (".", 403),
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_folder_of_files(url: str, path: object, status: int) -> None:
    found, answer = ask(f"{url}/jobs", {"input": path}, headers={"Content-Type": "application/json"})
    assert found == status, answer


@pytest.mark.parametrize(
    ("query", "headers", "body", "status", "sentence"),
    [
        ("", {}, b"id,age\n", 415, "what table is this"),
        ("?colour=red", CSV, b"id,age\n", 422, 'no option "colour"'),
        ("?on_error=never", CSV, b"id,age\n", 422, "--on-error is one of"),
        ("?k=many", CSV, b"id,age\n", 422, "expected a number"),
        ("?output=doc", CSV, b"id,age\n", 422, '"output" is one of'),
        ("?model=none", CSV, b"id,age\n", 404, 'no model "none"'),
        ("", CSV, b"", 400, "body is empty"),
        ("", CSV, b"x" * (2 << 20), 413, "larger than 1 MB"),
        ("", {"Content-Type": "application/json"}, b"{", 400, "no JSON object"),
        ("", {**CSV, "Idempotency-Key": "k" * 300}, b"id\n", 422, "characters"),
    ],
)
def test_refusals_are_sentences(
    url: str, state: Path, query: str, headers: Mapping[str, str], body: bytes, status: int, sentence: str
) -> None:
    before = len(list((state / "files").iterdir()))
    found, answer = ask(f"{url}/jobs{query}", body, headers=headers, method="POST")
    assert (found, sentence in answer["error"]) == (status, True), answer
    assert len(list((state / "files").iterdir())) == before


def test_a_small_file_that_is_a_huge_table_fails_its_job_alone(bundle: Path, tmp_path: Path) -> None:
    # 60,000 times the same megabyte is 60 GB as Arrow holds texts.
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(60_000, np.int32)), pa.array(["x" * 1_000_000]))
    columns = dict.fromkeys(("age", "plan", "active", "last seen "), texts)
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.table(columns).cast(pa.schema([(name, texts.type) for name in columns])), sink, store_schema=False
    )
    body = sink.getvalue().to_pybytes()
    assert len(body) < 10_000_000
    with served(bundle, jobs=JobOptions(tmp_path / "jobs", job_memory=700)) as url:
        job = ask(f"{url}/jobs?filename=t.parquet", body, method="POST")[1]["id"]
        found = ended(url, job)
        assert found["state"] == "failed"
        assert "memory" in found["error"] or "died" in found["error"], found["error"]
        assert ask(f"{url}/predict", {"age": 1, "plan": "pro", "active": True, "last seen ": None})[0] == 200


def test_a_player_is_purged_from_uploads_and_results(url: str, state: Path) -> None:
    text = TABLE + "4,old,,,\n4\n"
    jobs = [
        ask(f"{url}/jobs?on_error=skip&output={kind}", text.encode(), headers=CSV)[1]["id"] for kind in ("csv", "xlsx")
    ]
    for job in jobs:
        assert ended(url, job)["state"] == "done"
    for value, rows in (("1", 4), ("4", 2 + 4)):
        status, told = ask(f"{url}/jobs/purge", {"column": "id", "value": value})
        assert status == 200, told
        assert told["rows"] >= rows
    for job in jobs:
        for path in (state / "files" / job).iterdir():
            assert path.suffix == ".xlsx" or not re.search(r'^[14],|"id":"4"|,4$', path.read_text(), re.MULTILINE), path
    found = get(f"{url}/jobs/{jobs[0]}/result")[1].decode().splitlines()
    assert [line.split(",")[0] for line in found] == ["id", "2", "3"]
    assert ask(f"{url}/jobs/purge", {"column": "id"})[0] == 422
    other = "id;age;plan;active;last seen \n1;30;요금;true;\n2;41;basic;false;\n".encode("cp949")
    job = ask(f"{url}/jobs?encoding=cp949&delimiter=%3B", other, headers=CSV)[1]["id"]
    broken = ask(f"{url}/jobs?filename=t.parquet", b"PAR1", method="POST")[1]["id"]
    assert ended(url, broken)["state"] == "failed"
    assert ended(url, job)["rows"] == 2
    assert ask(f"{url}/jobs/purge", {"column": "id", "value": "2"})[1]["removed"] == 1
    assert (state / "files" / job / "input.csv").read_text().splitlines()[1:] == ["1,30,요금,true,"]


class Killed:
    """A server process that can be killed and started again over the same jobs."""

    def __init__(self, bundle: Path, state: Path, *words: str) -> None:
        self.command = [sys.executable, "-m", "ludocast", "serve", "--bundle", str(bundle), "--port", "0"]
        self.command += ["--jobs", str(state), "--access-log", "off", *words]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = re.search(r"https?://\S+", self.process.stdout.readline())
        assert found is not None
        self.url = found[0]

    def stop(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(30)

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in path.read_text().split()]


def many(rows: int) -> bytes:
    lines = (f"{row},{row % 90},pro,true,2024-01-0{row % 9 + 1}\n" for row in range(rows))
    return ("id,age,plan,active,last seen \n" + "".join(lines)).encode()


def under_way(url: str, job: str) -> None:
    until = time.monotonic() + 60
    while not 0 < ask(f"{url}/jobs/{job}")[1]["share"] < 1:
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds child processes in /proc, which Linux has")
def test_jobs_go_on_after_kills_of_their_process_and_of_the_server(bundle: Path, tmp_path: Path) -> None:
    table = many(300_000)
    server = Killed(bundle, tmp_path / "jobs")
    try:
        job = ask(f"{server.url}/jobs", table, headers=CSV)[1]["id"]
        cancelled = ask(f"{server.url}/jobs", TABLE.encode(), headers=CSV)[1]["id"]
        waiting = ask(f"{server.url}/jobs", TABLE.encode(), headers=CSV)[1]["id"]
        assert ask(f"{server.url}/jobs/{cancelled}/cancel", b"", method="POST")[1]["state"] == "cancelled"
        under_way(server.url, job)
        (child,) = server.children()
        os.kill(child, signal.SIGKILL)
        server.stop(signal.SIGKILL)
        server.start()
        under_way(server.url, job)
        server.stop(signal.SIGTERM)
        assert server.process.returncode == 0
        server.start()
        found = ended(server.url, job)
        assert (found["state"], found["rows"]) == ("done", 300_000)
        assert get(f"{server.url}/jobs/{job}/result")[1] == scored(bundle, table, tmp_path)
        assert ended(server.url, waiting)["state"] == "done"
        assert ended(server.url, cancelled)["state"] == "cancelled"
        assert server.children() == []
    finally:
        server.stop(signal.SIGKILL)


def test_what_ended_is_removed_after_its_time(bundle: Path, tmp_path: Path) -> None:
    with served(bundle, jobs=JobOptions(tmp_path / "jobs", keep_jobs="1s")) as url:
        job = ended(url, ask(f"{url}/jobs", TABLE.encode(), headers=CSV)[1]["id"])["id"]
        until = time.monotonic() + 20
        while ask(f"{url}/jobs/{job}")[0] == 200:
            assert time.monotonic() < until
            time.sleep(0.1)
        assert list((tmp_path / "jobs" / "files").iterdir()) == []


def test_a_full_disk_is_a_sentence(bundle: Path, tmp_path: Path) -> None:
    # A limit on the size of files stands for the full disk: the same error path, without filling one.
    words = [sys.executable, "-m", "ludocast", "serve", "--bundle", str(bundle), "--port", "0", "--jobs", "jobs"]
    process = subprocess.Popen(
        ["bash", "-c", f"ulimit -f 300; exec {' '.join(words)}"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    found = re.search(r"https?://\S+", process.stdout.readline())
    assert found is not None
    try:
        status, answer = ask(f"{found[0]}/jobs", many(20_000), headers=CSV)
        assert (status, "disk is full" in answer["error"]) == (507, True)
        job = ask(f"{found[0]}/jobs", many(11_000), headers=CSV)[1]["id"]
        assert ended(found[0], job)["error"] == "the server's disk is full"
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_player_is_purged_from_a_job_under_way(bundle: Path, tmp_path: Path) -> None:
    with served(bundle, jobs=JobOptions(tmp_path / "jobs")) as url:
        job = ask(f"{url}/jobs", many(600_000), headers=CSV)[1]["id"]
        under_way(url, job)
        status, told = ask(f"{url}/jobs/purge", {"column": "id", "value": "77"})
        assert (status, told["rows"]) == (200, 1)
        assert ended(url, job)["rows"] == 599_999
        assert b"\n77," not in get(f"{url}/jobs/{job}/result")[1]


@pytest.mark.slow
def test_a_job_whose_server_is_killed_fifty_times_ends_bit_identical(bundle: Path, tmp_path: Path) -> None:
    table = many(2_000_000)
    wanted = scored(bundle, table, tmp_path)
    chosen = random.Random(5)
    server = Killed(bundle, tmp_path / "jobs")
    kills = jobs = 0
    job = ask(f"{server.url}/jobs", table, headers=CSV)[1]["id"]
    try:
        while kills < 50:
            time.sleep(chosen.uniform(0, 3))
            if ask(f"{server.url}/jobs/{job}")[1]["state"] == "done":
                assert get(f"{server.url}/jobs/{job}/result")[1] == wanted
                job = ask(f"{server.url}/jobs", table, headers=CSV)[1]["id"]
                jobs += 1
            if chosen.random() < 0.5 and server.children():
                os.kill(server.children()[0], signal.SIGKILL)
            server.stop(signal.SIGKILL)
            kills += 1
            server.start()
        assert ended(server.url, job)["state"] == "done"
        assert get(f"{server.url}/jobs/{job}/result")[1] == wanted
        print(f"{kills} kills of the server, {jobs + 1} jobs, all results bit-identical")
    finally:
        server.stop(signal.SIGKILL)
