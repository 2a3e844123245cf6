"""Training rows made ready for learners, and fitted learners put together to what a bundle repeats."""

# N rows, C outputs

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from ludocast.datamodules.fit_preprocessing import fit_preprocessing
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.preprocess import Encoded, Preprocessing
from ludocast.datamodules.schema import Schema
from ludocast.datamodules.split import folds
from ludocast.models.fitted import Fitted
from ludocast.models.learner import HeldOut
from ludocast.models.number_loss import SQUARED, NumberLoss
from ludocast.models.table.goal import Goal, Sharpness, goal_of
from ludocast.models.table.model import Model

FOLDS = 5


@dataclass(frozen=True)
class Learned:
    """Fitted learners by name."""

    models: Mapping[str, Model]

    def logits(self, encoded: Encoded) -> dict[str, np.ndarray]:
        """Scores of each, float64 [N, C]."""
        return {name: model.scores(encoded) for name, model in self.models.items()}


@dataclass(frozen=True)
class Prepared:
    """Training rows, and rows held out for good where there are such.

    Attributes:
        schema: Of the table.
        goal: What it is learnt for.
        preprocessing: Fitted on the training rows.
        encoded: The training rows.
        label: Of these, int64 [N], of several labels [N, L], or scaled numbers, float64 [N].
        held: Rows held out for good, with their label.
    """

    schema: Schema
    goal: Goal
    preprocessing: Preprocessing
    encoded: Encoded
    label: np.ndarray
    held: tuple[Encoded, np.ndarray] | None

    def folds(self, seed: int, most: int = FOLDS) -> np.ndarray | None:
        """Number of each training row's fold, int64 [N], of so many at most; None where rows are held out for good."""
        if self.held is not None:
            return None
        return folds(self.label, seed, max(min(most, self.goal.rarest(self.label)), 2))

    def assembled(
        self,
        models: Mapping[str, Model],
        parts: Mapping[str, float],
        held_out: HeldOut,
        sharp: Mapping[str, Sharpness] = MappingProxyType({}),
    ) -> Fitted:
        """The model of some fitted learners, calibrated on held-out rows.

        Args:
            models: By name.
            parts: How much each counts; some may be 0.
            held_out: Their scores on held-out rows.
            sharp: What the scores of each are multiplied by before they are weighed; 1 where it is not told.
        """
        used = {name: part for name, part in parts.items() if part > 0}
        candidates = Learned({name: models[name] for name in used})
        scale = {name: sharp.get(name, 1.0) for name in used}
        return self.goal.model(self.schema, self.preprocessing, candidates, used, scale, held_out)


def prepare(
    schema: Schema,
    columns: RawColumns,
    label: np.ndarray,
    validation: tuple[RawColumns, np.ndarray] | None,
    seed: int,
    rare: int,
    loss: NumberLoss = SQUARED,
) -> Prepared:
    """Fit the preprocessing and apply it.

    Args:
        schema: The table's schema.
        columns: Raw columns of the training rows.
        label: Class index, int64 [N], of several labels 0 or 1, int64 [N, L], or numbers, float64 [N].
        validation: Raw columns and labels of rows held out for good; None: each training row is held out once.
        seed: Of the preprocessing.
        rare: Values of fewer training rows are not kept.
        loss: By which a number is predicted.
    """
    goal = goal_of(schema, label, loss)
    preprocessing, encoded = fit_preprocessing(schema, columns, goal.tame(label), seed, rare)
    held = None if validation is None else (preprocessing.encode(validation[0]), goal.scaled(validation[1]))
    return Prepared(schema, goal, preprocessing, encoded, goal.scaled(label), held)
