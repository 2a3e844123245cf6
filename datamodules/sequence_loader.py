"""Batches of an epoch, one after the other, that a resumed training takes up in the middle of the epoch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from ludocast.datamodules.epoch_sampler import EpochSampler
from ludocast.datamodules.sequence_batches import SequenceBatch, SequenceTensors


class SequenceLoader:
    """Gathers batches in memory; a Trainer saves its state in its checkpoints and hands it back.

    Sequences are sharded by the sampler itself, so the Trainer needs `use_distributed_sampler=False`.

    Args:
        data: What batches are gathered from.
        sampler: What goes into each batch.
    """

    batch_sampler = None  # Lightning asks whatever has a sampler for it

    def __init__(self, data: SequenceTensors, sampler: EpochSampler) -> None:
        self.data, self.sampler = data, sampler
        self._handed_out = 0
        self._resumed: int | None = None

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[SequenceBatch]:
        # The body runs at the first batch, when Lightning has told the sampler its epoch.
        self._handed_out = self._resumed if self._resumed is not None and self._resumed < len(self) else 0
        self._resumed = None
        shares = len(self) * self.sampler.world
        averages = (self.sampler.total / shares, len(self.sampler.lengths) / shares)
        for pick in islice(self.sampler, self._handed_out, None):
            self._handed_out += 1
            yield self.data.batch(pick, *averages)

    def state_dict(self) -> dict[str, int]:
        """Epoch, batches handed out, and by what to know that the data is the same."""
        return {"epoch": self.sampler.epoch, "batches": self._handed_out, **self._identity()}

    def _identity(self) -> dict[str, int]:
        sampler = self.sampler
        return {"sequences": len(sampler.lengths), "steps": sampler.total, "of": len(sampler), "seed": sampler.seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after the batches that were handed out.

        Raises:
            ValueError: If the state is that of other data, or other batches.
        """
        found = {name: state.get(name) for name in self._identity()}
        if found != self._identity():
            raise ValueError(
                f"the training that is to go on had other batches ({found}) than this one ({self._identity()}); "
                "give it the same data, batch size, steps and seed"
            )
        self.sampler.set_epoch(state["epoch"])
        self._resumed = state["batches"]
