"""What full, adaptive and sampled softmax cost: `python benchmarks/softmax.py`.

A training step (forward, backward, AdamW) of one LSTM layer of 200 units on 20 lanes of 35 steps, tokens drawn by
Zipf's law; one thread, kinds interleaved, medians. Peak memory is that of a process of its own. How well each learns
is not told here: `tests/models/sequence/test_softmax.py` compares gradients.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.datamodules.lanes import LaneChunks
from ludocast.datamodules.sequence_batches import SequenceBatch, SequenceTensors
from ludocast.datamodules.sequences import from_offsets
from ludocast.models.sequence.module import LearningSettings
from ludocast.models.sequence.network import NetworkSettings
from ludocast.models.sequence.softmax import log_uniform
from ludocast.models.sequence.tasks import LanguageModule

KINDS = ("full", "adaptive", "sampled")
LANES, STEPS = 20, 35


class Step:
    """A training step of one kind."""

    def __init__(self, kind: str, tokens: int, batch: SequenceBatch) -> None:
        size = NetworkSettings("lstm", 200, 1, 200, 0.0)
        self.module = LanguageModule(size, LearningSettings(), softmax=kind)  # type: ignore[arg-type]
        self.module.build({"tokens": tokens, "numbers": 0, "classes": tokens})
        assert self.module.network is not None
        self.optimizer, self.batch = torch.optim.AdamW(self.module.network.parameters()), batch

    def __call__(self) -> float:
        """Seconds of a step."""
        begin = time.perf_counter()
        self.module._state = None
        self.module.training_step(self.batch, 0).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - begin


def made_batch(tokens: int) -> SequenceBatch:
    torch.manual_seed(0)
    text = log_uniform(LANES * (STEPS + 1), tokens).numpy().astype(np.int32)
    part = from_offsets({"token": text}, np.arange(LANES + 1) * (STEPS + 1)).with_next("token")
    return SequenceTensors(part).batch(next(iter(LaneChunks(part.lengths, LANES, STEPS, is_shuffled=False))))


def peak_mb(kind: str, tokens: int) -> int:
    command = [sys.executable, __file__, "--alone", kind, "--tokens", str(tokens)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", nargs="*", type=int, default=[1_000, 10_000, 50_000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--alone", choices=KINDS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.alone is not None:
        step = Step(options.alone, options.tokens[0], made_batch(options.tokens[0]))
        for _ in range(2):
            step()
        # Linux: ru_maxrss would be at least that of the process that started this one.
        lines = Path("/proc/self/status").read_text().splitlines()
        print(next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")))
        return
    warnings.filterwarnings("ignore", message=".*self.log.*")  # there is no Trainer
    print(f"{'tokens':>8} " + " ".join(f"{kind + ', ms':>14} {'peak MB':>8}" for kind in KINDS))
    for tokens in options.tokens:
        batch = made_batch(tokens)
        steps = {kind: Step(kind, tokens, batch) for kind in KINDS}
        for step in steps.values():
            step()
        times: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(options.rounds):
            for kind, step in steps.items():
                times[kind].append(step())
        found = [(1e3 * statistics.median(times[kind]), peak_mb(kind, tokens)) for kind in KINDS]
        print(f"{tokens:8,} " + " ".join(f"{ms:14.1f} {mb:8,}" for ms, mb in found), flush=True)


if __name__ == "__main__":
    main()
