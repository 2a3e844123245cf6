"""Rows as points: scaled numbers and weighted categories, turned into principal components."""

# N rows, X inputs, V codes of all columns, S code columns, D components

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.preprocess import Encoded, Preprocessing

MOST_COMPONENTS = 30
KEPT_VARIANCE = 0.99
# A category weighs as a number does, by the variance of its places, yet never more than an evenly parted yes/no: or one
# rare value would be a segment of its own.
HEAVIEST = 2**0.5
FIT_ROWS = 200_000  # of more rows a sample is enough to learn weights and components


@dataclass(frozen=True)
class Space:
    """Linear map of encoded rows to points.

    Attributes:
        numbers: float64 [numbers, D].
        codes: float64 [V, D], one row a code.
        offset: int64 [S], the first row of each code column.
        origin: float64 [D], subtracted.
        weights: Weight of the places of each code column, float64 [S].
        variance: Share of the variance that each component holds, float64 [D].
    """

    numbers: np.ndarray
    codes: np.ndarray
    offset: np.ndarray
    origin: np.ndarray
    weights: np.ndarray
    variance: np.ndarray

    def points(self, encoded: Encoded) -> np.ndarray:
        """float64 [N, D]."""
        z = encoded.numbers.astype(np.float64) @ self.numbers - self.origin
        for column, start in enumerate(self.offset):
            z += self.codes[encoded.codes[:, column] + start]
        return np.asarray(z)


def fit_space(preprocessing: Preprocessing, encoded: Encoded) -> Space:
    """Fit weights and components on rows that the preprocessing encoded."""
    sizes = preprocessing.code_sizes
    offset = np.cumsum([0, *sizes])[:-1].astype(np.int64)
    places = np.zeros((sum(sizes), sum(sizes)))
    weights = np.zeros(len(sizes))
    for column, (size, start) in enumerate(zip(sizes, offset, strict=True)):
        share = np.bincount(encoded.codes[:, column], minlength=size) / len(encoded.codes)
        variance = float((share * (1 - share)).sum())
        weights[column] = min(1 / np.sqrt(variance), HEAVIEST) if variance > 0 else 0.0
        # A code that no row has, such as a value never seen, lies where the rows lie on average.
        block = np.where((share > 0)[:, None], np.eye(size), share)
        places[start : start + size, start : start + size] = weights[column] * block
    inputs = [encoded.numbers.astype(np.float64)]
    inputs += [
        places[encoded.codes[:, column] + start, start : start + size]
        for column, (size, start) in enumerate(zip(sizes, offset, strict=True))
    ]
    x = np.concatenate(inputs, axis=1)
    mean = x.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(x - mean, rowvar=False, bias=True).reshape(x.shape[1], x.shape[1]))
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    share = values / max(values.sum(), 1e-300)
    size = min(int(np.searchsorted(np.cumsum(share), KEPT_VARIANCE)) + 1, MOST_COMPONENTS, int((values > 1e-12).sum()))
    turn = vectors[:, : max(size, 1)]
    turn = turn * np.sign(turn[np.abs(turn).argmax(axis=0), np.arange(turn.shape[1])])
    width = encoded.numbers.shape[1]
    return Space(turn[:width], places @ turn[width:], offset, mean @ turn, weights, share[: turn.shape[1]])


def told_weights(preprocessing: Preprocessing, space: Space) -> dict[str, str]:
    """Text column to a sentence on its weight."""
    return {
        entry.column: f"weight {weight:.2f} a place: two rows of different values lie {2**0.5 * weight:.2f} apart"
        for entry, weight in zip(preprocessing.codes, space.weights, strict=True)
    }
