"""How good predicted numbers are, with 95 % bootstrap intervals, and how often true ones lie within their bounds."""

# N rows, B resamples

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from ludocast.models.metrics import Interval, bootstrap, interval
from ludocast.models.number_loss import SQUARED, NumberLoss

NUMBER_NAMES = ("rmse", "mae", "r2", "coverage", "interval_width")


@dataclass(frozen=True)
class NumberStanding:
    """One candidate beside the first one, on the same resamples.

    Attributes:
        rmse_behind: This one's error minus the first one's: above 0 the first is ahead. None for the first.
        loss: That by which numbers are predicted, where it is another than the squared one; and the two that follow.
        loss_behind: As `rmse_behind`.
        loss_words: What it is called.
    """

    name: str
    rmse: Interval
    mae: Interval
    rmse_behind: Interval | None
    loss: Interval | None = None
    loss_behind: Interval | None = None
    loss_words: str = ""


def number_metrics(
    value: np.ndarray,
    bounds: np.ndarray,
    label: np.ndarray,
    *,
    loss: NumberLoss = SQUARED,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Interval]:
    """Measures of predicted numbers.

    Root mean squared and mean absolute error, R² (the share of the variance that is told), the share of true values
    within their bounds, and the mean width of these; before them the mean loss, where it is none of these.

    Args:
        value: Predicted, float64 [N].
        bounds: Lower and upper, float64 [N, 2].
        label: True, float64 [N].
        loss: By which they are predicted.
        seed: Of the resamples.
        resamples: How many.
    """
    if loss.measure not in NUMBER_NAMES:
        off = loss.of_rows(value, label)

        def mean(weights_BN: np.ndarray) -> np.ndarray:
            return np.asarray(weights_BN @ off[:, None] / weights_BN.sum(axis=1, keepdims=True))

        means = bootstrap(mean, len(label), seed, resamples)
        first = {loss.measure: interval(float(off.mean()), means[:, 0])}
        return first | number_metrics(value, bounds, label, seed=seed, resamples=resamples)
    statistic = number_measures_of_weights(value, bounds, label)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = statistic(np.ones((1, len(label))))[0]
        resampled = bootstrap(statistic, len(label), seed, resamples)
    return {
        name: interval(value, resampled[:, k])
        for k, (name, value) in enumerate(zip(NUMBER_NAMES, found.tolist(), strict=True))
        if np.isfinite(value)
    }


def number_measures_of_weights(
    value: np.ndarray, bounds: np.ndarray, label: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """What `bootstrap` resamples: row weights [B, N] to the measures of `NUMBER_NAMES`, [B, M]; NaN where not defined.

    Args:
        value: As `number_metrics`, and all that follow.
        bounds: The same.
        label: The same.
    """
    # Around the mean, or the variance of large numbers would be a difference of larger ones.
    centred = label - label.mean()
    rows = np.column_stack(
        [
            (label - value) ** 2,
            np.abs(label - value),
            centred,
            centred**2,
            (bounds[:, 0] <= label) & (label <= bounds[:, 1]),
            bounds[:, 1] - bounds[:, 0],
        ]
    )

    def all_of(weights_BN: np.ndarray) -> np.ndarray:
        squared, absolute, first, second, inside, width = (weights_BN @ rows / weights_BN.sum(axis=1, keepdims=True)).T
        return np.stack([np.sqrt(squared), absolute, 1 - squared / (second - first**2), inside, width], axis=1)

    return all_of


def compare_numbers(
    candidates: Mapping[str, np.ndarray],
    label: np.ndarray,
    *,
    loss: NumberLoss = SQUARED,
    seed: int = 0,
    resamples: int = 1000,
) -> list[NumberStanding]:
    """Candidates by their values [N] on the same rows, with paired differences from the first one."""
    errors = np.stack([value - label for value in candidates.values()], axis=1)
    count = errors.shape[1]
    own = np.stack([loss.of_rows(value, label) for value in candidates.values()], axis=1)
    rows = np.hstack([errors**2, np.abs(errors), own])

    def all_of(weights_BN: np.ndarray) -> np.ndarray:
        means = weights_BN @ rows / weights_BN.sum(axis=1, keepdims=True)
        return np.hstack([np.sqrt(means[:, :count]), means[:, count:]])

    value = all_of(np.ones((1, len(label))))[0]
    resampled = bootstrap(all_of, len(label), seed, resamples)

    def behind(k: int) -> Interval | None:
        """Of column k and that of the first candidate."""
        first = k - k % count
        return interval(value[k] - value[first], resampled[:, k] - resampled[:, first]) if k > first else None

    is_other = loss.name != "squared"
    at_loss = 2 * count
    return [
        NumberStanding(
            name,
            interval(value[k], resampled[:, k]),
            interval(value[count + k], resampled[:, count + k]),
            behind(k),
            interval(value[at_loss + k], resampled[:, at_loss + k]) if is_other else None,
            behind(at_loss + k) if is_other else None,
            loss.words if is_other else "",
        )
        for k, name in enumerate(candidates)
    ]
