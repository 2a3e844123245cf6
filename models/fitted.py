"""A fitted model of a table: raw columns in, calibrated probabilities or numbers out; the bundle repeats it."""

# N rows, C outputs

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.preprocess import Encoded, Preprocessing
from ludocast.datamodules.schema import Schema
from ludocast.models.calibration import class_probabilities
from ludocast.models.conformal import Interval, Ratios
from ludocast.models.learner import blended
from ludocast.models.number_loss import SQUARED, NumberLoss
from scipy.special import expit


class Scores(Protocol):
    """Fitted candidates."""

    def logits(self, encoded: Encoded) -> Mapping[str, np.ndarray]:
        """Scores of each candidate, float64 [N, C]."""
        ...


@dataclass(frozen=True)
class FittedColumns:
    """What all have.

    Attributes:
        schema: Of the table.
        preprocessing: From raw columns to what the candidates read.
        candidates: Of which some count. Their scores are logits of classes [N, C], of labels [N, L], or scaled numbers
            [N, 1].
        weights: Of the candidates' scores; what they count, of several labels the same for each.
    """

    schema: Schema
    preprocessing: Preprocessing
    candidates: Scores
    weights: Mapping[str, float]

    def predict(self, columns: RawColumns) -> np.ndarray:
        """Probabilities float64 [N, C], of labels [N, L], or values [N], of raw columns."""
        return self.predict_encoded(self.preprocessing.encode(columns))

    def predict_encoded(self, encoded: Encoded) -> np.ndarray:
        """The same of rows that its preprocessing has encoded."""
        return self.predict_scored(self.candidates.logits(encoded))

    def predict_scored(self, scores: Mapping[str, np.ndarray]) -> np.ndarray:
        """The same of the candidates' scores."""
        raise NotImplementedError


@dataclass(frozen=True)
class FittedClasses(FittedColumns):
    """A classifier.

    Attributes:
        temperature: By which the weighted logits are divided.
        threshold: From which probability on the positive class is answered.
    """

    temperature: float
    threshold: float | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the probabilities."""
        return self.schema.classes

    def predict_scored(self, scores: Mapping[str, np.ndarray]) -> np.ndarray:
        """Probabilities float64 [N, classes] of the candidates' logits [N, C]."""
        return class_probabilities(blended(scores, self.weights) / self.temperature)

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Class index of each row: the positive one from the threshold on, with more classes the likeliest."""
        positive = self.schema.positive_index
        if positive is None or self.threshold is None:
            return np.asarray(probabilities.argmax(axis=1))
        # The graph compares float32 numbers, so this side does as well.
        chosen = probabilities[:, positive].astype(np.float32) >= np.float32(self.threshold)
        return np.where(chosen, positive, 1 - positive)


@dataclass(frozen=True)
class FittedLabels(FittedColumns):
    """A model of several labels, of which a row may have any.

    Attributes:
        scale: What a candidate's logits are multiplied by, its weight, its calibration and that of all; float64 [L].
        thresholds: From which probability on a label is answered, float64 [L].
    """

    scale: Mapping[str, np.ndarray]
    thresholds: np.ndarray

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels, in the order of the probabilities."""
        return self.schema.classes

    def predict_scored(self, scores: Mapping[str, np.ndarray]) -> np.ndarray:
        """Probabilities float64 [N, L] of the candidates' logits [N, L]."""
        return np.asarray(expit(np.sum([scale * scores[name] for name, scale in self.scale.items()], axis=0)))

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Which labels each row gets, bool [N, L]."""
        # The graph compares float32 numbers, so this side does as well.
        return probabilities.astype(np.float32) >= self.thresholds.astype(np.float32)


@dataclass(frozen=True)
class FittedNumbers(FittedColumns):
    """A model of a number.

    Attributes:
        centre: Mean of the label's training rows.
        width: Their standard deviation: a value is centre + width · score.
        interval: Around a score.
        loss: By which it was fitted.
        lowest: Label below which neither a value nor a bound is, in float32; minus infinity where there is none.
    """

    centre: float
    width: float
    interval: Interval | Ratios
    loss: NumberLoss = SQUARED
    lowest: float = -np.inf

    def predict_scored(self, scores: Mapping[str, np.ndarray]) -> np.ndarray:
        """Values float64 [N] of the candidates' scores [N, 1]."""
        return np.maximum(self.centre + self.width * blended(scores, self.weights)[:, 0], self.lowest)

    def bounds(self, values: np.ndarray) -> np.ndarray:
        """Lower and upper bound of each value, float64 [N, 2]."""
        score = (values - self.centre) / self.width
        lower, upper = values + self.width * self.interval.offsets(score).T
        return np.column_stack([np.maximum(lower, self.lowest), upper])


Fitted = FittedClasses | FittedLabels | FittedNumbers
