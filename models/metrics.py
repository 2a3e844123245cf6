"""How good predictions are, with 95 % bootstrap intervals; many resamples at once, as counts of rows."""

# N rows, C classes, B resamples, G groups of rows with equal scores, M measures

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

ECE_BINS = 15
CELLS = 1 << 18  # rows times resamples worked on at once: what fits the processor's cache
COVERED = (2.5, 97.5)  # percentiles of a 95 % interval
OF_LABEL = ":"  # of several labels between a measure and the label whose it is, as in "auc:churned"
NAMES = ("auc", "average_precision", "log_loss", "brier", "ece", "f1", "precision", "recall", "accuracy")
LOWER_IS_BETTER = (
    *("log_loss", "brier", "ece"),
    "hamming_loss",  # of several labels
    *("rmse", "mae", "interval_width", "pinball_loss", "poisson_deviance", "tweedie_deviance"),  # of numbers
)


def is_better_low(name: str) -> bool:
    """Whether a measure, or one of a label, is better where it is lower."""
    return name.partition(OF_LABEL)[0] in LOWER_IS_BETTER


@dataclass(frozen=True)
class Interval:
    """A measure on all rows, and where 95 % of its bootstrap resamples lie."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Standing:
    """One candidate beside the first one, on the same resamples.

    Attributes:
        auc_behind: First candidate's AUC minus this one's: above 0 the first is ahead. None for the first.
        log_loss_behind: This one's log loss minus the first one's: above 0 the first is ahead. None for the first.
    """

    name: str
    auc: Interval
    log_loss: Interval
    auc_behind: Interval | None
    log_loss_behind: Interval | None


def classification_metrics(
    probabilities: np.ndarray,
    label: np.ndarray,
    positive: int | None,
    predicted: np.ndarray,
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Interval]:
    """All measures of a classifier; one that the rows do not define (an AUC with a single class) is left out.

    Of two classes: AUC, average precision, F1, precision and recall of the positive one; Brier is (p − y)². ECE is the
    expected calibration error of its probability over 15 bins of equal mass, rows of equal probability in one bin. Of
    more classes: one-against-rest means over the classes that occur (macro); Brier is the sum over classes; ECE is that
    of the likeliest class (Guo et al. 2017). Log loss clips at the float64 epsilon, as scikit-learn does.

    Rows are resampled with replacement; the percentile interval is given. ECE is biased upwards, in each resample once
    more, so its interval is the reflected one (Davison & Hinkley 1997, eq. 5.6), cut at 0, kept around the value.

    Args:
        probabilities: [N, C].
        label: Class index, int [N].
        positive: Index of the positive class, None with more than two.
        predicted: Class index decided for each row, int [N].
        seed: Of the resamples.
        resamples: Number of resamples.
    """
    measures = _Measures(probabilities, label, positive, predicted)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = measures(np.ones((1, len(label))))[0]
        resampled = bootstrap(measures, len(label), seed, resamples)
    found = {}
    for k, name in enumerate(NAMES):
        if np.isfinite(values[k]):
            around = interval(values[k], resampled[:, k])
            found[name] = reflected(around) if name == "ece" else around
    return found


def compare(
    candidates: Mapping[str, np.ndarray],
    label: np.ndarray,
    positive: int | None,
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> list[Standing]:
    """Candidates by their probabilities [N, C] on the same rows, with paired differences from the first one."""
    rankings = [_rankings(found, label, positive) for found in candidates.values()]
    losses = np.stack([_row_log_loss(found, label) for found in candidates.values()], axis=1)

    def both(weights_BN: np.ndarray) -> np.ndarray:
        aucs = [_macro(one, weights_BN, _auc) for one in rankings]
        return np.stack([*aucs, *(weights_BN @ losses / weights_BN.sum(axis=1, keepdims=True)).T], axis=1)

    with np.errstate(invalid="ignore", divide="ignore"):
        value = both(np.ones((1, len(label))))[0]
        resampled = bootstrap(both, len(label), seed, resamples)
    return standings(tuple(candidates), value, resampled)


def standings(names: Sequence[str], value: np.ndarray, resampled: np.ndarray) -> list[Standing]:
    """Candidates beside the first one.

    Args:
        names: Of them, C.
        value: AUC of each, then log loss of each, float64 [2 C].
        resampled: The same of resamples, float64 [B, 2 C].
    """
    count = len(names)
    found = []
    for k, name in enumerate(names):
        own, loss = k, count + k
        auc_behind = interval(value[0] - value[own], resampled[:, 0] - resampled[:, own])
        loss_behind = interval(value[loss] - value[count], resampled[:, loss] - resampled[:, count])
        found.append(
            Standing(
                name,
                interval(value[own], resampled[:, own]),
                interval(value[loss], resampled[:, loss]),
                auc_behind if k > 0 else None,
                loss_behind if k > 0 else None,
            )
        )
    return found


def macro_auc_of_weights(
    probabilities: np.ndarray, label: np.ndarray, positive: int | None
) -> Callable[[np.ndarray], np.ndarray]:
    """What `bootstrap` resamples: row weights [B, N] to what `macro_auc` gives, [B]."""
    rankings = _rankings(probabilities, label, positive)
    return lambda weights_BN: _macro(rankings, weights_BN, _auc)


def measures_of_weights(
    probabilities: np.ndarray, label: np.ndarray, positive: int | None, predicted: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """What `bootstrap` resamples: row weights [B, N] to the measures of `NAMES`, [B, M]; NaN where not defined.

    Args:
        probabilities: As `classification_metrics`, and all that follow.
        label: The same.
        positive: The same.
        predicted: The same.
    """
    return _Measures(probabilities, label, positive, predicted)


def shown(value: float, sign: str = "", of: float | None = None) -> str:
    """Four digits behind the point, of large numbers fewer, of tiny ones the first three that count.

    Args:
        value: Of a measure, in whatever unit.
        sign: "+" to tell that of positive ones, too.
        of: The measure by whose size it is written, where it is a difference.
    """
    size = abs(value if of is None else of)
    if size != 0 and size < 1e-3:
        return f"{value:{sign}.3g}"
    return f"{value:{sign}.4f}" if size < 10 else f"{value:{sign},.5g}"


def independent_difference(first: Interval, second: Interval) -> Interval:
    """Second minus first, measured on other rows: the intervals' arms add as squares (Zou & Donner 2008, eq. 3)."""
    value = second.value - first.value
    below = np.hypot(second.value - second.low, first.high - first.value)
    above = np.hypot(second.high - second.value, first.value - first.low)
    return Interval(value, float(value - below), float(value + above))


