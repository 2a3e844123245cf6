"""How good predicted amounts are: who is ranked high, whether sums hold, where the spending is found.

The Gini coefficient of a ranking (Wang, Liu and Miao 2019, arXiv 1912.07753) is twice the area between the
diagonal and the Lorenz curve of the true amounts, rows in the order of their prediction; normalised it is divided by
that of the true order. Rows of equal prediction share their amounts, so no order among them counts.
"""

# N rows, B resamples, G groups of rows with equal predictions, T tenths

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ludocast.models.metrics import Interval, bootstrap, interval, reflected
from ludocast.models.number_loss import tweedie_deviances
from ludocast.models.number_metrics import number_metrics

TENTHS = 10
TOP = (0.01, 0.05, 0.1)


@dataclass(frozen=True)
class ValueStanding:
    """One candidate beside the first one, on the same resamples.

    Attributes:
        gini: Normalised.
        deviance: See `number_loss.tweedie_deviances`.
        decile_error: See `value_metrics`.
        gini_behind: First candidate's Gini minus this one's: above 0 the first is ahead. None for the first.
        deviance_behind: This one's deviance minus the first one's: above 0 the first is ahead. None for the first.
    """

    name: str
    gini: Interval
    deviance: Interval
    decile_error: Interval
    gini_behind: Interval | None
    deviance_behind: Interval | None


@dataclass(frozen=True)
class Tenth:
    """A tenth of the rows by their prediction.

    Attributes:
        predicted: Mean of the predictions.
        actual: Mean of the true amounts.
        above_zero: Share of the rows with an amount.
        share: Of all true amounts.
    """

    predicted: float
    actual: Interval
    above_zero: float
    share: float


def deviance(value: np.ndarray, label: np.ndarray) -> float:
    """The mean of `number_loss.tweedie_deviances`."""
    return float(tweedie_deviances(value, label).mean())


def normalised_gini(value: np.ndarray, label: np.ndarray) -> float:
    """Gini of the true amounts in the order of their prediction, over that in their own order; 1 is perfect, 0 chance.

    Args:
        value: Predicted, float64 [N].
        label: True, float64 [N], 0 or more, one above 0.
    """
    ones = np.ones((1, len(label)))
    return float((_gini(_Ranking.of(value), ones, label) / _gini(_Ranking.of(label), ones, label))[0])


def value_metrics(
    value: np.ndarray, bounds: np.ndarray, label: np.ndarray, *, seed: int = 0, resamples: int = 1000
) -> dict[str, Interval]:
    """Measures of predicted amounts.

    Normalised Gini and Spearman's rank correlation; deviance; `decile_error`, by how much the sums of the tenths of the
    prediction are off, as a share of all spending; `decile_mape`, the mean over the tenths with any spending of how far
    each is off; `total`, predicted over true spending; the share of the spending among the 1, 5 and 10 % of the highest
    prediction; and `number_metrics`. Both decile errors are biased upwards, in each resample once more, so their
    intervals are reflected (Davison & Hinkley 1997, eq. 5.6).

    Args:
        value: Predicted, float64 [N], above 0.
        bounds: Lower and upper, float64 [N, 2].
        label: True, float64 [N], 0 or more.
        seed: Of the resamples.
        resamples: How many.
    """
    by_value, by_label = _Ranking.of(value), _Ranking.of(label)
    tenths = _Tenths.of(value, label)
    sums = np.column_stack([tweedie_deviances(value, label), value, label, np.ones(len(label))])

    def all_of(weights_BN: np.ndarray) -> np.ndarray:
        off, predicted, actual, rows = (weights_BN @ sums).T
        error, relative = tenths.errors(weights_BN)
        x, y = _lorenz(by_value, weights_BN, label)
        return np.column_stack(
            [
                _gini(by_value, weights_BN, label) / _gini(by_label, weights_BN, label),
                _rank_correlation(by_value, by_label, weights_BN),
                off / rows,
                error,
                relative,
                predicted / actual,
                *(_among_top(x, y, share) for share in TOP),
            ]
        )

    with np.errstate(invalid="ignore", divide="ignore"):
        found = all_of(np.ones((1, len(label))))[0]
        resampled = bootstrap(all_of, len(label), seed, resamples)
    names = ("gini", "spearman", "deviance", "decile_error", "decile_mape", "total", "top_1", "top_5", "top_10")
    own = {name: interval(one, resampled[:, k]) for k, (name, one) in enumerate(zip(names, found, strict=True))}
    own |= {name: reflected(own[name]) for name in ("decile_error", "decile_mape")}
    return {**own, **number_metrics(value, bounds, label, seed=seed, resamples=resamples)}


