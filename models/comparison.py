"""Is a second model better than a first one? The bootstrap of the difference, and its verdict in words."""

# N rows or users, B resamples, M measures

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ludocast.models.metrics import LOWER_IS_BETTER, NAMES, Interval, bootstrap, measures_of_weights
from scipy.stats import norm, t

COMPARED = tuple(name for name in NAMES if name != "ece")  # which is biased, in each resample more
RESAMPLES = 2000


@dataclass(frozen=True)
class Classified:
    """Answers on rows: probabilities [N, C], label and answer as class index [N], the index of the positive class."""

    probabilities: np.ndarray
    label: np.ndarray
    predicted: np.ndarray
    positive: int | None


@dataclass(frozen=True)
class Comparison:
    """One measure of two models.

    Attributes:
        name: Of the measure.
        first: Of the first model.
        second: Of the second model.
        difference: Second minus first, with its interval.
        level: Of the interval.
    """

    name: str
    first: float
    second: float
    difference: Interval
    level: float

    @property
    def verdict(self) -> str:
        """Of the second model "better" or "worse" where its interval has 0 outside; else "open"."""
        if self.difference.low <= 0 <= self.difference.high:
            return "open"
        return "better" if (self.difference.low > 0) != (self.name in LOWER_IS_BETTER) else "worse"

    def sentence(self, first: str, second: str, title: str) -> str:
        """The verdict in words.

        Args:
            first: Name of the first model.
            second: Name of the second model.
            title: Of the measure.
        """
        d = self.difference
        said = (
            f"{title} {self.second:.4f} against {self.first:.4f}, a difference of {d.value:+.4f} "
            f"({100 * self.level:g} % interval {d.low:+.4f} to {d.high:+.4f})"
        )
        if self.verdict == "open":
            return f"{second} and {first} cannot be told apart: {said}; chance explains it."
        chance = f"equal models would be told apart in {100 * (1 - self.level):.2g} of 100 such comparisons"
        return f"{second} is {self.verdict} than {first}: {said}; {chance}."


def compare_classifiers(
    first: Classified, second: Classified, *, level: float = 0.95, paired: bool = True, seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Comparison]:  # fmt: skip
    """Every measure of `COMPARED` that the rows define.

    Args:
        first: One model's answers.
        second: The other's, where `paired` on the same rows in the same order.
        level: Of the intervals.
        paired: Whether both are resampled by the same rows.
        seed: Of the resamples.
        resamples: How many.
    """
    keep = [NAMES.index(name) for name in COMPARED]
    values, drawn = [], []
    for place, one in enumerate((first, second)):
        statistic = measures_of_weights(one.probabilities, one.label, one.positive, one.predicted)
        own_seed = seed if paired else 2 * seed + place  # equal seeds resample the same rows
        with np.errstate(invalid="ignore", divide="ignore"):
            values.append(statistic(np.ones((1, len(one.label))))[0, keep])
            drawn.append(bootstrap(statistic, len(one.label), own_seed, resamples)[:, keep])
    rarest = min(int(np.bincount(one.label)[np.unique(one.label)].min()) for one in (first, second))
    return _compared(COMPARED, values, drawn, _tail(level, rarest), level)


def compare_means(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], *, level: float = 0.95, paired: bool = True,
    seed: int = 0, resamples: int = RESAMPLES,
) -> dict[str, Comparison]:  # fmt: skip
    """Measures that are means over users, such as NDCG@10.

    Args:
        first: Measure to its value of each user, float64 [N].
        second: The same of the other model, where `paired` of the same users in the same order.
        level: Of the intervals.
        paired: Whether both are resampled by the same users.
        seed: Of the resamples.
        resamples: How many.
    """
    values, drawn = [], []
    for place, one in enumerate((first, second)):
        each = np.stack([one[name] for name in first], axis=1)
        values.append(each.mean(axis=0))
        own_seed = seed if paired else 2 * seed + place
        drawn.append(bootstrap(lambda weights, each=each: weights @ each / len(each), len(each), own_seed, resamples))  # type: ignore[misc]
    users = min(len(next(iter(one.values()))) for one in (first, second))
    return _compared(tuple(first), values, drawn, _tail(level, users), level)


def _tail(level: float, count: int) -> float:
    """Percentile at which an interval begins, moved outwards for few rows (Hesterberg 2015, "expanded percentile").

    A bootstrap's spread is too small by √((n − 1) / n), and it takes a normal distribution for Student's.

    Args:
        level: Of the interval.
        count: n: rows of the rarest class, on whose number a ranking's error depends, or users.
    """
    n = max(count, 2)
    return float(100 * norm.sf(np.sqrt(n / (n - 1)) * t.isf((1 - level) / 2, n - 1)))


def _compared(
    names: tuple[str, ...], values: list[np.ndarray], drawn: list[np.ndarray], tail: float, level: float
) -> dict[str, Comparison]:
    found = {}
    for k, name in enumerate(names):
        difference = (drawn[1] - drawn[0])[:, k]
        known = difference[np.isfinite(difference)]
        value = float(values[1][k] - values[0][k])
        if len(known) and np.isfinite(value):
            low, high = np.percentile(known, (tail, 100 - tail))
            interval = Interval(value, float(low), float(high))
            found[name] = Comparison(name, float(values[0][k]), float(values[1][k]), interval, level)
    return found
