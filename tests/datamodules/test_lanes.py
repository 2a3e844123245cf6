"""Lanes by hand, every step once, equal to the uncut sequences, taken up again in mid-epoch, flat in memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ludocast.datamodules.lanes import LaneChunks, plan_lanes
from ludocast.datamodules.length_buckets import LengthBuckets
from ludocast.datamodules.sequence_batches import NO_ROW, SequenceBatch, SequenceTensors
from ludocast.datamodules.sequence_loader import SequenceLoader
from ludocast.datamodules.sequences import Sequences, from_offsets


def test_a_plan_by_hand() -> None:
    # Chunks of 2 steps: sequence 0 has 3 of them, 1 one, 2 two. The longest goes to lane 0, 2 and then 1 to lane 1.
    plan = plan_lanes(np.array([5, 2, 3]), 2, 2, None)
    assert plan.row.tolist() == [[0, 1], [0, 2], [0, 2]]  # within a lane in the order of the sequences
    assert plan.skip.tolist() == [[0, 0], [2, 0], [4, 2]]
    assert plan.length.tolist() == [[2, 2], [2, 2], [1, 1]]
    alone = plan_lanes(np.array([3]), 2, 2, None)
    assert alone.row.tolist() == [[0, NO_ROW], [0, NO_ROW]]
    assert alone.length.tolist() == [[2, 0], [1, 0]]


lengths_of = st.lists(st.integers(1, 20), min_size=1, max_size=25)


@given(lengths_of, st.integers(1, 5), st.integers(1, 6), st.integers(0, 3))
def test_every_step_once_and_in_order(lengths: list[int], lanes: int, steps: int, epoch: int) -> None:
    chunks = LaneChunks(np.array(lengths), lanes, steps, seed=1)
    chunks.set_epoch(epoch)
    seen: dict[int, list[int]] = {row: [] for row in range(len(lengths))}
    under_way: list[int] = [NO_ROW] * lanes
    picks = list(chunks)
    assert len(picks) == len(chunks)  # whatever the shuffle
    for pick in picks:
        for lane, (row, skip, length) in enumerate(zip(*(part.tolist() for part in pick[:3]), strict=True)):
            if row == NO_ROW:
                assert length == 0
                continue
            if skip == 0:
                assert not seen[row]
                assert under_way[lane] == NO_ROW or len(seen[under_way[lane]]) == lengths[under_way[lane]]
                under_way[lane] = row
            assert under_way[lane] == row
            seen[row] += range(skip, skip + length)
    assert seen == {row: list(range(length)) for row, length in enumerate(lengths)}


def test_lanes_end_together() -> None:
    lengths = np.random.default_rng(0).integers(1, 400, 1_000)
    chunks = LaneChunks(lengths, 16, 32)
    assert len(chunks) == -(-int((-(-lengths // 32)).sum()) // 16)


def random_sequences(count: int = 40) -> Sequences:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 50, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return from_offsets(
        {"token": rng.integers(2, 99, lengths.sum()), "numbers": rng.normal(size=(lengths.sum(), 3))}, offsets
    )


def test_a_network_sees_the_uncut_sequences() -> None:
    sequences = random_sequences()
    torch.manual_seed(0)
    network = torch.nn.RNN(3, 4, batch_first=True)
    found: dict[int, list[torch.Tensor]] = {row: [] for row in range(len(sequences))}
    state = torch.zeros(1, 5, 4)
    with torch.no_grad():
        for batch in SequenceLoader(SequenceTensors(sequences), LaneChunks(sequences.lengths, 5, 8)):
            state = torch.where(batch.reset[None, :, None], 0.0, state)
            out, _ = network(batch.steps["numbers"], state)
            # The state after the last real step; a lane with padding is reset next.
            state = out[torch.arange(5), batch.length.clamp(min=1) - 1][None]
            for lane in range(5):
                if batch.length[lane]:
                    found[int(batch.row[lane])].append(out[lane, : batch.length[lane]])
        for row in range(len(sequences)):
            x = torch.from_numpy(sequences.steps["numbers"][sequences.begin[row] : sequences.end[row]]).float()
            torch.testing.assert_close(torch.cat(found[row]), network(x[None])[0][0])


def loader(seed: int = 3, kind: str = "lanes") -> SequenceLoader:
    sequences = random_sequences()
    data = SequenceTensors(sequences, unknown_share=0.3)
    if kind == "lanes":
        return SequenceLoader(data, LaneChunks(sequences.lengths, 5, 8, seed))
    return SequenceLoader(data, LengthBuckets(sequences.lengths, 4, seed))


def same(first: SequenceBatch, second: SequenceBatch) -> bool:
    tensors = zip((*first.steps.values(), *first[2:6]), (*second.steps.values(), *second[2:6]), strict=True)
    return all(torch.equal(a, b) for a, b in tensors) and first[6:] == second[6:]


@pytest.mark.parametrize("kind", ["lanes", "buckets"])
@pytest.mark.parametrize("epoch", [0, 2])
def test_taken_up_in_mid_epoch_to_the_bit(kind: str, epoch: int) -> None:
    whole = loader(kind=kind)
    whole.sampler.set_epoch(epoch)
    batches = list(whole)
    broken = loader(kind=kind)
    broken.sampler.set_epoch(epoch)
    stream = iter(broken)
    for _ in range(4):
        next(stream)
    state = broken.state_dict()
    resumed = loader(kind=kind)
    resumed.load_state_dict(state)
    rest = list(resumed)
    assert len(rest) == len(batches) - 4
    assert all(same(a, b) for a, b in zip(rest, batches[4:], strict=True))
    assert not any(same(a, b) for a, b in zip(rest, batches, strict=False))
    again = list(resumed)  # the next pass is a whole one
    assert all(same(a, b) for a, b in zip(again, batches, strict=True))


def test_after_the_last_batch_comes_the_next_epoch() -> None:
    ended = loader()
    list(ended)
    resumed = loader()
    resumed.load_state_dict(ended.state_dict())
    assert len(list(resumed)) == len(resumed)


def test_a_state_of_other_batches_is_refused() -> None:
    with pytest.raises(ValueError, match="the training that is to go on had other batches"):
        loader(seed=4).load_state_dict(loader(seed=3).state_dict())


@pytest.mark.parametrize("total", [100_000, 1_000_000])
def test_memory_is_flat_in_the_length_of_a_sequence(total: int) -> None:
    sequences = from_offsets({"token": np.arange(total)}, np.array([0, total]))
    own = SequenceLoader(SequenceTensors(sequences), LaneChunks(sequences.lengths, 1, 64))
    steps = 0
    tracemalloc.start()
    for batch in own:
        steps += int(batch.length.sum())
        assert batch.steps["token"].shape[1] <= 64
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert steps == total
    # The plan and what it is made of, measured: 80 bytes a chunk; an array as long as the sequence has 512.
    assert peak < 100 * total / 64


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="one lane or more, of one step a chunk or more, got 0 and 5"):
        LaneChunks(np.array([3]), 0, 5)
    with pytest.raises(ValueError, match="has no step"):
        LaneChunks(np.array([0, 3]), 2, 5)
