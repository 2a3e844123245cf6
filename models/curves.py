"""The curves of a report, each thinned to few points: ROC, precision-recall, calibration, gain and lift, confusion."""

# N rows, T thresholds (distinct scores)

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ludocast.models.metrics import equal_mass_bins

POINTS = 200
Z95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


@dataclass(frozen=True)
class Curve:
    """Points of a line, float64 each."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """Bins of about equally many rows by ascending probability.

    Attributes:
        predicted: Mean probability of a bin.
        observed: Share of the rows in it where the event came true.
        low, high: 95 % Wilson interval of `observed`.
        counts: Rows of a bin, int.
    """

    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Gain:
    """What contacting the highest scores first reaches.

    Attributes:
        contacted: Share of all rows, ascending from 0 to 1.
        reached: Share of the positive rows among them.
        lift: `reached` / `contacted`, the first point left out.
    """

    contacted: np.ndarray
    reached: np.ndarray
    lift: np.ndarray


def roc_curve(score: np.ndarray, positive: np.ndarray, points: int = POINTS) -> Curve:
    """False-positive share (x) and true-positive share (y) over all thresholds, from (0, 0) to (1, 1).

    Args:
        score: [N], higher means likelier positive.
        positive: bool [N], both values in it.
        points: At most so many are kept.
    """
    hits, said = _cumulative(score, positive)
    x = np.concatenate([[0.0], (said - hits) / (~positive).sum()])
    y = np.concatenate([[0.0], hits / positive.sum()])
    return _thinned(x, y, points)


def precision_recall_curve(score: np.ndarray, positive: np.ndarray, points: int = POINTS) -> Curve:
    """Recall (x) and precision (y) over all thresholds, from the highest score downwards; no interpolation.

    Args:
        score: [N], higher means likelier positive.
        positive: bool [N], True at least once.
        points: At most so many are kept.
    """
    hits, said = _cumulative(score, positive)
    return _thinned(hits / positive.sum(), hits / said, points)


def calibration_curve(chance: np.ndarray, event: np.ndarray, bins: int = 10) -> Calibration:
    """Predicted and observed share in bins of equal mass.

    Args:
        chance: Probability of the event, [N].
        event: Whether it came true, [N].
        bins: At most so many; rows of equal probability share one.
    """
    member = equal_mass_bins(chance, bins)
    counts = np.bincount(member)
    happened = np.bincount(member, event)
    low, high = wilson_interval(happened, counts)
    return Calibration(np.bincount(member, chance) / counts, happened / counts, low, high, counts)


def wilson_interval(hits: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of a share (Wilson 1927): holds for few rows and for shares near 0 and 1."""
    share = hits / counts
    scale = 1 + Z95**2 / counts
    centre = (share + Z95**2 / (2 * counts)) / scale
    half = Z95 * np.sqrt(share * (1 - share) / counts + Z95**2 / (4 * counts**2)) / scale
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def gain_curve(score: np.ndarray, positive: np.ndarray, points: int = 101) -> Gain:
    """Share of the positive rows among the highest scores.

    Of rows with equal scores, one drawn at random is contacted next, so their positive rows are spread evenly.

    Args:
        score: [N], higher means likelier positive.
        positive: bool [N], True at least once.
        points: Evenly spaced shares of contacted rows.
    """
    contacted = np.linspace(0, 1, points)
    reached = reached_by(score, positive, contacted)
    return Gain(contacted, reached, reached[1:] / contacted[1:])


def reached_by(score: np.ndarray, positive: np.ndarray, contacted: np.ndarray) -> np.ndarray:
    """Share of the positive rows among the highest `contacted` share of all rows."""
    hits, said = _cumulative(score, positive)
    x = np.concatenate([[0.0], said / len(score)])
    y = np.concatenate([[0.0], hits / positive.sum()])
    return np.asarray(np.interp(contacted, x, y))


def confusion(label: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts int [C, C]: rows are what was, columns what was predicted."""
    return np.bincount(label * classes + predicted, minlength=classes**2).reshape(classes, classes)


def _cumulative(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positive rows and all rows with a score of at least each distinct score, from the highest; both [T]."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=np.inf) != 0)
    return np.cumsum(positive[order])[last].astype(np.float64), (last + 1).astype(np.float64)


def _thinned(x: np.ndarray, y: np.ndarray, points: int) -> Curve:
    """Evenly along the line's own length, so that steep parts keep their shape; both ends stay."""
    if len(x) <= points:
        return Curve(x, y)
    along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    kept = np.searchsorted(along, np.linspace(0, along[-1], points - 1))
    kept = np.unique(np.concatenate([[0], np.minimum(kept, len(x) - 1), [len(x) - 1]]))
    return Curve(x[kept], y[kept])
