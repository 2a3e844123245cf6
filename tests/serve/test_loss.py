"""That nothing is lost, as `benchmarks/serving_loss.py` measures it at greater length."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from benchmarks.serving_loss import drains, kills, reloads
from tests.serve.logistic import write_logistic

if sys.platform != "linux":
    pytest.skip(
        "workers are found in /proc, and new connections kept off by a filter of Linux", allow_module_level=True
    )


@pytest.mark.slow
def test_nothing_is_lost(tmp_path: Path) -> None:
    one, two = (write_logistic(tmp_path / version, version=version) for version in ("1", "2"))
    assert asyncio.run(kills(one, 20))
    assert asyncio.run(drains(one, 5))
    assert asyncio.run(reloads(one, 20, two, workers=1))
    assert asyncio.run(reloads(one, 20, two, workers=2))