def macro_auc(probabilities: np.ndarray, label: np.ndarray, positive: int | None) -> float:
    """AUC of the positive class, or the mean of the one-against-rest AUCs; NaN where it is not defined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(_macro(_rankings(probabilities, label, positive), np.ones((1, len(label))), _auc)[0])


def log_loss(probabilities: np.ndarray, label: np.ndarray) -> float:
    """Mean negative log-likelihood, in nats."""
    return float(_row_log_loss(probabilities, label).mean())


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray], rows: int, seed: int = 0, resamples: int = 1000
) -> np.ndarray:
    """A weighted statistic of resampled rows; equal seeds resample the same rows, so differences are paired.

    Args:
        statistic: Row counts float64 [B, N] to values [B, M].
        rows: N.
        seed: Of the resamples.
        resamples: How many.

    Returns:
        float64 [resamples, M].
    """
    return np.concatenate([statistic(weights) for weights in _counts(rows, seed, resamples)])


def _counts(rows: int, seed: int, resamples: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    step = max(1, CELLS // rows)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = generator.integers(rows, size=(size, rows)) + np.arange(size)[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows).astype(np.float64)


def interval(value: float, resampled: np.ndarray) -> Interval:
    """A measure with the interval of its resamples [B], those that are not defined left out."""
    known = resampled[np.isfinite(resampled)]
    low, high = np.percentile(known, COVERED) if len(known) else (value, value)
    return Interval(float(value), float(low), float(high))


def reflected(interval: Interval) -> Interval:
    """The interval of a measure that is biased upwards: reflected at the value, cut at 0, kept around the value."""
    value = interval.value
    low, high = 2 * value - interval.high, 2 * value - interval.low
    return Interval(value, min(value, max(0.0, low)), max(value, high))


class _Measures:
    """Row weights [B, N] to the measures of `NAMES`, [B, M]; what does not depend on the weights is prepared once."""

    def __init__(
        self, probabilities: np.ndarray, label: np.ndarray, positive: int | None, predicted: np.ndarray
    ) -> None:
        wanted = _wanted(label, positive)
        self.rankings = _rankings(probabilities, label, positive)
        self.brier_scale = 0.5 if positive is not None else 1.0
        truth = label[:, None] == np.arange(probabilities.shape[1])
        self.row_means = np.stack(
            [
                _row_log_loss(probabilities, label),
                self.brier_scale * ((probabilities - truth) ** 2).sum(axis=1),
                (predicted == label).astype(np.float64),
            ],
            axis=1,
        )
        hit, said = label[:, None] == wanted, predicted[:, None] == wanted
        self.counted = np.concatenate([hit & said, said, hit], axis=1).astype(np.float64)
        chance, event = calibration_pair(probabilities, label, positive)
        member = equal_mass_bins(chance, ECE_BINS)
        self.gaps = np.where(member[:, None] == np.arange(member.max() + 1), (chance - event)[:, None], 0.0)

    def __call__(self, weights_BN: np.ndarray) -> np.ndarray:
        total = weights_BN.sum(axis=1)
        loss, brier, accuracy = (weights_BN @ self.row_means / total[:, None]).T
        both, said, hit = np.split(weights_BN @ self.counted, 3, axis=1)
        # A class that is never predicted has precision 0 (as scikit-learn counts it), one that never occurs no recall.
        precision = np.where(said > 0, both / np.maximum(said, 1), 0.0)
        f1 = 2 * both / np.maximum(said + hit, 1)
        absent = hit == 0
        f1, precision, recall = (
            _mean_known(np.where(absent, np.nan, found)) for found in (f1, precision, both / np.maximum(hit, 1))
        )
        return np.stack(
            [
                _macro(self.rankings, weights_BN, _auc),
                _macro(self.rankings, weights_BN, _average_precision),
                loss,
                brier,
                np.abs(weights_BN @ self.gaps).sum(axis=1) / total,
                f1,
                precision,
                recall,
                accuracy,
            ],
            axis=1,
        )


def calibration_pair(
    probabilities: np.ndarray, label: np.ndarray, positive: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Probability of the positive class, else of the likeliest one, and whether it came true; both float64 [N]."""
    if positive is not None:
        return probabilities[:, positive].astype(np.float64), (label == positive).astype(np.float64)
    return probabilities.max(axis=1).astype(np.float64), (probabilities.argmax(axis=1) == label).astype(np.float64)


