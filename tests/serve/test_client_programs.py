"""Every program of docs/clients, run against a real server that asks for a key."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ludocast.serve.manifest import Input
from ludocast.serve.safety.guard import KeyGuard
from ludocast.serve.scorer import Scorer

from ludocast.__main__ import main
from tests.serve.listening import ROOT, served
from tests.serve.logistic import Term, write_logistic

PROGRAMS = ROOT / "docs" / "clients"
PLAYERS = [{"level": 12, "country": "KR", "days_away": 3}, {"level": 2, "country": None, "days_away": 20}]
TERMS = (
    Term(Input("level", "x0", "number", None, (1, 60)), weight=-0.1),
    Term(Input("country", "x1", "category", ("KR", "US")), missing=0.5, values={"KR": 1.5}),
    Term(Input("days_away", "x2", "number", None, (0, 30)), weight=0.2),
)
MONO = ("mcs", "-r:System.Net.Http", "-r:System.Web.Extensions", "-r:Microsoft.CSharp")


@dataclass(frozen=True)
class Place:
    url: str
    key: str
    wanted: list[tuple[str, float]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("programs")
    bundle = write_logistic(folder / "bundle", terms=TERMS, name="leaving")
    found = Scorer.load(bundle).predict(PLAYERS)
    keys = folder / "keys.json"
    with pytest.MonkeyPatch.context() as patch:
        printed: list[str] = []
        patch.setattr("builtins.print", lambda *words, **_: printed.append(str(words[0])))
        assert main(["keys", "add", "game", "--keys", str(keys)]) == 0
    with served(bundle, guard=KeyGuard(keys)) as url:
        yield Place(url, printed[0], list(zip(found.labels, found.probabilities[:, 1].tolist(), strict=True)))


def needs(*tools: str) -> None:
    absent = [tool for tool in tools if shutil.which(tool) is None]
    if absent:
        pytest.skip(f"{absent[0]} is not installed")


def output(place: Place, *command: str | Path, folder: Path | None = None) -> str:
    environment = {**os.environ, "LUDOCAST_URL": place.url, "LUDOCAST_KEY": place.key, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_lines(place: Place, text: str) -> None:
    assert text.splitlines() == [f"{label} {probability:.4f}" for label, probability in place.wanted]


def check_document(place: Place, text: str) -> None:
    found = [(one["label"], one["probability"]) for one in json.loads(text)["predictions"]]
    assert found == place.wanted


def test_curl(place: Place) -> None:
    needs("curl")
    check_document(place, output(place, "sh", PROGRAMS / "predict.sh"))


def test_python(place: Place) -> None:
    check_lines(place, output(place, sys.executable, PROGRAMS / "predict.py"))


def test_node(place: Place) -> None:
    needs("node")
    check_lines(place, output(place, "node", PROGRAMS / "predict.mjs"))


def test_c_sharp(place: Place, tmp_path: Path) -> None:
    needs("mcs", "mono")
    output(place, *MONO, f"-out:{tmp_path}/predict.exe", PROGRAMS / "Predict.cs")
    check_lines(place, output(place, "mono", tmp_path / "predict.exe"))


def test_java(place: Place) -> None:
    needs("java", "javac")  # its client offers HTTP/2, which the server does not take up
    check_document(place, output(place, "java", PROGRAMS / "Predict.java"))


@pytest.mark.slow  # Go compiles its own library first
def test_go(place: Place) -> None:
    needs("go")
    check_lines(place, output(place, "go", "run", PROGRAMS / "predict.go"))


def classic(place: Place, name: str, folder: Path) -> Path:
    """The program with this server's address and this key, and nothing else, in place of its own."""
    text = (PROGRAMS / "classic" / name).read_text(encoding="utf-8")
    assert text.count("http://127.0.0.1:8080") == text.count('"abc123"') == 1
    path = folder / name
    path.write_text(text.replace("http://127.0.0.1:8080", place.url).replace("abc123", place.key), encoding="utf-8")
    return path


def test_classic_python(place: Place, tmp_path: Path) -> None:
    check_lines(place, output(place, sys.executable, classic(place, "request_response.py", tmp_path)))


def test_classic_node(place: Place, tmp_path: Path) -> None:
    needs("node")
    check_lines(place, output(place, "node", classic(place, "request_response.mjs", tmp_path)))


def test_classic_c_sharp(place: Place, tmp_path: Path) -> None:
    needs("mcs", "mono")
    output(place, *MONO, f"-out:{tmp_path}/classic.exe", classic(place, "RequestResponse.cs", tmp_path))
    check_lines(place, output(place, "mono", tmp_path / "classic.exe"))


def test_classic_clients_show_what_is_wrong(place: Place, tmp_path: Path) -> None:
    path = classic(place, "request_response.py", tmp_path)
    path.write_text(path.read_text().replace('"12"', '"high"'))
    found = output(place, sys.executable, path)
    assert "The request failed with status code: 400" in found
    assert 'row 1, column "level": expected a number, got "high"' in found
    path.write_text(path.read_text().replace(place.key, "other"))
    found = output(place, sys.executable, path)
    assert "The request failed with status code: 401" in found
    assert re.search(r"'code': 'Unauthorized'", found)
