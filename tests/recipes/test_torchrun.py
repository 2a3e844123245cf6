"""`ludocast train churn` on two processes that torchrun starts: one run, said once, and no process left waiting."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from ludocast.datamodules.simulate import simulate
from ludocast.models.ranks import Ranks, started_ranks

ROOT = Path(__file__).parent.parent.parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "ludocast"]
OPTIONS = [
    "train", "churn", "--data", "data/players.csv", "--label", "churned", "--positive", "yes", "--exclude", "player_id",
    "--members", "2", "--model", "network", "--accelerator", "cpu",
]  # fmt: skip
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("game")
    simulate(600, folder / "data", seed=1)
    return folder


def test_two_processes_make_one_run_with_one_bit_gradients(game: Path) -> None:
    done = run([*TORCHRUN, *OPTIONS, "--epochs", "4", "--compression", "onebit", "--out", "run"], game)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines.count("2 processes, gradients as 1 bit a value") == 1
    assert len([line for line in lines if line.startswith("report: run/report.html")]) == 1
    assert sorted(path.name for path in game.iterdir()) == ["data", "run"]
    assert [path.parent for path in game.rglob("bundle.json")] == [game / "run" / "bundle"]
    last = torch.load(game / "run" / "checkpoints" / "network" / "last.ckpt", weights_only=False)
    states = last["ludocast_onebit"]
    assert [state["step"] for state in states] == [last["global_step"]] * 2
    assert last["global_step"] == 4 * (480 // 32)  # as many as one process makes
    assert any(residual.any() for residual in states[0]["worker"].values())


@pytest.mark.parametrize("option", [["--label", "nothere"], ["--compression", "twobit"]])
def test_what_cannot_be_used_ends_both_processes_with_one_sentence(game: Path, option: list[str]) -> None:
    begin = time.monotonic()
    done = run([*TORCHRUN, *OPTIONS, *option, "--out", "bad"], game)
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1, done.stderr
    assert option[1] in done.stderr
    assert not list(game.glob("bad*"))
    assert time.monotonic() - begin < 60


def test_a_killed_run_goes_on_to_the_same_model(game: Path) -> None:
    words = [*OPTIONS, "--epochs", "5", "--compression", "onebit", "--name", "n"]
    assert run([*TORCHRUN, *words, "--out", "whole"], game).returncode == 0
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*TORCHRUN, *words, "--out", "cut"], cwd=game, env=ENVIRONMENT, **quiet)  # type: ignore[call-overload]
    checkpoint = game / "cut.partial" / "checkpoints" / "folds" / "last.ckpt"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) != 0
    assert not (game / "cut").exists()
    resumed = run([*TORCHRUN, *words, "--out", "cut", "--resume"], game)
    assert resumed.returncode == 0, resumed.stderr
    hashes = [
        json.loads((game / name / "bundle" / "bundle.json").read_text())["files"]["model.onnx"]
        for name in ("whole", "cut")
    ]
    assert hashes[0] == hashes[1]


def test_torchrun_says_how_many_processes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started_ranks(3) == Ranks(0, 3, 1)
    told = {
        "TORCHELASTIC_RUN_ID": "x", "RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "2",
        "GROUP_WORLD_SIZE": "3",
    }  # fmt: skip
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert started_ranks(1) == started_ranks(2) == Ranks(5, 2, 3)
    assert Ranks(5, 2, 3).world == 6
    with pytest.raises(ValueError, match="--devices says 4"):
        started_ranks(4)
    monkeypatch.setenv("WORLD_SIZE", "5")
    with pytest.raises(ValueError, match="5 processes on 3 hosts"):
        started_ranks(1)
