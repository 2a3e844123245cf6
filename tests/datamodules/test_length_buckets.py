"""Every sequence once an epoch, little padding, the same batches from the same seed, and a share for each rank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ludocast.datamodules.ctf import read_ctf
from ludocast.datamodules.length_buckets import LengthBuckets, padding_share
from ludocast.datamodules.sequence_batches import Pick

ATIS = Path(__file__).parent.parent.parent.parent / "shared" / "data" / "atis"


def rows(picks: list[Pick]) -> list[list[int]]:
    return [pick.row.tolist() for pick in picks]


def test_batches_by_hand() -> None:
    lengths = np.array([5, 1, 4, 2, 3])
    sampler = LengthBuckets(lengths, 2, is_shuffled=False)
    # Three batches of 1, 2 and 2 rows, ascending in length.
    assert rows(list(sampler)) == [[1], [3, 4], [2, 0]]
    assert [pick.length.tolist() for pick in sampler] == [[1], [2, 3], [4, 5]]
    assert padding_share(sampler.batches(), lengths) == pytest.approx(1 - 15 / (1 + 6 + 10))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=60), st.integers(1, 9), st.integers(1, 4), st.integers(0, 3))
def test_each_sequence_once_in_batches_of_equal_size(lengths: list[int], batch: int, window: int, epoch: int) -> None:
    sampler = LengthBuckets(np.array(lengths), batch, seed=1, window=window)
    sampler.set_epoch(epoch)
    found = rows(list(sampler))
    assert len(found) == len(sampler) == -(-len(lengths) // batch)
    assert sorted(sum(found, [])) == list(range(len(lengths)))  # noqa: RUF017
    sizes = {len(row) for row in found}
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1


def test_seed_and_epoch_fix_the_batches() -> None:
    lengths = np.random.default_rng(0).integers(1, 30, 200)
    first, again, other = (LengthBuckets(lengths, 8, seed=seed) for seed in (1, 1, 2))
    assert rows(list(first)) == rows(list(again))
    assert rows(list(first)) != rows(list(other))
    seeds = [pick.seed for pick in first]
    first.set_epoch(1)
    assert rows(list(first)) != rows(list(again))
    assert len({*seeds, *(pick.seed for pick in first)}) == 2 * len(first)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="sequence 1 has no step"):
        LengthBuckets(np.array([1, 0]), 2)
    with pytest.raises(ValueError, match="no sequence to make batches of"):
        LengthBuckets(np.zeros(0, np.int64), 2)
    with pytest.raises(ValueError, match="got 0 and 50"):
        LengthBuckets(np.ones(2, np.int64), 0)


@pytest.mark.skipif(not ATIS.is_dir(), reason=f"the ATIS files are not at {ATIS}")
def test_padding_on_atis() -> None:
    lengths = np.diff(read_ctf(ATIS / "atis.train.ctf.gz").sparse("S0").offsets)
    buckets, drawn = [], []
    for epoch in range(5):
        sampler = LengthBuckets(lengths, 64)
        sampler.set_epoch(epoch)
        buckets.append(padding_share(sampler.batches(), lengths))
        order = np.random.default_rng(epoch).permutation(len(lengths))
        drawn.append(padding_share(np.array_split(order, len(sampler)), lengths))
    # Measured: 5.1 % in buckets, 53.0 % in batches drawn at random.
    assert np.mean(buckets) < 0.06
    assert 0.5 < np.mean(drawn) < 0.56
