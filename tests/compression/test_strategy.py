"""The strategy in a real Trainer on CPU processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from ludocast.compression.residuals import consolidate

from tests.warm.start import warm_python

PROGRAM = Path(__file__).parent / "lightning_run.py"


def train(folder: Path, epochs: int, devices: int, resume: Path | None = None) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    resumed = "none" if resume is None else str(resume)
    words = [warm_python(), str(PROGRAM), str(folder), str(epochs), str(devices), resumed]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    # A thread of gloo that is still at work while Python ends would abort the process now and then.
    assert sys.platform != "linux" or "gloo threads at exit: 0" in done.stdout
    found: dict[str, Any] = torch.load(folder / f"epoch{epochs}.ckpt", weights_only=True)
    return found


def test_a_resumed_training_is_the_unbroken_one_and_another_number_of_ranks_goes_on(tmp_path: Path) -> None:
    unbroken = train(tmp_path / "unbroken", 4, 2)
    halfway = train(tmp_path / "half", 2, 2)
    states = halfway["ludocast_onebit"]
    assert [state["rank"] for state in states] == [0, 1]
    assert states[0]["step"] == halfway["global_step"] == 8  # the hook was called, on CPU
    assert states[0]["residual"]["network.0.weight"].any()
    record = json.loads((tmp_path / "half" / "compression.json").read_text(encoding="utf-8"))
    assert (record["ranks"], record["plain"], record["compressed"]) == (2, 1, 7)
    again = train(tmp_path / "half", 4, 2, tmp_path / "half" / "epoch2.ckpt")
    for name, value in unbroken["state_dict"].items():
        assert torch.equal(again["state_dict"][name], value)
    alone = train(tmp_path / "alone", 3, 1, tmp_path / "half" / "epoch2.ckpt")
    assert len(alone["ludocast_onebit"]) == 1
    # One rank sends nothing, so what the two had not applied stays what it was.
    mass = consolidate(states)["residual"]["network.0.weight"]
    assert torch.equal(alone["ludocast_onebit"][0]["residual"]["network.0.weight"], mass)


def start(folder: Path, words: list[str]) -> list[subprocess.Popen[str]]:
    """Two ranks, each started as a launcher on two machines would: neither is the other's child."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    found = []
    for rank in range(2):
        place = {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        found.append(
            subprocess.Popen(
                [sys.executable, str(PROGRAM), str(folder), "4", "2", *words], text=True, start_new_session=True,
                env={**os.environ, **place, "MASTER_PORT": port}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
    return found


@pytest.mark.slow
def test_a_rank_is_killed_and_the_restart_from_the_last_checkpoint_ends_with_the_same_weights(tmp_path: Path) -> None:
    unbroken = train(tmp_path / "unbroken", 4, 2)
    folder = tmp_path / "killed"
    folder.mkdir()
    survivor, victim = start(folder, ["none", "halt"])
    until = time.monotonic() + 120
    while not (folder / "halt").exists():
        assert time.monotonic() < until, "rank 1 never came to its 11th step"
        time.sleep(0.1)
    os.killpg(victim.pid, signal.SIGKILL)
    begin = time.monotonic()
    _, said = survivor.communicate(timeout=120)
    assert time.monotonic() - begin < 60
    assert survivor.returncode != 0
    assert "of the 1-bit exchange failed on rank 0: no answer of rank 1; restart the job from its last" in said
    victim.communicate()
    assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == 1  # two are done
    for again in start(folder, [str(folder / "last.ckpt")]):
        _, said = again.communicate(timeout=120)
        assert again.returncode == 0, said[-3000:]
    found = torch.load(folder / "epoch4.ckpt", weights_only=True)
    assert found["global_step"] == unbroken["global_step"] == 16
    for name, value in unbroken["state_dict"].items():
        assert torch.equal(found["state_dict"][name], value)


@pytest.mark.slow
def test_from_4_ranks_to_2_to_8_the_mass_is_kept(tmp_path: Path) -> None:
    def mass(checkpoint: dict[str, Any]) -> torch.Tensor:
        found: torch.Tensor = consolidate(checkpoint["ludocast_onebit"])["residual"]["network.0.weight"]
        return found

    four = train(tmp_path / "4", 1, 4)
    assert [state["ranks"] for state in four["ludocast_onebit"]] == [4] * 4
    two = train(tmp_path / "2", 1, 2, tmp_path / "4" / "epoch1.ckpt")  # no epoch is left: it loads and saves
    assert len(two["ludocast_onebit"]) == 2
    assert mass(four).any()
    torch.testing.assert_close(mass(two), mass(four), rtol=1e-6, atol=1e-9)
    further = train(tmp_path / "2", 2, 2, tmp_path / "2" / "epoch1.ckpt")
    assert not torch.equal(mass(further), mass(two))
    eight = train(tmp_path / "8", 2, 8, tmp_path / "2" / "epoch2.ckpt")
    assert len(eight["ludocast_onebit"]) == 8
    torch.testing.assert_close(mass(eight), mass(further), rtol=1e-6, atol=1e-9)
    last = train(tmp_path / "8", 3, 8, tmp_path / "8" / "epoch2.ckpt")
    assert last["global_step"] == further["global_step"] + 1
