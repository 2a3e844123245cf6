"""By what numbers are predicted and judged: squared, absolute and quantile loss, and two of counts and amounts."""

# N rows

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

LossName = Literal["squared", "absolute", "quantile", "poisson", "tweedie"]
LEAST = 1e-12  # a predicted amount is above 0, or its deviance would be infinite
_WORDS: dict[LossName, str] = {
    "squared": "RMSE", "absolute": "MAE", "quantile": "pinball loss", "poisson": "Poisson deviance",
    "tweedie": "Tweedie deviance",
}  # fmt: skip
_MEASURES: dict[LossName, str] = {
    "squared": "rmse", "absolute": "mae", "quantile": "pinball_loss", "poisson": "poisson_deviance",
    "tweedie": "tweedie_deviance",
}  # fmt: skip
LOSS_NAMES = tuple(_MEASURES.values())  # of measures


@dataclass(frozen=True)
class NumberLoss:
    """A loss of numbers.

    The squared one is least at the mean, the absolute one at the median, the one of a quantile at that quantile
    (Koenker and Bassett 1978). Those of Poisson and Tweedie (power 1.5) are least at the mean as well, which they read
    as an amount: errors weigh by their ratio, so that a few large amounts do not decide alone.

    Attributes:
        name: Of it.
        quantile: That is predicted, between 0 and 1; read by the loss "quantile" alone.
    """

    name: LossName = "squared"
    quantile: float = 0.5

    @property
    def is_of_amounts(self) -> bool:
        """Whether labels are 0 or more, and predictions above 0."""
        return self.name in ("poisson", "tweedie")

    @property
    def words(self) -> str:
        """What its mean is called."""
        return _WORDS[self.name]

    @property
    def measure(self) -> str:
        """Its mean's name among measures."""
        return _MEASURES[self.name]

    def of_rows(self, value: np.ndarray, label: np.ndarray) -> np.ndarray:
        """Of each row, float64 [N].

        Args:
            value: Predicted, float64 [N].
            label: True, float64 [N].
        """
        if self.name == "squared":
            return np.asarray((value - label) ** 2)
        if self.name == "absolute":
            return np.asarray(np.abs(value - label))
        if self.name == "quantile":
            above = label - value
            return np.asarray(np.maximum(self.quantile * above, (self.quantile - 1) * above))
        return poisson_deviances(value, label) if self.name == "poisson" else tweedie_deviances(value, label)

    def of_scores(self, scores: np.ndarray, label: np.ndarray) -> float:
        """The mean, of scores [N, 1]."""
        return float(self.of_rows(scores[:, 0], label).mean())

    def in_unit(self, mean: float, width: float) -> float:
        """The mean of labels that were divided by a width, in their own unit; of the squared one its root."""
        if self.name == "squared":
            return float(width * np.sqrt(mean))
        return float(np.sqrt(width) if self.name == "tweedie" else width) * mean


SQUARED = NumberLoss()


def poisson_deviances(value: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Poisson unit deviance of each row, float64 [N]: 2 (y log(y / μ) − y + μ) (Jørgensen 1997).

    Args:
        value: Predicted, float64 [N], above 0.
        label: True, float64 [N], 0 or more.
    """
    mean = np.maximum(value, LEAST)
    log = np.log(np.where(label > 0, label / mean, 1.0))
    return np.asarray(2 * (label * log - label + mean))


def tweedie_deviances(value: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Tweedie unit deviance of power 1.5 of each row, float64 [N]: 4 (√y − √μ)² / √μ (Jørgensen 1997).

    It is least where μ is the mean, whatever the distribution (Gneiting 2011), so it rewards the ranking and
    the sums alike; it takes zeros, and the largest amounts do not decide alone as they do with squared errors.

    Args:
        value: Predicted, float64 [N], above 0.
        label: True, float64 [N], 0 or more.
    """
    root = np.sqrt(np.maximum(value, LEAST))
    return np.asarray(4 * (np.sqrt(label) - root) ** 2 / root)
