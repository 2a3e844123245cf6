"""The programs of docs/compression.md run as they stand there, by the commands that stand before them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import torch

from tests.warm.start import warm_python

TEXT = (Path(__file__).parent.parent.parent / "docs" / "compression.md").read_text(encoding="utf-8")


def run(folder: Path, program: str) -> str:
    """Every named block as a file, and the one command that names the program."""
    for name, text in re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", TEXT, re.DOTALL):
        (folder / name).write_text(text, encoding="utf-8")
    (command,) = re.findall(rf"`((?:torchrun|python) [^`]*\b{program}[^`]*)`", TEXT)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        shlex.split(command), cwd=folder, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "PYTHON_EXEC": warm_python()},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_plain_loop(tmp_path: Path) -> None:
    said = run(tmp_path, "train.py")
    losses = [float(loss) for loss in re.findall(r"loss (\d\.\d{3})", said)]  # two processes may share a line
    assert len(losses) == 2
    assert max(losses) < 0.7  # it begins near 1
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    for name, value in ranks[0]["network"].items():
        assert torch.equal(ranks[1]["network"][name], value)
    for saved in ranks:
        assert saved["onebit"]["step"] == 100
        assert saved["onebit"]["residual"]["0.weight"].any()


def test_lightning(tmp_path: Path) -> None:
    run(tmp_path, "fit.py")
    (path,) = tmp_path.rglob("*.ckpt")
    states = torch.load(path, weights_only=True)["ludocast_onebit"]
    assert [(state["rank"], state["step"]) for state in states] == [(0, 32), (1, 32)]
    assert all(state["residual"]["network.0.weight"].any() for state in states)