def compare_values(
    candidates: Mapping[str, np.ndarray], label: np.ndarray, *, seed: int = 0, resamples: int = 1000
) -> list[ValueStanding]:
    """Candidates by their amounts [N] on the same rows, with paired differences from the first one."""
    rankings = [_Ranking.of(value) for value in candidates.values()]
    off = np.column_stack([tweedie_deviances(value, label) for value in candidates.values()])
    tenths = [_Tenths.of(value, label) for value in candidates.values()]
    own, count = _Ranking.of(label), len(candidates)

    def every(weights_BN: np.ndarray) -> np.ndarray:
        best = _gini(own, weights_BN, label)
        ginis = [_gini(one, weights_BN, label) / best for one in rankings]
        errors = [one.errors(weights_BN)[0] for one in tenths]
        return np.column_stack([*ginis, weights_BN @ off / weights_BN.sum(axis=1, keepdims=True), *errors])

    with np.errstate(invalid="ignore", divide="ignore"):
        value = every(np.ones((1, len(label))))[0]
        resampled = bootstrap(every, len(label), seed, resamples)

    def of(column: int) -> Interval:
        return interval(value[column], resampled[:, column])

    def behind(one: int, other: int) -> Interval:
        return interval(value[one] - value[other], resampled[:, one] - resampled[:, other])

    return [
        ValueStanding(
            name,
            of(k),
            of(count + k),
            reflected(of(2 * count + k)),
            behind(0, k) if k > 0 else None,
            behind(count + k, count) if k > 0 else None,
        )
        for k, name in enumerate(candidates)
    ]


def tenth_table(value: np.ndarray, label: np.ndarray, *, seed: int = 0, resamples: int = 1000) -> list[Tenth]:
    """The tenths of the rows by their prediction, the lowest first, with 95 % intervals of their means."""
    is_in = (_tenths(value)[:, None] == np.arange(min(TENTHS, len(value)))).astype(np.float64)
    amounts, rows = is_in * label[:, None], is_in.sum(axis=0)
    actual = is_in.T @ _shared(_Ranking.of(value), label) / rows
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = bootstrap(lambda weights: weights @ amounts / (weights @ is_in), len(label), seed, resamples)
    # A tenth's mean is that of shared amounts; how it may vary is told by its rows' own ones.
    resampled += actual - amounts.sum(axis=0) / rows
    return [
        Tenth(
            float(is_in[:, k] @ value / rows[k]),
            interval(float(actual[k]), resampled[:, k]),
            float(is_in[:, k] @ (label > 0) / rows[k]),
            float(actual[k] * rows[k] / label.sum()),
        )
        for k in range(is_in.shape[1])
    ]


