"""What a table is learnt for: classes, several labels, or a number; how scores are judged, and become answers."""

# N rows, C outputs, L labels

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from ludocast.datamodules.preprocess import Preprocessing
from ludocast.datamodules.schema import Schema
from ludocast.models.calibration import fit_temperature, row_losses
from ludocast.models.conformal import Interval, Ratios, fit_interval, fit_ratios, lowest_of_many
from ludocast.models.fitted import Fitted, FittedClasses, FittedLabels, FittedNumbers, Scores
from ludocast.models.learner import HeldOut, blended
from ludocast.models.number_loss import NumberLoss

Sharpness = float | np.ndarray  # what scores are multiplied by to be calibrated; of several labels float64 [L]
EVEN = 0.5  # the threshold of a label until another is chosen


class Goal(Protocol):
    """What is predicted."""

    def scaled(self, label: np.ndarray) -> np.ndarray:
        """The label as learners learn it."""

    def tame(self, label: np.ndarray) -> np.ndarray:
        """The label as inputs are made by it."""

    def rarest(self, label: np.ndarray) -> int:
        """Rows that each of some folds has to share with the others: as many folds there may be at most."""

    def row_losses(self, scores: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Of each row, float64 [N], of calibrated scores [N, C] and scaled labels."""

    def measure(self, scores: np.ndarray, label: np.ndarray) -> float:
        """Their mean."""
        return float(self.row_losses(scores, label).mean())

    def in_unit(self, loss: float) -> float:
        """A mean loss as it is shown."""

    def sharpness(self, scores: np.ndarray, label: np.ndarray) -> Sharpness:
        """What scores on held-out rows are multiplied by to be calibrated."""

    def model(
        self,
        schema: Schema,
        preprocessing: Preprocessing,
        candidates: Scores,
        parts: Mapping[str, float],
        sharp: Mapping[str, Sharpness],
        held_out: HeldOut,
    ) -> Fitted:
        """Fitted candidates put together, calibrated on held-out rows.

        Args:
            schema: Of the table.
            preprocessing: What the candidates read.
            candidates: Fitted.
            parts: How much each counts, above 0.
            sharp: What its scores are multiplied by before they are weighed.
            held_out: Their scores on held-out rows.
        """


@dataclass(frozen=True)
class ClassGoal(Goal):
    """One of some classes."""

    def scaled(self, label: np.ndarray) -> np.ndarray:
        """Class index, int64 [N]."""
        return label

    def tame(self, label: np.ndarray) -> np.ndarray:
        """The same."""
        return label

    def rarest(self, label: np.ndarray) -> int:
        """Of the rarest class."""
        return int(np.bincount(label).min())

    def row_losses(self, scores: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Cross-entropy."""
        return row_losses(scores, label)

    def in_unit(self, loss: float) -> float:
        """As it is."""
        return loss

    def sharpness(self, scores: np.ndarray, label: np.ndarray) -> Sharpness:
        """One over the temperature."""
        return 1 / fit_temperature(scores, label)

    def model(
        self,
        schema: Schema,
        preprocessing: Preprocessing,
        candidates: Scores,
        parts: Mapping[str, float],
        sharp: Mapping[str, Sharpness],
        held_out: HeldOut,
    ) -> Fitted:
        """See `Goal`."""
        weights = {name: part * float(sharp[name]) for name, part in parts.items()}
        temperature = fit_temperature(blended(held_out.logits, weights), held_out.label)
        return FittedClasses(schema, preprocessing, candidates, weights, temperature)


@dataclass(frozen=True)
class LabelGoal(ClassGoal):
    """Several labels, of which a row may have any: each is judged and calibrated by itself."""

    def rarest(self, label: np.ndarray) -> int:
        """Of the rarer value of any label."""
        has = label.sum(axis=0)
        return int(np.minimum(has, len(label) - has).min())

    def sharpness(self, scores: np.ndarray, label: np.ndarray) -> Sharpness:
        """One over the temperature of each label, float64 [L]; of one label by itself a number."""
        if label.ndim == 1:
            return super().sharpness(scores, label)
        return np.array([1 / fit_temperature(scores[:, [k]], one) for k, one in enumerate(label.T)])

    def model(
        self,
        schema: Schema,
        preprocessing: Preprocessing,
        candidates: Scores,
        parts: Mapping[str, float],
        sharp: Mapping[str, Sharpness],
        held_out: HeldOut,
    ) -> Fitted:
        """See `Goal`."""
        scores = np.sum([part * sharp[name] * held_out.logits[name] for name, part in parts.items()], axis=0)
        of_all = self.sharpness(scores, held_out.label)
        scale = {name: np.broadcast_to(part * sharp[name] * of_all, scores.shape[1:]) for name, part in parts.items()}
        return FittedLabels(schema, preprocessing, candidates, dict(parts), scale, np.full(scores.shape[1], EVEN))


@dataclass(frozen=True)
class NumberGoal(Goal):
    """A number.

    Attributes:
        loss: By which it is predicted.
        centre: Mean of the label's training rows, 0 of amounts.
        width: Their standard deviation, of amounts their mean.
        lowest: The number below which there is none, where many rows have it, so that none is predicted; else minus
            infinity, as it is of amounts, which are above 0 anyway.
    """

    loss: NumberLoss
    centre: float
    width: float
    lowest: float = -np.inf

    def scaled(self, label: np.ndarray) -> np.ndarray:
        """float64 [N]."""
        return np.asarray((label - self.centre) / self.width)

    def tame(self, label: np.ndarray) -> np.ndarray:
        """Of amounts logarithms: a category's mean logarithm tells more than its few largest amounts."""
        return np.log1p(label / self.width) if self.loss.is_of_amounts else label

    def rarest(self, label: np.ndarray) -> int:
        """All rows."""
        return len(label)

    def row_losses(self, scores: np.ndarray, label: np.ndarray) -> np.ndarray:
        """By the loss."""
        return self.loss.of_rows(scores[:, 0], label)

    def in_unit(self, loss: float) -> float:
        """In the label's own unit; of the squared one its root."""
        return self.loss.in_unit(loss, self.width)

    def sharpness(self, scores: np.ndarray, label: np.ndarray) -> float:  # noqa: ARG002
        """1, for scores are numbers."""
        return 1.0

    def model(
        self,
        schema: Schema,
        preprocessing: Preprocessing,
        candidates: Scores,
        parts: Mapping[str, float],
        sharp: Mapping[str, Sharpness],  # noqa: ARG002
        held_out: HeldOut,
    ) -> FittedNumbers:
        """See `Goal`."""
        score, label = blended(held_out.logits, parts)[:, 0], held_out.label
        interval: Interval | Ratios
        if self.loss.is_of_amounts:
            interval = fit_ratios(score, label)
        else:
            interval = fit_interval(score, label, lowest=(self.lowest - self.centre) / self.width)
        return FittedNumbers(
            schema, preprocessing, candidates, dict(parts), self.centre, self.width, interval, self.loss, self.lowest
        )


def goal_of(schema: Schema, label: np.ndarray, loss: NumberLoss) -> Goal:
    """What a table is learnt for.

    Args:
        schema: Of the table.
        label: Of its training rows.
        loss: By which a number is predicted.
    """
    if schema.labels:
        return LabelGoal()
    if schema.classes:
        return ClassGoal()
    mean = float(label.mean())
    if loss.is_of_amounts:
        return NumberGoal(loss, 0.0, mean)
    return NumberGoal(loss, mean, float(label.std()), lowest_of_many(label))
