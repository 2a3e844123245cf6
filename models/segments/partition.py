"""Fitted segments of points: by the nearest of prototypes, or by a mixture of normal distributions."""

# N rows, D components, P prototypes, K segments

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol

import numpy as np

Measure = Literal["distances", "probabilities"]
CHUNK = 8192  # rows measured at once


class Partition(Protocol):
    """What each method gives."""

    @property
    def measure(self) -> Measure:
        """What is told of a row and each segment."""

    @property
    def size(self) -> int:
        """K."""

    def measured(self, z: np.ndarray) -> np.ndarray:
        """float64 [N, K] of points [N, D]."""

    def renamed(self, order: np.ndarray) -> Partition:
        """With segment `order[i]` in place i."""


@dataclass(frozen=True)
class Prototypes:
    """The segment of the nearest prototype; of k-means each is a segment.

    Attributes:
        centres: float64 [P, D].
        owner: Segment of each, int64 [P].
    """

    centres: np.ndarray
    owner: np.ndarray
    measure: ClassVar[Measure] = "distances"

    @property
    def size(self) -> int:
        """K."""
        return int(self.owner.max()) + 1

    def measured(self, z: np.ndarray) -> np.ndarray:
        """Euclidean distance to the nearest prototype of each segment."""
        square = (z**2).sum(axis=1, keepdims=True) - 2 * z @ self.centres.T + (self.centres**2).sum(axis=1)
        nearest = [square[:, self.owner == k].min(axis=1) for k in range(self.size)]
        return np.asarray(np.sqrt(np.maximum(np.stack(nearest, axis=1), 0)))

    def renamed(self, order: np.ndarray) -> Prototypes:
        """With segment `order[i]` in place i."""
        return replace(self, owner=np.argsort(order)[self.owner])


@dataclass(frozen=True)
class Mixture:
    """Normal distributions with weights.

    Attributes:
        weights: float64 [K], sum 1.
        means: float64 [K, D].
        factors: Cholesky factor U of each inverse covariance, U Uᵀ, float64 [K, D, D].
    """

    weights: np.ndarray
    means: np.ndarray
    factors: np.ndarray
    measure: ClassVar[Measure] = "probabilities"

    @property
    def size(self) -> int:
        """K."""
        return len(self.weights)

    @property
    def is_full(self) -> bool:
        """Whether components depend on one another within a segment."""
        return bool(np.triu(self.factors, 1).any())

    def log_densities(self, z: np.ndarray) -> np.ndarray:
        """ln(weight · density), float64 [N, K]: −½ (D ln 2π + |(z − μ) U|²) + ln det U + ln weight."""
        parts = [
            ((z @ factor - mean @ factor) ** 2).sum(axis=1)
            for mean, factor in zip(self.means, self.factors, strict=True)
        ]
        return np.asarray(-0.5 * np.stack(parts, axis=1) + self.constants())

    def constants(self) -> np.ndarray:
        """What does not depend on the point, float64 [K]."""
        determinant = np.log(np.diagonal(self.factors, axis1=1, axis2=2)).sum(axis=1)
        return np.asarray(determinant + np.log(self.weights) - 0.5 * self.means.shape[1] * np.log(2 * np.pi))

    def measured(self, z: np.ndarray) -> np.ndarray:
        """Probability of each segment."""
        logs = self.log_densities(z)
        odds = np.exp(logs - logs.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def renamed(self, order: np.ndarray) -> Mixture:
        """With segment `order[i]` in place i."""
        return Mixture(self.weights[order], self.means[order], self.factors[order])


def segments_of(partition: Partition, measured: np.ndarray) -> np.ndarray:
    """Segment of each row, int64 [N]: the nearest, or the likeliest."""
    return np.asarray(measured.argmin(axis=1) if partition.measure == "distances" else measured.argmax(axis=1))


def assign(partition: Partition, z: np.ndarray) -> np.ndarray:
    """Segment of each point, int64 [N]."""
    parts = [z[start : start + CHUNK] for start in range(0, len(z), CHUNK)]
    return np.concatenate([segments_of(partition, partition.measured(part)) for part in parts])
