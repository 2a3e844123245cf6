"""What samplers of sequences have in common: epochs with shuffles of their own, shared out over the ranks."""

# N sequences

from __future__ import annotations

import abc
from collections.abc import Iterator

import numpy as np
from ludocast.datamodules.batches import world_and_rank
from ludocast.datamodules.sequence_batches import Pick


class EpochSampler(abc.ABC):
    """Picks of one epoch after another.

    Args:
        lengths: Steps of each sequence, int64 [N].
        seed: With the epoch it seeds the shuffles, so a resumed run sees the batches of an unbroken one.
        is_shuffled: False for evaluation.
        is_shared: False gives every rank all there is.

    Attributes:
        epoch: Whose picks come next.
        count: Picks of an epoch.

    Raises:
        ValueError: If there is no sequence, or one is empty.
    """

    count: int

    def __init__(self, lengths: np.ndarray, seed: int, is_shuffled: bool, is_shared: bool) -> None:
        if not len(lengths):
            raise ValueError("there is no sequence to make batches of; give one or more")
        if lengths.min() < 1:
            raise ValueError(
                f"sequence {int(np.argmin(lengths))} has no step ({int((lengths < 1).sum())} of {len(lengths)} have "
                "none); leave those out"
            )
        self.lengths, self.seed = lengths, seed
        self.is_shuffled, self.is_shared = is_shuffled, is_shared
        self.epoch = 0

    @property
    def total(self) -> int:
        """Real steps of an epoch, over all ranks."""
        return int(self.lengths.sum())

    @property
    def world(self) -> int:
        """Ranks that share an epoch."""
        return self.world_and_rank()[0]

    def world_and_rank(self) -> tuple[int, int]:
        """Ranks that share an epoch, and which of them this one is."""
        return world_and_rank() if self.is_shared else (1, 0)

    def set_epoch(self, epoch: int) -> None:
        """Lightning tells the epoch before it begins."""
        self.epoch = epoch

    def generator(self) -> np.random.Generator:
        """Of this epoch's shuffles."""
        return np.random.default_rng((self.seed, self.epoch))

    def pick_seed(self, number: int, rank: int) -> int:
        """A seed of its own for each pick of each epoch on each rank."""
        return int(np.random.SeedSequence((self.seed, self.epoch, number, rank)).generate_state(1)[0])

    def __len__(self) -> int:
        return self.count

    @abc.abstractmethod
    def __iter__(self) -> Iterator[Pick]:
        """The picks of this epoch for this rank."""
