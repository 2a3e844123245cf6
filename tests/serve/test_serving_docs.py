"""The commands of docs/serving.md run as they stand there."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.serve.listening import ROOT
from tests.serve.logistic import write_logistic
from tests.serve.test_jobs import ended, get

TABLE = "player_id,age,plan,active,last seen \nP1,30,pro,true,\nP2,41,basic,false,\n"


def blocks() -> list[str]:
    return re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "serving.md").read_text(encoding="utf-8"), re.DOTALL)


def _environment(folder: Path) -> dict[str, str]:
    """Where `ludocast` is a command."""
    command = folder / "bin" / "ludocast"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m ludocast "$@"\n')
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def test_the_commands_of_keys_run_as_they_stand_there(tmp_path: Path) -> None:
    block = next(block for block in blocks() if "ludocast keys add" in block)
    done = subprocess.run(
        ["sh", "-ec", block], cwd=tmp_path, env=_environment(tmp_path), capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"ludocast_[\w-]{43}\nshop +predict,jobs +100/s .*\n", done.stdout)
    assert json.loads((tmp_path / "keys.json").read_text()) == {"keys": []}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_run_as_they_stand_there(tmp_path: Path) -> None:
    write_logistic(tmp_path / "run" / "bundle")
    for path in ("players.csv", "tables/week 18/players.csv"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(TABLE)
    environment = _environment(tmp_path)

    def shell(text: str) -> str:
        done = subprocess.run(
            ["sh", "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    score, jobs = (next(block for block in blocks() if begin in block) for begin in ("ludocast score", "--job-files"))
    shell(score)
    scored = pq.read_table(tmp_path / "scored.parquet")
    assert scored.column_names == ["player_id", "scored_label", "scored_probability"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve, *curls = jobs.replace("8080", str(port)).strip().splitlines()
    words = f"exec {serve.removesuffix('&')} --port {port}"
    server = subprocess.Popen(["sh", "-c", words], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert str(port) in server.stdout.readline()
        for curl in curls:
            job = json.loads(shell(curl))
            assert ended(f"http://127.0.0.1:{port}", job["id"])["rows"] == 2
            status, result = get(f"http://127.0.0.1:{port}/jobs/{job['id']}/result")
            assert status == 200
            assert (result == (tmp_path / "scored.parquet").read_bytes()) == ("output=parquet" in curl)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