def equal_mass_bins(score: np.ndarray, bins: int) -> np.ndarray:
    """Bin of each row, int [N], of about equally many rows; rows of equal score share a bin, so there may be fewer."""
    ordered = np.sort(score)
    starts = np.unique(ordered[np.arange(bins) * len(score) // bins])
    return np.searchsorted(starts, score, side="right") - 1


def _wanted(label: np.ndarray, positive: int | None) -> np.ndarray:
    return np.unique(label) if positive is None else np.array([positive])


def _row_log_loss(probabilities: np.ndarray, label: np.ndarray) -> np.ndarray:
    chance = probabilities[np.arange(len(label)), label].astype(np.float64)
    epsilon = np.finfo(np.float64).eps
    return np.asarray(-np.log(np.clip(chance, epsilon, 1 - epsilon)))


@dataclass(frozen=True)
class _Ranking:
    """Rows by ascending score; `starts` of the groups of equal scores, None where all differ."""

    order: np.ndarray
    positive: np.ndarray
    starts: np.ndarray | None

    def grouped(self, weights_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weight of each group and of its positive rows, both [B, G]."""
        weights = weights_BN[:, self.order]
        positive = weights * self.positive
        if self.starts is None:
            return weights, positive
        return np.add.reduceat(weights, self.starts, axis=1), np.add.reduceat(positive, self.starts, axis=1)


def _rankings(probabilities: np.ndarray, label: np.ndarray, positive: int | None) -> list[_Ranking]:
    found = []
    for k in _wanted(label, positive):
        score = probabilities[:, k]
        order = np.argsort(score, kind="stable")
        starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf) != 0)
        found.append(
            _Ranking(order, (label == k)[order].astype(np.float64), None if len(starts) == len(label) else starts)
        )
    return found


def _macro(
    rankings: list[_Ranking], weights_BN: np.ndarray, measure: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    return _mean_known(np.stack([measure(*ranking.grouped(weights_BN)) for ranking in rankings], axis=1))


def _mean_known(found: np.ndarray) -> np.ndarray:
    known = np.isfinite(found)
    return np.asarray(np.where(known, found, 0).sum(axis=1) / known.sum(axis=1))


def _auc(weights_BG: np.ndarray, positive_BG: np.ndarray) -> np.ndarray:
    """Share of (positive, other) pairs in the right order, ties one half (Mann and Whitney 1947)."""
    others = weights_BG - positive_BG
    below = np.cumsum(others, axis=1) - others / 2
    pairs = positive_BG.sum(axis=1) * others.sum(axis=1)
    return np.asarray(np.einsum("bg,bg->b", below, positive_BG) / pairs)


def _average_precision(weights_BG: np.ndarray, positive_BG: np.ndarray) -> np.ndarray:
    """Precision at each threshold, weighted by the recall that it adds; from the highest score downwards."""
    hits = np.cumsum(positive_BG[:, ::-1], axis=1)
    said = np.cumsum(weights_BG[:, ::-1], axis=1)
    precision = hits / np.maximum(said, 1)
    return np.asarray(np.einsum("bg,bg->b", precision, positive_BG[:, ::-1]) / hits[:, -1])
