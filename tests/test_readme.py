"""Every command block of the README runs, in the order in which it stands."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ludocast.serve.scorer import Scorer

ROOT = Path(__file__).parent.parent


def served(text: str, folder: Path, environment: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Runs a block of `$ ludocast serve …` and `$ curl …`, its "…" filled in; the record sent, and the answer."""
    serve, curl = (line[2:] for line in text.splitlines() if line.startswith("$ "))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = [word.replace("8080", port) for word in shlex.split(curl)]
    at = next(i for i, word in enumerate(words) if "…" in word)
    usual = Scorer.load(folder / "game" / "run" / "bundle").manifest.check_rows.rows[0]
    shown = json.loads(words[at].replace(", …", ""))[0]
    assert shown.keys() <= usual.keys(), "the README asks with columns that the game has not"
    record = {**usual, **shown}
    words[at] = json.dumps([record])
    command = ["sh", "-c", f"exec {serve.replace('8080', port)}"]
    server = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert f"http://127.0.0.1:{port}" in server.stdout.readline()
        done = subprocess.run([words[0], "-sS", *words[1:]], capture_output=True, text=True, check=True)
    finally:
        server.terminate()
        assert server.wait(20) == 0
    return record, json.loads(done.stdout)


def names(document: Any) -> list[str]:
    """The names in a JSON document, in their order; those of classes left out."""
    found = []
    for name, value in document.items() if isinstance(document, dict) else ():
        found += [name] if name == "probabilities" else [name, *names(value)]
    for value in document if isinstance(document, list) else ():
        found += names(value)
    return found


def test_the_command_blocks_run(tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "ludocast").write_text(f'#!/bin/sh\nexec {sys.executable} -m ludocast "$@"\n')
    (tmp_path / "ludocast").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(sh|python)\n(.*?)```", readme, flags=re.DOTALL)
    assert len(blocks) >= 4
    for kind, text in blocks:
        command = ["sh", "-ec", text] if kind == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{text}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
    assert len((tmp_path / "game" / "scored.csv").read_text().splitlines()) == 2001
    assert (tmp_path / "game" / "core" / "preprocessing.json").is_file()
    if shutil.which("curl") is None:
        pytest.skip("the README's request needs curl")
    block = next(text for text in re.findall(r"```text\n(.*?)```", readme, flags=re.DOTALL) if "$ curl" in text)
    record, answer = served(block, tmp_path, environment)
    # The answer has the names that the README shows, in that order, and what the scorer says of the same record.
    assert names(answer) == re.findall(r'"(\w+)":', block.splitlines()[-1])
    wanted = Scorer.load(tmp_path / "game" / "run" / "bundle").predict([record])
    assert answer["model"] == "run"
    assert answer["warnings"] == []
    assert answer["predictions"][0]["label"] == wanted.labels[0]
    assert answer["predictions"][0]["probability"] == pytest.approx(float(wanted.probabilities[0, 1]), abs=1e-6)
