"""The strategy in a real Trainer on CPU processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from ludocast.compression.residuals import consolidate

PROGRAM = Path(__file__).parent / "lightning_run.py"


def train(folder: Path, epochs: int, devices: int, resume: Path | None = None) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    resumed = "none" if resume is None else str(resume)
    words = [sys.executable, str(PROGRAM), str(folder), str(epochs), str(devices), resumed]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
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
