"""What a model goes by: permutation importance, effect curves, and what moved one player's score."""

# N rows, C classes, G grid points

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.infer import RawColumns
from ludocast.models.label_metrics import row_log_losses
from ludocast.models.metrics import log_loss, macro_auc
from ludocast.models.number_loss import SQUARED, NumberLoss
from scipy.special import logit

ROWS = 3_000  # that are permuted
REPEATS = 3
EFFECT_ROWS = 200
GRID = 12
BACKGROUND = 100
Predict = Callable[[RawColumns], np.ndarray]


@dataclass(frozen=True)
class Importance:
    """How much worse the model gets when a column is shuffled: fall of AUC and its spread, rise of log loss."""

    column: str
    auc: float
    spread: float
    log_loss: float


@dataclass(frozen=True)
class NumberImportance:
    """How much worse a model of a number gets when a column is shuffled: rise of its loss, and its spread."""

    column: str
    rise: float
    spread: float


@dataclass(frozen=True)
class Effect:
    """Mean probability, or number, when a column is set to each value in all rows (Friedman 2001)."""

    column: str
    values: list[float] | list[str]
    probability: list[float]


@dataclass(frozen=True)
class Contribution:
    """What a player's own value adds to the log odds, beside the values of other players."""

    column: str
    value: str
    log_odds: float


def permutation_importance(
    predict: Predict, columns: RawColumns, label: np.ndarray, positive: int | None, seed: int = 0
) -> list[Importance]:
    """Each column shuffled in turn (Breiman 2001, section 10), most important first.

    Args:
        predict: Raw columns to probabilities [N, C].
        columns: Raw columns of rows that the model has not learnt from.
        label: int64 [N].
        positive: Index of the positive class; None compares every class with the rest.
        seed: Of the shuffles.
    """

    def measures(p: np.ndarray, known: np.ndarray) -> np.ndarray:
        return np.array([-macro_auc(p, known, positive), log_loss(p, known)])

    rises = _rises(predict, columns, label, measures, seed)
    found = [Importance(n, float(r[:, 0].mean()), float(r[:, 0].std()), float(r[:, 1].mean())) for n, r in rises]
    return sorted(found, key=lambda entry: -entry.auc)


def number_importance(
    predict: Predict, columns: RawColumns, label: np.ndarray, loss: NumberLoss = SQUARED, seed: int = 0
) -> list[NumberImportance]:
    """Each column shuffled in turn, as of `permutation_importance`, most important first.

    Args:
        predict: Raw columns to numbers [N].
        columns: Raw columns of rows that the model has not learnt from.
        label: float64 [N].
        loss: By which they are predicted; of the squared one the root counts.
        seed: Of the shuffles.
    """

    def error(value: np.ndarray, known: np.ndarray) -> np.ndarray:
        return np.array([loss.in_unit(float(loss.of_rows(value, known).mean()), 1.0)])

    rises = _rises(predict, columns, label, error, seed)
    found = [NumberImportance(name, float(r.mean()), float(r.std())) for name, r in rises]
    return sorted(found, key=lambda entry: -entry.rise)


def label_importance(
    predict: Predict, columns: RawColumns, label: np.ndarray, seed: int = 0
) -> list[tuple[NumberImportance, list[float]]]:
    """Each column shuffled in turn, as of `permutation_importance`: rise of the mean log loss, and of each label's.

    Args:
        predict: Raw columns to probabilities [N, L].
        columns: Raw columns of rows that the model has not learnt from.
        label: 0 or 1, int64 [N, L].
        seed: Of the shuffles.
    """

    def losses(p: np.ndarray, known: np.ndarray) -> np.ndarray:
        each = row_log_losses(p, known).mean(axis=0)
        return np.concatenate([[each.mean()], each])

    found = [
        (NumberImportance(name, float(r[:, 0].mean()), float(r[:, 0].std())), r[:, 1:].mean(axis=0).tolist())
        for name, r in _rises(predict, columns, label, losses, seed)
    ]
    return sorted(found, key=lambda entry: -entry[0].rise)


