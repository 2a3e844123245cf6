"""Fitted models of amounts: from the scores of learners of any table to means above 0."""

# N rows

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.preprocess import Encoded
from ludocast.models.table.deep import Network
from ludocast.models.table.heads import LEAST_DEVIATION
from ludocast.models.table.model import Model
from scipy.special import expit


@dataclass(frozen=True)
class Line:
    """The mean amount of payers, exp(intercept + slope z), of scores z: what held-out payers say of these.

    It takes in what the mean of an exponential is above the exponential of a mean.

    Attributes:
        intercept: See above.
        slope: See above.
        most: The highest score z that counts: that of the largest amount in training.
    """

    intercept: float
    slope: float
    most: float

    def amounts(self, z: np.ndarray) -> np.ndarray:
        """Means of payers."""
        return np.asarray(np.exp(self.intercept + self.slope * np.minimum(z, self.most)))


@dataclass(frozen=True)
class Hurdle:
    """Who pays, times how much (Cragg 1971).

    Attributes:
        paying: Its score is the log odds of paying; None where all pay.
        sharpness: Factor of these log odds, which calibrates them.
        amount: Of payers; its score is z.
        line: From z to their mean amount.
    """

    paying: Model | None
    sharpness: float
    amount: Model
    line: Line

    def scores(self, encoded: Encoded) -> np.ndarray:
        """Amounts float64 [N, 1]."""
        amount = self.line.amounts(self.amount.scores(encoded))
        if self.paying is None:
            return amount
        return np.asarray(amount * expit(self.sharpness * self.paying.scores(encoded)))


@dataclass(frozen=True)
class LogNormal:
    """The tabular network with a zero-inflated log-normal end (Wang, Liu and Miao 2019, arXiv 1912.07753).

    Attributes:
        network: Its scores are the log odds of paying, the mean of the log amount, and its deviation before softplus.
        sharpness: Factor of these log odds, which calibrates them.
        line: From the logarithm of the payers' mean, μ + σ² / 2, to their mean amount.
    """

    network: Network
    sharpness: float
    line: Line

    def scores(self, encoded: Encoded) -> np.ndarray:
        """Amounts float64 [N, 1]."""
        scores = self.network.scores(encoded)
        return np.asarray(self.line.amounts(log_means(scores)) * expit(self.sharpness * scores[:, :1]))


def log_means(scores: np.ndarray) -> np.ndarray:
    """The logarithm μ + σ² / 2 of the payers' mean, float64 [N, 1], of a network's scores [N, 3]."""
    width = np.maximum(np.logaddexp(0.0, scores[:, 2:]), LEAST_DEVIATION)
    return np.asarray(scores[:, 1:2] + width**2 / 2)
