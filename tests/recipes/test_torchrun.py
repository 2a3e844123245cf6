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

from tests.warm.start import warm_python

ROOT = Path(__file__).parent.parent.parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "ludocast"]
OPTIONS = [
    "train", "churn", "--data", "data/players.csv", "--label", "churned", "--positive", "yes", "--exclude", "player_id",
    "--members", "2", "--model", "network", "--accelerator", "cpu",
]  # fmt: skip
ONEBIT = ["--epochs", "4", "--compression", "onebit", "--name", "n"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def warm_environment() -> dict[str, str]:
    """For a torchrun whose processes have imported everything."""
    return {**ENVIRONMENT, "PYTHON_EXEC": warm_python()}


def run(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=warm_environment(), capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("game")
    simulate(600, folder / "data", seed=1)
    done = run([*TORCHRUN, *OPTIONS, *ONEBIT, "--out", "run"], folder)
    assert done.returncode == 0, done.stderr
    (folder / "said").write_text(done.stdout)
    return folder


def test_two_processes_make_one_run_with_one_bit_gradients(game: Path) -> None:
    lines = (game / "said").read_text().splitlines()
    assert lines.count("2 processes, gradients as 1 bit a value") == 1
    assert len([line for line in lines if line.startswith("report: run/report.html")]) == 1
    assert sorted(path.name for path in game.iterdir()) == ["data", "run", "said"]
    assert [path.parent for path in game.rglob("bundle.json")] == [game / "run" / "bundle"]
    last = torch.load(game / "run" / "checkpoints" / "network" / "last.ckpt", weights_only=False)
    states = last["ludocast_onebit"]
    assert [state["step"] for state in states] == [last["global_step"]] * 2
    assert last["global_step"] == 4 * (480 // 32)  # as many as one process makes
    assert any(residual.any() for residual in states[0]["residual"].values())
    record = json.loads((game / "run" / "compression.json").read_text())  # for `ludocast compression-report run`
    assert record["compressed"] > 0


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


def test_a_killed_process_ends_the_other_and_the_resumed_run_is_the_unbroken_one(game: Path) -> None:
    command = [*TORCHRUN, *OPTIONS, *ONEBIT, "--out", "cut"]
    with (game / "errors").open("w") as errors:
        launcher = subprocess.Popen(command, cwd=game, env=warm_environment(), stdout=subprocess.DEVNULL, stderr=errors)
    checkpoint = game / "cut.partial" / "checkpoints" / "folds" / "last.ckpt"
    while not checkpoint.exists() and launcher.poll() is None:
        time.sleep(0.01)
    workers = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    os.kill(int(workers[-1]), signal.SIGKILL)
    assert launcher.wait(timeout=60) != 0
    assert (game / "errors").read_text().count("Traceback") <= 1  # torchrun's own
    assert not (game / "cut").exists()
    resumed = run([*command, "--resume"], game)
    assert resumed.returncode == 0, resumed.stderr
    hashes = [
        json.loads((game / name / "bundle" / "bundle.json").read_text())["files"]["model.onnx"]
        for name in ("run", "cut")
    ]
    assert hashes[0] == hashes[1]


def test_a_yaml_file_with_the_onebit_strategy_trains_on_two_processes(game: Path, tmp_path: Path) -> None:
    (tmp_path / "game").symlink_to(game / "data")
    (tmp_path / "two.yaml").write_text(
        "trainer:\n  accelerator: cpu\n  devices: 2\n  max_epochs: 3\n  enable_progress_bar: false\n  strategy:\n"
        "    class_path: ludocast.compression.strategy.OneBitDDPStrategy\n    init_args: {warmup_steps: 1}\n"
    )
    files = ["--config", str(ROOT / "configs" / "churn.yaml"), "--config", "two.yaml"]
    done = run([warm_python(), "-m", "ludocast", "fit", *files], tmp_path)
    assert done.returncode == 0, done.stderr
    checkpoint = torch.load(next(tmp_path.rglob("*.ckpt")), weights_only=False)
    states = checkpoint["ludocast_onebit"]
    assert [state["step"] for state in states] == [checkpoint["global_step"]] * 2 == [3, 3]  # 432 rows, 256 a batch
    assert states[1]["residual"]


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
