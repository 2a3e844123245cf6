"""Batches of sequences of about one length, shuffled anew in each epoch and shared out over the ranks."""

# N sequences, B of a batch over all ranks, K batches

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from ludocast.datamodules.epoch_sampler import EpochSampler
from ludocast.datamodules.sequence_batches import Pick

WINDOW = 50  # batches


class LengthBuckets(EpochSampler):
    """Shuffles the sequences, sorts by length within windows of some batches, and shuffles the batches.

    Every sequence is in one batch of an epoch. Batches are of equal size but for one row, instead of a small last
    one, and each rank takes every `world`-th row of every batch, so that all have about the same work.

    Args:
        lengths: Steps of each sequence, int64 [N].
        batch: Sequences of a batch, over all ranks together, at most.
        seed: With the epoch it seeds the shuffles, so a resumed run sees the batches of an unbroken one.
        window: Batches that are sorted together: more of them pad less and shuffle less.
        is_shuffled: False sorts all sequences by length, for evaluation.
        is_shared: False gives every rank all batches.

    Raises:
        ValueError: If there is no sequence, one is empty, or an argument makes no sense.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        batch: int,
        seed: int = 0,
        window: int = WINDOW,
        is_shuffled: bool = True,
        is_shared: bool = True,
    ) -> None:
        super().__init__(lengths, seed, is_shuffled, is_shared)
        if batch < 1 or window < 1:
            raise ValueError(f"a batch has one sequence or more and a window one batch, got {batch} and {window}")
        self.count, self.window = -(-len(lengths) // batch), window

    def batches(self) -> list[np.ndarray]:
        """The rows of each batch of this epoch, over all ranks; K arrays of int64 [B], ascending in length."""
        edges = np.arange(self.count + 1) * len(self.lengths) // self.count
        generator = self.generator()
        order = generator.permutation(len(self.lengths)) if self.is_shuffled else np.arange(len(self.lengths))
        window = self.window if self.is_shuffled else self.count
        for first in range(0, self.count, window):
            part = slice(edges[first], edges[min(first + window, self.count)])
            order[part] = order[part][np.argsort(self.lengths[order[part]], kind="stable")]
        found = np.split(order, edges[1:-1])
        return [found[k] for k in generator.permutation(self.count)] if self.is_shuffled else found

    def __iter__(self) -> Iterator[Pick]:
        world, rank = self.world_and_rank()
        if len(self.lengths) // self.count < world:
            raise ValueError(
                f"{len(self.lengths)} sequences in {self.count} batches are fewer in each than the {world} ranks; "
                "train on fewer devices, or in larger batches"
            )
        for number, rows in enumerate(self.batches()):
            own = rows[rank::world]
            row, length = torch.from_numpy(own), torch.from_numpy(self.lengths[own])
            yield Pick(row, torch.zeros_like(row), length, self.pick_seed(number, rank))


def padding_share(batches: list[np.ndarray], lengths: np.ndarray) -> float:
    """Share of a padded epoch's cells that hold no real step."""
    cells = sum(len(rows) * int(lengths[rows].max()) for rows in batches)
    return 1 - sum(int(lengths[rows].sum()) for rows in batches) / cells
