"""Batches of sequences of about one length, shuffled anew in each epoch and shared out over the ranks."""

# N sequences, B of a batch over all ranks, K batches

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from ludocast.datamodules.batches import world_and_rank
from ludocast.datamodules.sequence_batches import Pick

WINDOW = 50  # batches


class LengthBuckets:
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
        check_lengths(lengths)
        if batch < 1 or window < 1:
            raise ValueError(f"a batch has one sequence or more and a window one batch, got {batch} and {window}")
        self.lengths, self.count = lengths, -(-len(lengths) // batch)
        self.seed, self.window = seed, window
        self.is_shuffled, self.is_shared = is_shuffled, is_shared
        self.epoch = 0

    @property
    def total(self) -> int:
        """Real steps of an epoch, over all ranks."""
        return int(self.lengths.sum())

    @property
    def world(self) -> int:
        """Ranks that share each batch."""
        return world_and_rank()[0] if self.is_shared else 1

    def set_epoch(self, epoch: int) -> None:
        """Lightning tells the epoch before it begins."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def batches(self) -> list[np.ndarray]:
        """The rows of each batch of this epoch, over all ranks; K arrays of int64 [B], ascending in length."""
        edges = np.arange(self.count + 1) * len(self.lengths) // self.count
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(len(self.lengths)) if self.is_shuffled else np.arange(len(self.lengths))
        window = self.window if self.is_shuffled else self.count
        for first in range(0, self.count, window):
            part = slice(edges[first], edges[min(first + window, self.count)])
            order[part] = order[part][np.argsort(self.lengths[order[part]], kind="stable")]
        found = np.split(order, edges[1:-1])
        return [found[k] for k in generator.permutation(self.count)] if self.is_shuffled else found

    def __iter__(self) -> Iterator[Pick]:
        world, rank = world_and_rank() if self.is_shared else (1, 0)
        if len(self.lengths) // self.count < world:
            raise ValueError(
                f"{len(self.lengths)} sequences in {self.count} batches are fewer in each than the {world} ranks; "
                "train on fewer devices, or in larger batches"
            )
        for number, rows in enumerate(self.batches()):
            own = rows[rank::world]
            row, length = torch.from_numpy(own), torch.from_numpy(self.lengths[own])
            yield Pick(row, torch.zeros_like(row), length, batch_seed(self.seed, self.epoch, number, rank))


def check_lengths(lengths: np.ndarray) -> None:
    """Refuse what no batch can hold.

    Raises:
        ValueError: If there is no sequence, or one is empty.
    """
    if not len(lengths):
        raise ValueError("there is no sequence to make batches of; give one or more")
    if lengths.min() < 1:
        raise ValueError(
            f"sequence {int(np.argmin(lengths))} has no step ({int((lengths < 1).sum())} of {len(lengths)} have none); "
            "leave those out"
        )


def batch_seed(seed: int, epoch: int, number: int, rank: int) -> int:
    """A seed of its own for each batch of each epoch on each rank."""
    return int(np.random.SeedSequence((seed, epoch, number, rank)).generate_state(1)[0])


def padding_share(batches: list[np.ndarray], lengths: np.ndarray) -> float:
    """Share of a padded epoch's cells that hold no real step."""
    cells = sum(len(rows) * int(lengths[rows].max()) for rows in batches)
    return 1 - sum(int(lengths[rows].sum()) for rows in batches) / cells
