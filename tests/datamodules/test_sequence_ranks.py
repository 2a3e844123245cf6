"""Sequences on several ranks of a real process group: each batch is shared out, and loss and gradient stay the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ludocast.datamodules.lanes import LaneChunks
from ludocast.datamodules.length_buckets import LengthBuckets
from ludocast.datamodules.sequence_batches import CorpusMean, SequenceTensors, training_loss
from ludocast.datamodules.sequence_loader import SequenceLoader
from ludocast.datamodules.sequences import Sequences, from_offsets

from tests.compression.ranks import on_ranks

Entry = tuple[int, int, int]


def sequences() -> Sequences:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 30, 101)
    numbers = rng.normal(size=(lengths.sum(), 3)).astype(np.float32)
    return from_offsets({"numbers": numbers}, np.concatenate([[0], np.cumsum(lengths)]))


def loader(kind: str) -> SequenceLoader:
    data = sequences()
    sampler = LengthBuckets(data.lengths, 12) if kind == "buckets" else LaneChunks(data.lengths, 12, 7)
    return SequenceLoader(SequenceTensors(data), sampler)


def picks(rank: int, kind: str) -> list[tuple[list[Entry], int]]:
    found = loader(kind).sampler
    return [(list(zip(p.row.tolist(), p.skip.tolist(), p.length.tolist(), strict=True)), p.seed) for p in found]


@pytest.mark.parametrize("kind", ["buckets", "lanes"])
def test_ranks_share_every_batch(kind: str) -> None:
    whole, shares = picks(0, kind), on_ranks(2, picks, kind)
    assert len(whole) == len(shares[0]) == len(shares[1])
    for (batch, _), *parts in zip(whole, *shares, strict=True):
        own = [entries for entries, _ in parts]
        assert own == [batch[0::2], batch[1::2]]
        assert all(own)
        assert parts[0][1] != parts[1][1]  # tokens are dropped by another seed on each rank


def epoch(rank: int, kind: str) -> tuple[list[float], float]:
    """Gradient of the mean over batches, and the corpus mean."""
    weight = torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64, requires_grad=True)
    mean, losses = CorpusMean(), []
    for batch in loader(kind):
        loss_BL = (batch.steps["numbers"].double() @ weight).square()
        mean.update(loss_BL, batch.mask)
        losses.append(training_loss(loss_BL, batch.mask, batch.steps_per_batch))
    (gradient,) = torch.autograd.grad(torch.stack(losses).mean(), weight)
    return gradient.tolist(), mean.compute()


@pytest.mark.parametrize("kind", ["buckets", "lanes"])
def test_the_mean_over_ranks_is_that_over_the_corpus(kind: str) -> None:
    x = torch.from_numpy(sequences().steps["numbers"]).double()
    weight = torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64)
    wanted = (2 * x * (x @ weight)[:, None]).mean(0)
    results = on_ranks(2, epoch, kind)
    together = torch.tensor([gradient for gradient, _ in results], dtype=torch.float64).mean(0)
    torch.testing.assert_close(together, wanted, rtol=1e-12, atol=0)
    assert [mean for _, mean in results] == pytest.approx([float((x @ weight).square().mean())] * 2, rel=1e-12)


def refused(rank: int) -> list[str]:
    said: list[str] = []
    samplers: list[Any] = [LengthBuckets(np.ones(3, np.int64), 1), LaneChunks(np.ones(3, np.int64), 1, 5)]
    for sampler in samplers:
        try:
            list(sampler)
        except ValueError as error:
            said.append(str(error))
    # Evaluation gives all of them to each rank.
    assert len(list(LengthBuckets(np.ones(3, np.int64), 1, is_shared=False))) == 3
    return said


def test_fewer_sequences_than_ranks_are_refused() -> None:
    for first, second in on_ranks(2, refused):
        assert first.startswith("3 sequences in 3 batches are fewer in each than the 2 ranks; train on fewer devices")
        assert second.startswith("1 lanes are fewer than the 2 ranks")
