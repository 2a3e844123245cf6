"""Is a second model better than a first one? The bootstrap of the difference, and its verdict in words."""

# N rows or users, B resamples, M measures

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ludocast.models.label_metrics import label_measure_names, label_measures_of_weights
from ludocast.models.metrics import NAMES, OF_LABEL, Interval, bootstrap, is_better_low, measures_of_weights, shown
from ludocast.models.number_loss import SQUARED, NumberLoss
from ludocast.models.number_metrics import NUMBER_NAMES, number_measures_of_weights
from scipy.stats import norm, t

COMPARED = tuple(name for name in NAMES if name != "ece")  # which is biased, in each resample more
COMPARED_NUMBERS = ("rmse", "mae", "r2")
RESAMPLES = 2000
Statistic = Callable[[np.ndarray], np.ndarray]  # row weights [B, N] to measures [B, M]


@dataclass(frozen=True)
class Classified:
    """Answers on rows: probabilities [N, C], label and answer as class index [N], the index of the positive class."""

    probabilities: np.ndarray
    label: np.ndarray
    predicted: np.ndarray
    positive: int | None


@dataclass(frozen=True)
class LabelAnswers:
    """Answers of several labels: probabilities [N, L], which of them rows have, int64 [N, L], and are told, bool."""

    probabilities: np.ndarray
    label: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class Predicted:
    """Predicted numbers of rows: these and the true ones, float64 [N], bounds [N, 2], and by which loss."""

    value: np.ndarray
    bounds: np.ndarray
    label: np.ndarray
    loss: NumberLoss = SQUARED


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
        return "better" if (self.difference.low > 0) != is_better_low(self.name) else "worse"

    def signed(self, difference: float) -> str:
        """A difference with its sign, by the size of the measure."""
        return shown(difference, "+", self.first)

    def sentence(self, first: str, second: str, title: str) -> str:
        """The verdict in words.

        Args:
            first: Name of the first model.
            second: Name of the second model.
            title: Of the measure.
        """
        d = self.difference
        said = (
            f"{title} {shown(self.second)} against {shown(self.first)}, a difference of {self.signed(d.value)} "
            f"({100 * self.level:g} % interval {self.signed(d.low)} to {self.signed(d.high)})"
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
    both = (first, second)
    statistics = [measures_of_weights(one.probabilities, one.label, one.positive, one.predicted) for one in both]
    values, drawn = _resampled(statistics, [len(one.label) for one in both], paired, seed, resamples)
    rarest = min(int(np.bincount(one.label)[np.unique(one.label)].min()) for one in both)
    keep = [NAMES.index(name) for name in COMPARED]
    tails = dict.fromkeys(COMPARED, _tail(level, rarest, rarest - 1))
    return _compared(tails, [one[keep] for one in values], [one[:, keep] for one in drawn], level)


def compare_label_answers(
    first: LabelAnswers, second: LabelAnswers, labels: tuple[str, ...], *, level: float = 0.95, paired: bool = True,
    seed: int = 0, resamples: int = RESAMPLES,
) -> dict[str, Comparison]:  # fmt: skip
    """Every measure of two models of several labels, but for the calibration error: of all labels, then of each.

    Args:
        first: One model's answers.
        second: The other's, where `paired` on the same rows in the same order.
        labels: Their names.
        level: Of the intervals.
        paired: Whether both are resampled by the same rows.
        seed: Of the resamples.
        resamples: How many.
    """
    both = (first, second)
    statistics = [label_measures_of_weights(one.probabilities, one.label, one.predicted) for one in both]
    values, drawn = _resampled(statistics, [len(one.label) for one in both], paired, seed, resamples)
    rarest = {
        name: max(1, min(int(min(one.label[:, k].sum(), (1 - one.label[:, k]).sum())) for one in both))
        for k, name in enumerate(labels)
    }
    names = label_measure_names(labels)
    keep = [k for k, name in enumerate(names) if name.partition(OF_LABEL)[0] != "ece"]
    # A measure of all labels hangs on the rarer values of all of them: a rare label is but one in L of it.
    of_all = min(sum(rarest.values()), *(len(one.label) for one in both))
    counts = [rarest.get(names[k].partition(OF_LABEL)[2], of_all) for k in keep]
    tails = {names[k]: _tail(level, count, count - 1) for k, count in zip(keep, counts, strict=True)}
    return _compared(tails, [one[keep] for one in values], [one[:, keep] for one in drawn], level)


def compare_predicted(
    first: Predicted, second: Predicted, *, level: float = 0.95, paired: bool = True, seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Comparison]:  # fmt: skip
    """The measures `COMPARED_NUMBERS` of two models of a number, before them the loss by which both were trained.

    Args:
        first: One model's predictions.
        second: The other's, where `paired` of the same rows in the same order.
        level: Of the intervals.
        paired: Whether both are resampled by the same rows.
        seed: Of the resamples.
        resamples: How many.
    """
    both = (first, second)
    own = [first.loss.measure] if first.loss == second.loss else []
    names = tuple(dict.fromkeys((*own, *COMPARED_NUMBERS)))
    rows = [len(one.label) for one in both]
    values, drawn = _resampled([_number_statistic(one, names) for one in both], rows, paired, seed, resamples)
    tails = {}
    for name in names:
        losses = [_deciding_loss(name, one).of_rows(one.value, one.label) for one in both]
        drawn_by = [losses[1] - losses[0]] if paired else losses
        tails[name] = _tail(level, min(rows), min(_freedom(loss) for loss in drawn_by))
    return _compared(tails, values, drawn, level)


def _deciding_loss(name: str, one: Predicted) -> NumberLoss:
    """Of a row, by whose mean a measure is told."""
    usual = {"rmse": SQUARED, "r2": SQUARED, "mae": NumberLoss("absolute")}
    return usual.get(name, one.loss)


def _number_statistic(one: Predicted, names: Sequence[str]) -> Statistic:
    """Row weights [B, N] to measures by name, [B, M]."""
    usual = number_measures_of_weights(one.value, one.bounds, one.label)
    own = one.loss.of_rows(one.value, one.label)
    place = [NUMBER_NAMES.index(name) if name in NUMBER_NAMES else len(NUMBER_NAMES) for name in names]

    def all_of(weights_BN: np.ndarray) -> np.ndarray:
        mean = weights_BN @ own / weights_BN.sum(axis=1)
        return np.column_stack([usual(weights_BN), mean])[:, place]

    return all_of


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
    both = (first, second)
    users = [len(next(iter(one.values()))) for one in both]
    statistics = [_means(np.stack([one[name] for name in first], axis=1)) for one in both]
    values, drawn = _resampled(statistics, users, paired, seed, resamples)
    return _compared(dict.fromkeys(first, _tail(level, min(users), min(users) - 1)), values, drawn, level)


def _means(each: np.ndarray) -> Statistic:
    return lambda weights: weights @ each / len(each)


def _resampled(
    statistics: Sequence[Statistic], rows: Sequence[int], paired: bool, seed: int, resamples: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The measures [M] of each model, and those of its resamples [resamples, M]."""
    values, drawn = [], []
    for place, (statistic, count) in enumerate(zip(statistics, rows, strict=True)):
        own_seed = seed if paired else 2 * seed + place  # equal seeds resample the same rows
        with np.errstate(invalid="ignore", divide="ignore"):
            values.append(statistic(np.ones((1, count)))[0])
            drawn.append(bootstrap(statistic, count, own_seed, resamples))
    return values, drawn


def _freedom(values: np.ndarray) -> float:
    """Degrees of freedom of a mean's standard error: those of χ² whose variance is that of the values' variance.

    2 n / (κ − 1), where κ is the kurtosis (Satterthwaite 1946, by the variance of s², σ⁴ (κ − 1) / n): n of normal
    values, few where some rows make most of the sum.
    """
    centred = values - values.mean()
    second = float((centred**2).mean())
    if second == 0:
        return len(values) - 1
    kurtosis = float((centred**4).mean()) / second**2
    return min(2 * len(values) / max(kurtosis - 1, 1e-9), len(values) - 1)


def _tail(level: float, count: int, freedom: float) -> float:
    """Percentile at which an interval begins, moved outwards for few rows (Hesterberg 2015, "expanded percentile").

    A bootstrap's spread is too small by √((n − 1) / n), and it takes a normal distribution for Student's.

    Args:
        level: Of the interval.
        count: n: rows of the rarest class, on whose number a ranking's error depends, or users, or rows.
        freedom: Degrees of freedom of Student's distribution; at least 1 is taken.
    """
    n = max(count, 2)
    return float(100 * norm.sf(np.sqrt(n / (n - 1)) * t.isf((1 - level) / 2, max(freedom, 1))))


def _compared(
    tails: Mapping[str, float], values: list[np.ndarray], drawn: list[np.ndarray], level: float
) -> dict[str, Comparison]:
    """By measure, in the order of their tails, as values [M] and resamples [B, M] are."""
    found = {}
    for k, (name, tail) in enumerate(tails.items()):
        difference = (drawn[1] - drawn[0])[:, k]
        known = difference[np.isfinite(difference)]
        value = float(values[1][k] - values[0][k])
        if len(known) and np.isfinite(value):
            low, high = np.percentile(known, (tail, 100 - tail))
            interval = Interval(value, float(low), float(high))
            found[name] = Comparison(name, float(values[0][k]), float(values[1][k]), interval, level)
    return found