def gains(value: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The share of the rows with the highest predictions, and that of all amounts which they hold, both ascending."""
    x, y = _lorenz(_Ranking.of(value), np.ones((1, len(label))), label)
    return 1 - x[0, ::-1], 1 - y[0, ::-1]


@dataclass(frozen=True)
class _Ranking:
    """Rows by ascending prediction, and where each group of equal ones starts."""

    order: np.ndarray
    starts: np.ndarray

    @staticmethod
    def of(value: np.ndarray) -> _Ranking:
        order = np.argsort(value, kind="stable")
        return _Ranking(order, np.flatnonzero(np.diff(value[order], prepend=-np.inf) != 0))

    def grouped(self, rows_BN: np.ndarray) -> np.ndarray:
        """Sums over the groups, [B, G]."""
        ordered = rows_BN[:, self.order]
        return ordered if len(self.starts) == len(self.order) else np.add.reduceat(ordered, self.starts, axis=1)


def _lorenz(ranking: _Ranking, weights_BN: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the rows and of the amounts up to the end of each group, [B, 1 + G], from 0 to 1."""
    both = (ranking.grouped(weights_BN), ranking.grouped(weights_BN * label))
    x, y = (np.pad(np.cumsum(one, axis=1), ((0, 0), (1, 0))) for one in both)
    return x / x[:, -1:], y / y[:, -1:]


def _gini(ranking: _Ranking, weights_BN: np.ndarray, label: np.ndarray) -> np.ndarray:
    x, y = _lorenz(ranking, weights_BN, label)
    return np.asarray(1 - (np.diff(x, axis=1) * (y[:, 1:] + y[:, :-1])).sum(axis=1))


def _among_top(x_BG: np.ndarray, y_BG: np.ndarray, share: float) -> np.ndarray:
    return np.array([1 - np.interp(1 - share, x, y) for x, y in zip(x_BG, y_BG, strict=True)])


def _rank_correlation(first: _Ranking, second: _Ranking, weights_BN: np.ndarray) -> np.ndarray:
    a, b = (_middle_ranks(one, weights_BN) for one in (first, second))
    total = weights_BN.sum(axis=1, keepdims=True)
    a, b = (rank - (weights_BN * rank).sum(axis=1, keepdims=True) / total for rank in (a, b))
    products = [np.einsum("bn,bn,bn->b", weights_BN, left, right) for left, right in ((a, b), (a, a), (b, b))]
    return np.asarray(products[0] / np.sqrt(products[1] * products[2]))


def _middle_ranks(ranking: _Ranking, weights_BN: np.ndarray) -> np.ndarray:
    """The middle of each row's group among all rows, [B, N]."""
    groups = ranking.grouped(weights_BN)
    middle = np.cumsum(groups, axis=1) - groups / 2
    found = np.empty_like(weights_BN)
    found[:, ranking.order] = np.repeat(middle, np.diff(ranking.starts, append=len(ranking.order)), axis=1)
    return found


def _shared(ranking: _Ranking, label: np.ndarray) -> np.ndarray:
    """Of rows with equal predictions each the mean of their amounts, float64 [N]."""
    size = np.diff(ranking.starts, append=len(label))
    found = np.empty(len(label))
    found[ranking.order] = np.repeat(np.add.reduceat(label[ranking.order], ranking.starts) / size, size)
    return found


def _tenths(value: np.ndarray) -> np.ndarray:
    """The tenth of each row, the lowest predictions first, int64 [N]."""
    member = np.empty(len(value), np.int64)
    member[np.argsort(value, kind="stable")] = np.arange(len(value)) * min(TENTHS, len(value)) // len(value)
    return member


@dataclass(frozen=True)
class _Tenths:
    """Tenths of the rows by their prediction; a column [N] a tenth, 0 in rows of others.

    Attributes:
        predicted: float64 [N, T].
        actual: Amounts, shared by rows of equal predictions, float64 [N, T].
    """

    predicted: np.ndarray
    actual: np.ndarray

    @staticmethod
    def of(value: np.ndarray, label: np.ndarray) -> _Tenths:
        is_in = _tenths(value)[:, None] == np.arange(min(TENTHS, len(value)))
        shared = _shared(_Ranking.of(value), label)
        return _Tenths(np.where(is_in, value[:, None], 0.0), np.where(is_in, shared[:, None], 0.0))

    def errors(self, weights_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each resample what the tenths' sums are off, as a share of all amounts, and their mean share, both [B]."""
        actual = weights_BN @ self.actual
        off = np.abs(weights_BN @ self.predicted - actual)
        known = actual > 0
        relative = np.where(known, off / np.where(known, actual, 1.0), 0.0)
        return off.sum(axis=1) / actual.sum(axis=1), relative.sum(axis=1) / known.sum(axis=1)
