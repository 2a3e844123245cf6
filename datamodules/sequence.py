"""Sequences of any source as a Lightning data module, for LightningCLI and a plain Trainer."""

from __future__ import annotations

import abc
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytorch_lightning as pl
from ludocast.datamodules.lanes import LaneChunks
from ludocast.datamodules.length_buckets import WINDOW, LengthBuckets
from ludocast.datamodules.sequence_batches import SequenceTensors
from ludocast.datamodules.sequence_loader import SequenceLoader
from ludocast.datamodules.sequences import Sequences
from ludocast.datamodules.step_inputs import StepInputs
from ludocast.datamodules.timelines import Timelines
from ludocast.datamodules.vocabulary import Vocabulary


@dataclass(frozen=True)
class SequenceParts:
    """What a source gives; everything fitted is fitted on the training part alone.

    Attributes:
        train: Sequences with steps such as "token" (ids), "numbers" [T, D], "target", and static values as "label".
        validation: Later or held-out ones.
        test: The last ones.
        sizes: What a network has to know: "tokens" (ids, 0 where there are none), "numbers", "classes".
        vocabulary: Of the tokens; None where there are none.
        classes: Names of the targets' classes, where they have names.
        rule: How the parts were made.
        players: Names of the players that the static value "player" counts, objects; None where there are none.
        inputs: How raw events become steps; None where a source does not tell, and then there is no bundle.
        timelines: Asks again about players; None where the task is another.
    """

    train: Sequences
    validation: Sequences
    test: Sequences
    sizes: dict[str, int]
    vocabulary: Vocabulary | None = None
    classes: tuple[str, ...] = field(default=())
    rule: str = ""
    players: np.ndarray | None = None
    inputs: StepInputs | None = None
    timelines: Timelines | None = None


class SequenceSource(abc.ABC):
    """Where sequences come from: see `ludocast.datamodules.sequence_sources`."""

    @abc.abstractmethod
    def read(self) -> SequenceParts:
        """Read, split and encode."""


class SequenceDataModule(pl.LightningDataModule):
    """Batches of a source's sequences: by length, or in lanes for truncated back-propagation.

    Args:
        source: Where the sequences come from.
        batch: Sequences of a batch, or lanes, over all ranks together.
        evaluation_batch: The same for validation, test and prediction, which every rank sees whole.
        tbptt_steps: Steps of a chunk, with the state carried over; None takes whole sequences, batched by length.
        one_text: With `tbptt_steps`: take a part as one text, cut into as many equal pieces as there are lanes.
        unknown_share: Share of the training tokens that become unknown at random.
        window: Batches within which sequences are sorted by length.
        seed: Of shuffles and of tokens dropped to unknown.

    Raises:
        ValueError: If arguments contradict each other.
    """

    def __init__(
        self,
        source: SequenceSource,
        batch: int = 64,
        evaluation_batch: int = 256,
        tbptt_steps: int | None = None,
        one_text: bool = False,
        unknown_share: float = 0.0,
        window: int = WINDOW,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if one_text and tbptt_steps is None:
            raise ValueError("one_text goes with tbptt_steps: one long text is learned from in chunks; give both")
        self.source, self.batch, self.evaluation_batch = source, batch, evaluation_batch
        self.tbptt_steps, self.one_text = tbptt_steps, one_text
        self.unknown_share, self.window, self.seed = unknown_share, window, seed
        self._parts: SequenceParts | None = None

    @property
    def parts(self) -> SequenceParts:
        """The source's sequences that have a step, read once; `row` of a batch counts in these."""
        if self._parts is None:
            parts = self.source.read()
            self._parts = replace(
                parts,
                train=with_steps(parts.train, "training"),
                validation=with_steps(parts.validation, "validation"),
                test=with_steps(parts.test, "test"),
            )
        return self._parts

    @property
    def sizes(self) -> dict[str, Any]:
        """What the network has to know of the sequences."""
        return dict(self.parts.sizes)

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 - all parts come from one reading
        """Read the source once."""
        _ = self.parts

    def train_dataloader(self) -> SequenceLoader:
        """Shuffled, each rank its share of every batch."""
        return self._loader(self.parts.train, is_training=True)

    def val_dataloader(self) -> SequenceLoader:
        """The validation part."""
        return self._loader(self.parts.validation)

    def test_dataloader(self) -> SequenceLoader:
        """The test part."""
        return self._loader(self.parts.test)

    def predict_dataloader(self) -> SequenceLoader:
        """The test part."""
        return self.test_dataloader()

    def _loader(self, part: Sequences, is_training: bool = False) -> SequenceLoader:
        size = self.batch if is_training else self.evaluation_batch
        own = self._one_text(part, size) if self.one_text else part
        data = SequenceTensors(own, self.unknown_share if is_training else 0.0)
        shared = {"is_shuffled": is_training, "is_shared": is_training}
        if self.tbptt_steps is None:
            return SequenceLoader(data, LengthBuckets(own.lengths, size, self.seed, self.window, **shared))
        return SequenceLoader(data, LaneChunks(own.lengths, size, self.tbptt_steps, self.seed, **shared))

    @staticmethod
    def _one_text(part: Sequences, lanes: int) -> Sequences:
        whole = part.joined()
        return whole.cut(max(1, -(-int(whole.lengths[0]) // lanes)))


def with_steps(part: Sequences, name: str) -> Sequences:
    """The sequences that have a step; the others add nothing to a mean over steps, and a warning tells how many."""
    kept = np.flatnonzero(part.lengths > 0)
    if len(kept) < len(part):
        warnings.warn(
            f"{len(part) - len(kept):,} of {len(part):,} {name} sequences have no step and are left out", stacklevel=2
        )
    return part.rows(kept)
