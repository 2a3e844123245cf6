"""`ddp_strategy` in a real Trainer on two CPU processes: each way of averaging is the one that was asked for."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ludocast.compression.strategy import IN_WORDS, OneBitDDPStrategy, TorchHookDDPStrategy, ddp_strategy

from tests.warm.start import warm_python

PROGRAM = Path(__file__).parent / "ddp_strategy_run.py"
STEPS, WARMUP = 6, 3


Found = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    out = tmp_path_factory.mktemp("found") / "found.json"
    words = [warm_python(), str(PROGRAM), str(out), str(STEPS), "powersgd", "fp16", "none", "onebit"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: Found = json.loads(out.read_text())
    assert [entry["steps"] for entry in found.values()] == [STEPS] * 4
    return found


def test_powersgd_is_called_with_one_bucket_and_leaves_a_gradient_of_rank_1(found: Found) -> None:
    assert found["powersgd"]["hook steps"] == STEPS
    assert found["powersgd"]["buckets"] == 1
    assert found["none"]["buckets"] > 1
    assert found["powersgd"]["second singular value"] < 1e-4
    assert min(found[other]["second singular value"] for other in ("fp16", "none")) > 1e-3


def test_fp16_leaves_gradients_that_are_halves(found: Found) -> None:
    assert found["fp16"]["halves"]
    assert not any(found[other]["halves"] for other in ("none", "powersgd", "onebit"))


def test_onebit_sends_a_twentieth_or_less_once_it_is_warm(found: Found) -> None:
    assert found["onebit"]["hook steps"] == STEPS
    values = 380_701  # 60·300 + 300 + 300·1200 + 1200 + 1200 + 1, of which the vectors go uncompressed
    whole = (STEPS - WARMUP) * values * 4
    assert whole / 32 < found["onebit"]["sent bytes"] < whole / 20


def test_auto_is_onebit_that_looks_first() -> None:
    strategy = ddp_strategy("auto", warmup_steps=7)
    assert isinstance(strategy, OneBitDDPStrategy)
    assert strategy._options["auto"] is True
    assert strategy._options["warmup_steps"] == 7
    assert OneBitDDPStrategy()._options["auto"] is False


@pytest.mark.parametrize("compression", ["powersgd", "fp16"])
def test_the_others_have_a_strategy_of_their_own(compression: Any) -> None:
    assert isinstance(ddp_strategy(compression), TorchHookDDPStrategy)
    assert compression in IN_WORDS
