"""Truncated back-propagation holds a chunk's steps and no more, however long the text."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent.parent
CODE = """
import resource, sys
import numpy as np
from ludocast.datamodules.sequence import SequenceDataModule, SequenceParts, SequenceSource
from ludocast.datamodules.sequences import from_offsets
from ludocast.models.sequence.tasks import LanguageModule
from ludocast.models.sequence.network import NetworkSettings
from tests.models.sequence.made import trainer

class Text(SequenceSource):
    def read(self):
        def part(length):
            token = np.random.default_rng(0).integers(2, 50, length).astype(np.int32)
            return from_offsets({"token": token}, np.array([0, length])).with_next("token")
        return SequenceParts(part(int(sys.argv[1])), part(100), part(100), {"tokens": 50, "numbers": 0, "classes": 50})

data = SequenceDataModule(Text(), batch=8, tbptt_steps=64, one_text=True)
trainer(1).fit(LanguageModule(NetworkSettings("gru", 32, 1, 16, 0.0)), datamodule=data)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak_mb(tokens: int) -> int:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CODE, str(tokens)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


@pytest.mark.slow
def test_a_million_tokens_take_no_more_memory_than_their_own_array() -> None:
    """Uncut, 500,000 more steps of 32 units alone are 64 MB in each of the buffers that back-propagation keeps."""
    short, long = peak_mb(50_000), peak_mb(1_000_000)
    assert long - short < 50, (short, long)
