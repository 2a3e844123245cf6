"""Training rows made ready for learners, and fitted learners put together to what a bundle repeats."""

# N rows, C outputs

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.fit_preprocessing import fit_preprocessing
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.preprocess import Encoded, Preprocessing
from ludocast.datamodules.schema import Schema
from ludocast.datamodules.split import folds
from ludocast.models.calibration import fit_temperature
from ludocast.models.conformal import Interval, Ratios, fit_interval, fit_ratios
from ludocast.models.fitted import FittedClasses, FittedNumbers
from ludocast.models.learner import HeldOut, blended
from ludocast.models.number_loss import SQUARED, NumberLoss
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
        schema: Of the table; without classes the label is a number.
        preprocessing: Fitted on the training rows.
        encoded: The training rows.
        label: Of these, int64 [N], or scaled numbers, float64 [N].
        centre: Mean of a number's training rows, 0 of classes.
        width: Their standard deviation, 1 of classes.
        held: Rows held out for good, with their label.
        loss: By which a number is predicted; amounts are divided by their mean alone.
    """

    schema: Schema
    preprocessing: Preprocessing
    encoded: Encoded
    label: np.ndarray
    centre: float
    width: float
    held: tuple[Encoded, np.ndarray] | None
    loss: NumberLoss = SQUARED

    def folds(self, seed: int, most: int = FOLDS) -> np.ndarray | None:
        """Number of each training row's fold, int64 [N], of so many at most; None where rows are held out for good."""
        if self.held is not None:
            return None
        count = most if not self.schema.classes else int(min(most, np.bincount(self.label).min()))
        return folds(self.label, seed, max(min(count, len(self.label)), 2))

    def assembled(
        self, models: Mapping[str, Model], weights: Mapping[str, float], held_out: HeldOut
    ) -> FittedClasses | FittedNumbers:
        """The model of some fitted learners, calibrated on held-out rows.

        Args:
            models: By name.
            weights: Of their scores, above 0 of those that count.
            held_out: Their scores on held-out rows.
        """
        used = {name: weight for name, weight in weights.items() if weight > 0}
        candidates = Learned({name: models[name] for name in used})
        scores = blended(held_out.logits, used)
        if self.schema.classes:
            temperature = fit_temperature(scores, held_out.label)
            return FittedClasses(self.schema, self.preprocessing, candidates, used, temperature)
        score, label = scores[:, 0], held_out.label
        interval: Interval | Ratios = (
            fit_ratios(score, label) if self.loss.is_of_amounts else fit_interval(score, label)
        )
        return FittedNumbers(
            self.schema, self.preprocessing, candidates, used, self.centre, self.width, interval, self.loss
        )


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
        label: Class index, int64 [N], or numbers, float64 [N].
        validation: Raw columns and labels of rows held out for good; None: each training row is held out once.
        seed: Of the preprocessing.
        rare: Values of fewer training rows are not kept.
        loss: By which a number is predicted.
    """
    centre, width = (0.0, 1.0) if schema.classes else (float(label.mean()), float(label.std()))
    read = label
    if loss.is_of_amounts:
        centre, width = 0.0, centre
        # What the inputs are made by is tame: a category's mean logarithm tells more than its few largest amounts.
        read = np.log1p(label / width)
    preprocessing, encoded = fit_preprocessing(schema, columns, read, seed, rare)

    def scaled(values: np.ndarray) -> np.ndarray:
        return values if schema.classes else (values - centre) / width

    held = None if validation is None else (preprocessing.encode(validation[0]), scaled(validation[1]))
    return Prepared(schema, preprocessing, encoded, scaled(label), centre, width, held, loss)
