"""Learners of amounts, 0 or more, in units of their mean: of those that predict logarithms, or means themselves."""

# N rows

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from ludocast.datamodules.preprocess import Encoded
from ludocast.models.learner import Learner
from ludocast.models.table.model import Model

LEAST_AMOUNT = 0.01  # of the mean amount: a prediction is above 0
LEAST_LOG = float(np.log(1e-6))


@dataclass(frozen=True)
class Exponential:
    """What predicts the logarithm of the mean.

    Attributes:
        model: Whose scores are logarithms.
        most: The highest logarithm that is answered: that of the largest amount in training.
    """

    model: Model
    most: float

    def scores(self, encoded: Encoded) -> np.ndarray:
        """Amounts float64 [N, 1]."""
        return exponentials(self.model.scores(encoded), self.most)


@dataclass(frozen=True)
class Floored:
    """What predicts the mean; whatever is too low is raised to `LEAST_AMOUNT`."""

    model: Model

    def scores(self, encoded: Encoded) -> np.ndarray:
        """Amounts float64 [N, 1]."""
        return np.asarray(np.maximum(self.model.scores(encoded), LEAST_AMOUNT))


def exponentials(logs: np.ndarray, most: float | np.ndarray) -> np.ndarray:
    """Amounts of logarithms [N, 1], of which none is answered above `most`."""
    return np.asarray(np.exp(np.clip(logs, LEAST_LOG, most)))


def _highest(label: np.ndarray) -> float:
    """Logarithm of the largest amount."""
    return float(max(np.log(max(label.max(), 1e-300)), LEAST_LOG))


def exponential_learner(learner: Learner[Model]) -> Learner[Model]:
    """Of a learner of logarithms one of amounts."""

    def try_out(
        encoded: Encoded, label: np.ndarray, held: Encoded, held_label: np.ndarray
    ) -> Mapping[float, np.ndarray]:
        tried = learner.try_out(encoded, label, held, held_label)
        return {setting: exponentials(logs, _highest(label)) for setting, logs in tried.items()}

    def fit(encoded: Encoded, label: np.ndarray, setting: float) -> Model:
        return Exponential(learner.fit(encoded, label, setting), _highest(label))

    def hold_out(encoded: Encoded, label: np.ndarray, fold: np.ndarray) -> Mapping[float, np.ndarray]:
        assert learner.hold_out is not None
        most = np.array([_highest(label[fold != k]) for k in range(int(fold.max()) + 1)])[fold, None]
        return {setting: exponentials(logs, most) for setting, logs in learner.hold_out(encoded, label, fold).items()}

    together = None if learner.hold_out is None else hold_out
    return replace(learner, try_out=try_out, fit=fit, hold_out=together)


def floored_learner(learner: Learner[Model]) -> Learner[Model]:
    """Of a learner of means one of amounts."""

    def try_out(
        encoded: Encoded, label: np.ndarray, held: Encoded, held_label: np.ndarray
    ) -> Mapping[float, np.ndarray]:
        tried = learner.try_out(encoded, label, held, held_label)
        return {setting: np.maximum(means, LEAST_AMOUNT) for setting, means in tried.items()}

    def fit(encoded: Encoded, label: np.ndarray, setting: float) -> Model:
        return Floored(learner.fit(encoded, label, setting))

    return replace(learner, try_out=try_out, fit=fit)
