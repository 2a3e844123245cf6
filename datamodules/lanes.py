"""Lanes for truncated back-propagation: sequences side by side, a chunk of steps at a time, the state carried over.

A lane takes its sequences one after the other. Where one ends within a chunk the rest of that chunk is padding, and
the next chunk begins the lane's next sequence, with a reset of the state of that lane alone.
"""

# N sequences, B lanes, C chunks of an epoch

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from ludocast.datamodules.epoch_sampler import EpochSampler
from ludocast.datamodules.ragged import flat_positions
from ludocast.datamodules.sequence_batches import NO_ROW, Pick


class LanePlan(NamedTuple):
    """What each lane holds in each chunk, int64 [C, B] each: the sequence, the steps of it before, the steps of it."""

    row: np.ndarray
    skip: np.ndarray
    length: np.ndarray


def plan_lanes(lengths: np.ndarray, lanes: int, steps: int, generator: np.random.Generator | None) -> LanePlan:
    """Share sequences out over lanes so that these end at about the same time.

    The longest sequence first goes to the lane with the fewest chunks so far (longest processing time first: Graham,
    SIAM J. Appl. Math. 1969), then each lane's order is drawn. The number of chunks depends on the lengths alone, not
    on the shuffle.

    Args:
        lengths: int64 [N].
        lanes: Number of lanes.
        steps: Most steps of a chunk.
        generator: Of the shuffle; None keeps the order of the sequences within a lane.
    """
    chunks = -(-lengths // steps)
    drawn = np.arange(len(lengths)) if generator is None else generator.permutation(len(lengths))
    lane = np.empty(len(lengths), np.int64)
    loads = [(0, number) for number in range(lanes)]
    for row in drawn[np.argsort(-chunks[drawn], kind="stable")]:
        load, number = loads[0]
        lane[row] = number
        heapq.heapreplace(loads, (load + int(chunks[row]), number))
    place = np.arange(len(lengths)) if generator is None else generator.permutation(len(lengths))
    return _table(lengths, steps, lane, np.lexsort((place, lane)), max(loads)[0], lanes)


def _table(lengths: np.ndarray, steps: int, lane: np.ndarray, order: np.ndarray, count: int, lanes: int) -> LanePlan:
    chunks = -(-lengths[order] // steps)
    before = np.cumsum(chunks) - chunks
    begins = np.flatnonzero(np.diff(lane[order], prepend=-1))  # where each lane's first sequence stands
    before -= np.repeat(before[begins], np.diff(np.append(begins, len(order))))
    row = np.repeat(order, chunks)
    number = flat_positions(np.zeros(len(order), np.int64), chunks)  # of a chunk within its sequence
    cell = (np.repeat(before, chunks) + number, lane[row])
    plan = LanePlan(*(np.full((count, lanes), value, np.int64) for value in (NO_ROW, 0, 0)))
    plan.row[cell], plan.skip[cell] = row, number * steps
    plan.length[cell] = np.minimum(lengths[row] - number * steps, steps)
    return plan


class LaneChunks(EpochSampler):
    """The chunks of an epoch, one after the other; every step of every sequence is in exactly one.

    Args:
        lengths: Steps of each sequence, int64 [N].
        lanes: Sequences side by side, over all ranks together; each rank takes every `world`-th lane.
        steps: Most steps of a chunk, over which gradients flow back.
        seed: With the epoch it seeds the shuffles.
        is_shuffled: False takes the sequences of a lane in their order, for evaluation.
        is_shared: False gives every rank all lanes.

    Raises:
        ValueError: If there is no sequence, one is empty, or an argument makes no sense.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        lanes: int,
        steps: int,
        seed: int = 0,
        is_shuffled: bool = True,
        is_shared: bool = True,
    ) -> None:
        super().__init__(lengths, seed, is_shuffled, is_shared)
        if lanes < 1 or steps < 1:
            raise ValueError(f"there is one lane or more, of one step a chunk or more, got {lanes} and {steps}")
        self.lanes, self.steps = lanes, steps
        self.count = len(self.plan().row)

    def plan(self) -> LanePlan:
        """This epoch's plan, over all ranks; as large as the number of chunks."""
        generator = self.generator() if self.is_shuffled else None
        return plan_lanes(self.lengths, self.lanes, self.steps, generator)

    def __iter__(self) -> Iterator[Pick]:
        world, rank = self.world_and_rank()
        if self.lanes < world:
            raise ValueError(f"{self.lanes} lanes are fewer than the {world} ranks; give each one a lane or more")
        for number, chunk in enumerate(zip(*self.plan(), strict=True)):
            row, skip, length = (torch.from_numpy(values[rank::world].copy()) for values in chunk)
            yield Pick(row, skip, length, self.pick_seed(number, rank))