def _rises(
    predict: Predict,
    columns: RawColumns,
    label: np.ndarray,
    measures: Callable[[np.ndarray, np.ndarray], np.ndarray],
    seed: int,
) -> list[tuple[str, np.ndarray]]:
    """By how much measures rise when a column is shuffled, [REPEATS, measures] of each."""
    generator = np.random.default_rng(seed)
    rows = generator.permutation(len(label))[:ROWS]
    part, known = {name: values[rows] for name, values in columns.items()}, label[rows]
    before = measures(predict(part), known)
    found = []
    for name in columns:
        shuffled = [
            measures(predict({**part, name: part[name][generator.permutation(len(rows))]}), known)
            for _ in range(REPEATS)
        ]
        found.append((name, np.stack(shuffled) - before))
    return found


def effects(predict: Predict, columns: RawColumns, names: Sequence[str], index: int, seed: int = 0) -> list[Effect]:
    """The effect curve of each of some columns on the probability of class `index`."""
    count = len(next(iter(columns.values())))
    rows = np.random.default_rng(seed).permutation(count)[:EFFECT_ROWS]
    part = {name: values[rows] for name, values in columns.items()}
    found = []
    for name in names:
        grid = _grid(columns[name])
        if not len(grid):
            continue
        many = {column: np.tile(values, len(grid)) for column, values in part.items()}
        many[name] = np.repeat(grid, len(rows)).astype(columns[name].dtype)
        p = predict(many)[:, index].reshape(len(grid), len(rows)).mean(axis=1)
        found.append(Effect(name, grid.tolist(), p.tolist()))
    return found


def _grid(values: np.ndarray) -> np.ndarray:
    if values.dtype == object:
        names, counts = np.unique(values[values != ""].astype(str), return_counts=True)
        return np.asarray(names[np.argsort(-counts, kind="stable")][:GRID], dtype=object)
    known = values[~np.isnan(values)]
    if not len(known):
        return np.asarray(known)
    distinct = np.unique(known)
    if len(distinct) > GRID:
        distinct = np.unique(np.quantile(known, np.linspace(0.02, 0.98, GRID)))
    return np.asarray(distinct)


def contributions(
    predict: Predict, columns: RawColumns, player: dict[str, object], index: int, seed: int = 0
) -> list[Contribution]:
    """What moved one player's score, strongest first.

    A value's contribution is the log odds of class `index` minus their mean when the value is replaced by those of
    other players (Robnik-Šikonja and Kononenko 2008, section 3, as differences of log odds).
    """
    count = len(next(iter(columns.values())))
    rows = np.random.default_rng(seed).permutation(count)[:BACKGROUND]
    many = {
        name: np.full(1 + len(columns) * len(rows), player[name], dtype=values.dtype)
        for name, values in columns.items()
    }
    for position, (name, values) in enumerate(columns.items()):
        start = 1 + position * len(rows)
        many[name][start : start + len(rows)] = values[rows]
    odds = logit(np.clip(predict(many)[:, index], 1e-6, 1 - 1e-6))
    means = odds[1:].reshape(len(columns), len(rows)).mean(axis=1)
    found = [
        Contribution(name, shown_value(player[name], columns[name].dtype), float(odds[0] - mean))
        for name, mean in zip(columns, means, strict=True)
    ]
    return sorted(found, key=lambda entry: -abs(entry.log_odds))


def shown_value(value: object, dtype: np.dtype) -> str:
    """A raw value as people read it; of float64, which only times have, the day."""
    if isinstance(value, str):
        return value if value else "missing"
    number = float(value)  # type: ignore[arg-type]
    if number != number:
        return "missing"
    if dtype == np.float64:
        return str(np.datetime64(int(number), "s").astype("datetime64[D]"))  # any year: `datetime` ends with 9999
    return f"{number:g}"
