"""Preprocessing fitted on the training rows alone, mean labels out of fold."""

# N rows, K knots of a number, or columns of what mean labels are means of

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pandas as pd
from ludocast.datamodules.infer import CODE_VALUES, RawColumns
from ludocast.datamodules.interactions import find_interactions
from ludocast.datamodules.preprocess import (
    FIRST,
    UNKNOWN,
    CodeInput,
    CrossInput,
    Encoded,
    MeanInput,
    NumberInput,
    Preprocessing,
    look_up_means,
    plain_number,
)
from ludocast.datamodules.schema import Column, Schema

KNOTS = 64
CLIP = 4.0
DENSE_ROWS = 50  # training rows a value, on average, from which on every value is embedded …
RARE_ROWS = 20  # … below it only values with as many rows as this
SMOOTHING = 10.0  # pseudo-rows of the overall rate in a value's mean label
FOLDS = 5
DAY = 86_400.0


def fit_preprocessing(
    schema: Schema, columns: RawColumns, label: np.ndarray, seed: int = 0, rare: int = 0
) -> tuple[Preprocessing, Encoded]:
    """Fit on training rows.

    Args:
        schema: Which columns there are.
        columns: Raw columns of the training rows alone.
        label: Class index of each row, int64 [N]; of several labels 0 or 1, int64 [N, L]; or the number that is
            predicted, float64 [N].
        seed: Seeds the folds of the mean labels.
        rare: Codes and mean labels of values of fewer rows than this are not kept.

    Returns:
        The preprocessing, and the training rows encoded with out-of-fold mean labels: a row's own label is never part
        of its own input.
    """
    numbers = tuple(_fit_number(column, columns[column.name]) for column in schema.inputs if _is_number(column))
    codes = tuple(
        entry for column in schema.inputs if (entry := _fit_codes(column, columns[column.name], rare)) is not None
    )
    texts = [column.name for column in schema.inputs if columns[column.name].dtype == object]
    target = _target(label, len(schema.classes))
    means = tuple(_fit_means(name, columns[name], target, rare) for name in texts)
    held_out = {name: _out_of_fold(name, columns[name], target, seed) for name in texts}
    sparse = tuple(name for name in texts if len(np.unique(columns[name])) * DENSE_ROWS > len(label))
    pooled = np.concatenate([held_out[name].ravel() for name in sparse]) if sparse else np.array([0.0, 1.0])
    scale = (float(pooled.mean()), float(max(pooled.std(), 1e-3)))
    alone = Preprocessing(numbers, codes, means, scale, sparse)
    base = alone.encode_columns(columns, held_out)
    found = find_interactions(base.numbers[:, : len(numbers)], base.codes, alone.code_sizes, label, seed)
    crosses = [_fit_cross(pair, base.codes, alone.code_sizes, target, seed, rare) for pair in found.crosses]
    fitted = replace(alone, products=found.products, crosses=tuple(cross for cross, _ in crosses))
    return fitted, fitted.with_pairs(base, [held for _, held in crosses])


def fit_unlabelled(schema: Schema, columns: RawColumns, rare: int = 0) -> Preprocessing:
    """Scaled numbers and codes alone, where there is no label.

    Args:
        schema: Which columns there are.
        columns: Raw columns of the training rows alone.
        rare: Codes of values of fewer rows than this are not kept.
    """
    numbers = tuple(_fit_number(column, columns[column.name]) for column in schema.inputs if _is_number(column))
    codes = (_fit_codes(column, columns[column.name], rare) for column in schema.inputs)
    return Preprocessing(numbers, tuple(entry for entry in codes if entry is not None), (), (0.0, 1.0), ())


def _target(label: np.ndarray, classes: int) -> np.ndarray:
    """What mean labels are means of, float64 [N, K]: each label, each class but the first, or the scaled number."""
    if label.ndim == 2:
        return label.astype(np.float64)
    if label.dtype.kind != "f":
        return np.asarray(np.eye(classes)[label][:, 1:])
    return np.asarray(((label - label.mean()) / max(float(label.std()), 1e-300))[:, None])


def _is_number(column: Column) -> bool:
    return column.kind in ("number", "timestamp")


def _fit_number(column: Column, values: np.ndarray) -> NumberInput:
    origin, unit = (0.0, 1.0)
    if column.kind == "timestamp":
        origin, unit = (float(np.nanmin(values)) if not np.isnan(values).all() else 0.0, DAY)
    x = plain_number(NumberInput(column.name, np.empty(0), np.empty(0), False, origin, unit), values)
    known = np.sort(x[~np.isnan(x)])
    if not len(known):
        known = np.zeros(1, np.float32)
    knots, scores = _quantile_normal(known)
    return NumberInput(column.name, knots, scores, bool(np.isnan(x).any()), origin, unit)


