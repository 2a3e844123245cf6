"""Padded batches by hand, tokens dropped to unknown, and one loss however the batches are cut."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ludocast.datamodules.length_buckets import LengthBuckets
from ludocast.datamodules.sequence_batches import (
    NO_ROW,
    CorpusMean,
    Pick,
    SequenceTensors,
    drop_to_unknown,
    training_loss,
)
from ludocast.datamodules.sequence_loader import SequenceLoader
from ludocast.datamodules.sequences import Sequences, from_offsets
from torch import Tensor


def three() -> Sequences:
    steps: dict[str, np.ndarray] = {
        "token": np.arange(2, 10, dtype=np.int32),
        "numbers": np.arange(16, dtype=np.float64).reshape(8, 2),
        "bit": np.array([1, 0, 1, 1, 0, 1, 1, 1], np.uint8),
    }
    static: dict[str, np.ndarray] = {"label": np.array([7, 8, 9], np.int8), "level": np.array([0.5, 1, 2])}
    return from_offsets(steps, np.array([0, 3, 4, 8]), static)


def pick(row: list[int], skip: list[int], length: list[int]) -> Pick:
    return Pick(torch.tensor(row), torch.tensor(skip), torch.tensor(length), seed=0)


def test_a_batch_by_hand() -> None:
    batch = SequenceTensors(three()).batch(pick([2, 1], [0, 0], [4, 1]), 2.5, 1.5)
    assert batch.steps["token"].tolist() == [[6, 7, 8, 9], [5, 0, 0, 0]]
    assert batch.steps["numbers"].tolist() == [[[8, 9], [10, 11], [12, 13], [14, 15]], [[6, 7], [0, 0], [0, 0], [0, 0]]]
    assert batch.steps["bit"].tolist() == [[0, 1, 1, 1], [1, 0, 0, 0]]
    types = [batch.steps[name].dtype for name in ("token", "numbers", "bit")]
    assert types == [torch.int64, torch.float32, torch.float32]
    assert batch.mask.tolist() == [[True] * 4, [True, False, False, False]]
    assert batch.static["label"].tolist() == [9, 8]
    assert batch.static["level"].tolist() == [2, 1]
    assert (batch.static["label"].dtype, batch.static["level"].dtype) == (torch.int64, torch.float32)
    assert (batch.length.tolist(), batch.row.tolist(), batch.reset.tolist()) == ([4, 1], [2, 1], [True, True])
    assert (batch.steps_per_batch, batch.rows_per_batch) == (2.5, 1.5)


def test_a_later_chunk_and_an_idle_lane_by_hand() -> None:
    batch = SequenceTensors(three()).batch(pick([2, NO_ROW], [2, 0], [2, 0]))
    assert batch.steps["token"].tolist() == [[8, 9], [0, 0]]
    assert batch.mask.tolist() == [[True, True], [False, False]]
    assert batch.reset.tolist() == [False, True]
    idle = SequenceTensors(three()).batch(pick([NO_ROW], [0], [0]))
    assert (idle.steps["token"].tolist(), idle.mask.tolist()) == ([[0]], [[False]])


def test_tokens_are_dropped_to_unknown() -> None:
    tokens = torch.full((1_000, 100), 5)
    tokens[:, 90:] = 0
    dropped = drop_to_unknown(tokens, 0.2, seed=3)
    assert (dropped[:, 90:] == 0).all()
    assert set(dropped.flatten().tolist()) == {0, 1, 5}
    deviation = math.sqrt(0.2 * 0.8 / 90_000)
    assert abs(float((dropped[:, :90] == 1).float().mean()) - 0.2) < 4 * deviation
    assert torch.equal(dropped, drop_to_unknown(tokens, 0.2, seed=3))
    assert not torch.equal(dropped, drop_to_unknown(tokens, 0.2, seed=4))


def test_a_batch_drops_tokens_alone() -> None:
    sequences = from_offsets({"token": np.full(600, 5), "target": np.full(600, 5)}, np.array([0, 600]))
    batch = SequenceTensors(sequences, unknown_share=0.5).batch(pick([0], [0], [600]))
    assert 200 < int((batch.steps["token"] == 1).sum()) < 400
    assert (batch.steps["target"] == 5).all()
    with pytest.raises(ValueError, match=r"at least 0 and below 1, got 1\.5"):
        SequenceTensors(sequences, unknown_share=1.5)


def gradient(sequences: Sequences, batch: int, seed: int, weight: Tensor) -> tuple[float, Tensor, float]:
    """Mean training loss of an epoch's batches, its gradient, and the corpus mean."""
    weight = weight.clone().requires_grad_()
    loader = SequenceLoader(SequenceTensors(sequences), LengthBuckets(sequences.lengths, batch, seed, window=2))
    mean, losses = CorpusMean(), []
    for found in loader:
        loss_BL = (found.steps["numbers"].double() @ weight).square()
        loss_BL = torch.where(found.mask, loss_BL, math.nan)  # padding counts nowhere, whatever stands there
        mean.update(loss_BL, found.mask)
        losses.append(training_loss(loss_BL, found.mask, found.steps_per_batch))
    loss = torch.stack(losses).mean()
    (found_gradient,) = torch.autograd.grad(loss, weight)
    return float(loss.detach()), found_gradient, mean.compute()


def test_one_loss_and_gradient_however_batches_are_cut() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 40, 50)
    numbers = rng.normal(size=(lengths.sum(), 3))
    sequences = from_offsets({"numbers": numbers}, np.concatenate([[0], np.cumsum(lengths)]))
    weight = torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64)
    x = torch.from_numpy(numbers).float().double()
    wanted = float((x @ weight).square().mean())
    wanted_gradient = (2 * x * (x @ weight)[:, None]).mean(0)
    for batch, seed in ((1, 0), (7, 0), (7, 1), (13, 2), (50, 0)):
        loss, found, mean = gradient(sequences, batch, seed, weight)
        assert loss == pytest.approx(wanted, rel=1e-12)
        assert mean == pytest.approx(wanted, rel=1e-12)
        torch.testing.assert_close(found, wanted_gradient, rtol=1e-12, atol=0)


def test_a_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="there was none"):
        CorpusMean().compute()