def _quantile_normal(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distinct = np.unique(known)
    if len(distinct) > KNOTS:
        distinct = np.unique(np.quantile(known, np.linspace(0, 1, KNOTS), method="nearest"))
    # The middle rank of a value's ties: a value that half of the rows share lies in the middle of its share.
    low = np.searchsorted(known, distinct, side="left")
    high = np.searchsorted(known, distinct, side="right")
    share = (low + high) / (2 * len(known))
    normal = NormalDist()
    limit = normal.cdf(-CLIP)
    scores = np.array([normal.inv_cdf(float(np.clip(p, limit, 1 - limit))) for p in share])
    if len(distinct) == 1:  # two knots make the graph's arithmetic uniform
        distinct = np.array([distinct[0], np.nextafter(distinct[0], np.float32(np.inf), dtype=np.float32)])
        scores = np.zeros(2)
    return distinct.astype(np.float32), scores.astype(np.float32)


def _fit_codes(column: Column, values: np.ndarray, rare: int) -> CodeInput | None:
    if column.kind == "timestamp" or column.is_quantity:
        return None
    known = values[values != ""] if values.dtype == object else values[~np.isnan(values)]
    keys, counts = np.unique(known.astype(str) if values.dtype == object else known, return_counts=True)
    if column.kind == "number" and (len(keys) > CODE_VALUES or len(keys) < 2):
        return None
    if len(keys) * DENSE_ROWS > len(values):
        keys = keys[counts >= max(RARE_ROWS, rare)]
    else:
        keys = keys[counts >= rare]
    if not len(keys):
        return None
    return CodeInput(column.name, keys.astype(object) if values.dtype == object else keys)


def _fit_means(name: str, values: np.ndarray, target: np.ndarray, rare: int = 0) -> MeanInput:
    codes, keys = pd.factorize(values, sort=True)
    means = _smoothed_means(codes, len(keys), target)
    kept = np.bincount(codes, minlength=len(keys)) >= rare
    keys, means = np.asarray(keys, dtype=object)[kept], means[kept]
    return MeanInput(name, keys, means.astype(np.float32), target.mean(axis=0).astype(np.float32))


def _smoothed_means(codes: np.ndarray, size: int, target: np.ndarray) -> np.ndarray:
    """Mean target of each code, drawn towards the overall mean by `SMOOTHING` rows; float64 [size, K]."""
    counts = np.bincount(codes, minlength=size)[:, None]
    sums = np.stack([np.bincount(codes, weights=column, minlength=size) for column in target.T], axis=1)
    return np.asarray((sums + SMOOTHING * target.mean(axis=0)) / (counts + SMOOTHING))


def _fit_cross(
    pair: tuple[int, int], codes: np.ndarray, sizes: list[int], target: np.ndarray, seed: int, rare: int
) -> tuple[CrossInput, np.ndarray]:
    """The cross of two code columns, and the out-of-fold mean labels [N, K] of the training rows."""
    first, second = pair
    shape = (sizes[first], sizes[second])
    cells = codes[:, first] * shape[1] + codes[:, second]
    count = np.bincount(cells, minlength=shape[0] * shape[1])
    kept = count >= max(RARE_ROWS, rare)
    table = np.where(kept, np.cumsum(kept) - 1 + FIRST, UNKNOWN).astype(np.int64)
    means = np.where((count >= rare)[:, None], _smoothed_means(cells, len(count), target), target.mean(axis=0))
    held_out = np.empty(target.shape, np.float32)
    fold = _held_out_fold(len(target), seed)
    for held in range(FOLDS):
        inside = fold == held
        held_out[inside] = _smoothed_means(cells[~inside], len(count), target[~inside])[cells[inside]]
    cross = CrossInput(first, second, table.reshape(shape), means.astype(np.float32).reshape(*shape, -1))
    return cross, held_out


def _out_of_fold(name: str, values: np.ndarray, target: np.ndarray, seed: int) -> np.ndarray:
    fold = _held_out_fold(len(target), seed)
    out = np.empty(target.shape, np.float32)
    for held in range(FOLDS):
        inside = fold == held
        if inside.any() and (~inside).any():
            out[inside] = look_up_means(_fit_means(name, values[~inside], target[~inside]), values[inside])
    return out


def _held_out_fold(rows: int, seed: int) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).permutation(rows) % FOLDS)
