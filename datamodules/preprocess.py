"""Raw columns become scaled numbers and codes; `serve/graph_inputs.py` does the same, operation by operation."""

# N rows, D numbers, S codes, K knots

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from ludocast.datamodules.infer import CODE_VALUES, RawColumns
from ludocast.datamodules.interactions import find_interactions
from ludocast.datamodules.schema import Column, Schema

KNOTS = 64
CLIP = 4.0
UNKNOWN, MISSING, FIRST = 0, 1, 2  # codes: never seen in training; missing; then the known values
DENSE_ROWS = 50  # training rows a value, on average, from which on every value is embedded …
RARE_ROWS = 20  # … below it only values with as many rows as this
SMOOTHING = 10.0  # pseudo-rows of the overall rate in a value's mean label
FOLDS = 5
DAY = 86_400.0


@dataclass(frozen=True)
class NumberInput:
    """A number on its quantile-normal scale: linear between (value, normal score) knots, 0 where missing.

    Attributes:
        knots: float32 [K], ascending.
        scores: float32 [K].
        missing_flag: Whether missingness is an input of its own.
        origin: Subtracted in float64 before all else, then divided by `unit` (times only).
    """

    column: str
    knots: np.ndarray
    scores: np.ndarray
    missing_flag: bool
    origin: float = 0.0
    unit: float = 1.0


@dataclass(frozen=True)
class CodeInput:
    """A column as integer codes: `FIRST` + position of the value in `keys`; text or float32 values."""

    column: str
    keys: np.ndarray

    @property
    def size(self) -> int:
        """Number of codes."""
        return len(self.keys) + FIRST


@dataclass(frozen=True)
class MeanInput:
    """A text column as the smoothed mean label of its values (Micci-Barreca 2001), one number a class but the first.

    Attributes:
        keys: Known values, "" among them where it was seen.
        means: float32 [keys, classes − 1].
        default: float32 [classes − 1], for values never seen.
    """

    column: str
    keys: np.ndarray
    means: np.ndarray
    default: np.ndarray


@dataclass(frozen=True)
class CrossInput:
    """Two code columns as one: a cell of the table is the code of a pair of codes, another its smoothed mean label.

    Attributes:
        first: Position of one in the code columns.
        second: Position of the other.
        table: int64 [codes of first, codes of second]; `FIRST` onwards for pairs of enough rows, else `UNKNOWN`.
        means: float32 [codes of first, codes of second, classes − 1].
    """

    first: int
    second: int
    table: np.ndarray
    means: np.ndarray

    @property
    def size(self) -> int:
        """Number of codes."""
        return max(int(self.table.max()) + 1, FIRST)

    def cells(self, codes: np.ndarray) -> np.ndarray:
        """The cell of each row, int64 [N], of codes [N, S]."""
        return np.asarray(codes[:, self.first] * self.table.shape[1] + codes[:, self.second])


@dataclass(frozen=True)
class Encoded:
    """The inputs of the learners.

    Attributes:
        numbers: float32 [N, D]: scaled numbers, missing flags, mean labels, then products.
        codes: int64 [N, S]: codes, then crosses.
        raw: float32 [N, R], for trees: numbers as they are (NaN missing), mean labels, then those of crosses, products.
    """

    numbers: np.ndarray
    codes: np.ndarray
    raw: np.ndarray

    @property
    def trees(self) -> np.ndarray:
        """What trees split on, float32 [N, R + S]: raw numbers and mean labels, then codes.

        Categories that matter only together have equal mean labels; their codes tell them apart.
        """
        return np.hstack([self.raw, self.codes.astype(np.float32)])

    def rows(self, index: np.ndarray) -> Encoded:
        """Some of the rows."""
        return Encoded(self.numbers[index], self.codes[index], self.raw[index])


@dataclass(frozen=True)
class Preprocessing:
    """Everything that was fitted on the training rows, and nothing else."""

    numbers: tuple[NumberInput, ...]
    codes: tuple[CodeInput, ...]
    means: tuple[MeanInput, ...]
    mean_scale: tuple[float, float]  # centre and width of the mean labels as network inputs
    network_means: tuple[str, ...]  # columns whose mean label the network reads too
    products: tuple[tuple[int, int], ...] = ()  # positions of two numbers whose scaled values are multiplied
    crosses: tuple[CrossInput, ...] = ()

    @property
    def number_size(self) -> int:
        """Columns of `Encoded.numbers` before the products."""
        flags = sum(entry.missing_flag for entry in self.numbers)
        means = sum(entry.means.shape[1] for entry in self.means if entry.column in self.network_means)
        return int(len(self.numbers) + flags + means)

    @property
    def raw_size(self) -> int:
        """Columns of `Encoded.raw` before those of crosses and products."""
        return len(self.numbers) + sum(int(entry.means.shape[1]) for entry in self.means)

    @property
    def sizes(self) -> dict[str, Any]:
        """What a network has to know of a table, but for its classes."""
        return {"numbers": self.number_size + len(self.products), "code_sizes": self.code_sizes}

    @property
    def code_sizes(self) -> list[int]:
        """Number of codes of each column of `Encoded.codes`."""
        return [entry.size for entry in self.codes] + [entry.size for entry in self.crosses]

    def encode(self, columns: RawColumns) -> Encoded:
        """Apply to raw columns."""
        base = self._encode_columns(columns, {e.column: _look_up_means(e, columns[e.column]) for e in self.means})
        cells = [cross.means.reshape(-1, cross.means.shape[2])[cross.cells(base.codes)] for cross in self.crosses]
        return self._with_pairs(base, cells)

    def _encode_columns(self, columns: RawColumns, means: dict[str, np.ndarray]) -> Encoded:
        """What comes of single columns; for training rows with out-of-fold mean labels."""
        plain = [_plain_number(entry, columns[entry.column]) for entry in self.numbers]
        scaled = [_scale(entry, x) for entry, x in zip(self.numbers, plain, strict=True)]
        flags = [
            np.isnan(x).astype(np.float32) for entry, x in zip(self.numbers, plain, strict=True) if entry.missing_flag
        ]
        centre, width = self.mean_scale
        network_means = [
            ((means[name] - np.float32(centre)) * np.float32(1 / width)).astype(np.float32)
            for name in self.network_means
        ]
        rows = len(next(iter(columns.values())))
        codes = [_look_up(entry, columns[entry.column]) for entry in self.codes]
        return Encoded(
            _stack([*scaled, *flags, *network_means], rows, np.float32),
            _stack(codes, rows, np.int64),
            _stack([*plain, *(means[entry.column] for entry in self.means)], rows, np.float32),
        )

    def _with_pairs(self, base: Encoded, cross_means: list[np.ndarray]) -> Encoded:
        products = [base.numbers[:, a] * base.numbers[:, b] for a, b in self.products]
        crosses = [cross.table.ravel()[cross.cells(base.codes)] for cross in self.crosses]
        rows = len(base.numbers)
        return Encoded(
            _stack([base.numbers, *products], rows, np.float32),
            _stack([base.codes, *crosses], rows, np.int64),
            _stack([base.raw, *cross_means, *products], rows, np.float32),
        )


def fit_preprocessing(
    schema: Schema, columns: RawColumns, label: np.ndarray, seed: int = 0, rare: int = 0
) -> tuple[Preprocessing, Encoded]:
    """Fit on training rows.

    Args:
        schema: Which columns there are.
        columns: Raw columns of the training rows alone.
        label: Class index of each row, int64 [N].
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
    classes = len(schema.classes)
    means = tuple(_fit_means(name, columns[name], label, classes, rare) for name in texts)
    held_out = {name: _out_of_fold(name, columns[name], label, classes, seed) for name in texts}
    sparse = tuple(name for name in texts if len(np.unique(columns[name])) * DENSE_ROWS > len(label))
    pooled = np.concatenate([held_out[name].ravel() for name in sparse]) if sparse else np.array([0.0, 1.0])
    scale = (float(pooled.mean()), float(max(pooled.std(), 1e-3)))
    alone = Preprocessing(numbers, codes, means, scale, sparse)
    base = alone._encode_columns(columns, held_out)
    found = find_interactions(base.numbers[:, : len(numbers)], base.codes, alone.code_sizes, label, seed)
    crosses = [_fit_cross(pair, base.codes, alone.code_sizes, label, classes, seed, rare) for pair in found.crosses]
    fitted = replace(alone, products=found.products, crosses=tuple(cross for cross, _ in crosses))
    return fitted, fitted._with_pairs(base, [held for _, held in crosses])


def _is_number(column: Column) -> bool:
    return column.kind in ("number", "timestamp")


def _plain_number(entry: NumberInput, values: np.ndarray) -> np.ndarray:
    if values.dtype == np.float64:
        values = (values - entry.origin) / entry.unit
    return values.astype(np.float32)


def _fit_number(column: Column, values: np.ndarray) -> NumberInput:
    origin, unit = (0.0, 1.0)
    if column.kind == "timestamp":
        origin, unit = (float(np.nanmin(values)) if not np.isnan(values).all() else 0.0, DAY)
    x = _plain_number(NumberInput(column.name, np.empty(0), np.empty(0), False, origin, unit), values)
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


def slopes(entry: NumberInput) -> np.ndarray:
    """Slope of each of the K − 1 pieces, float32 [K − 1]; finite also between knots that nearly coincide."""
    rise = np.diff(entry.scores.astype(np.float64))
    run = np.diff(entry.knots.astype(np.float64))
    return np.clip(rise / run, -3e38, 3e38).astype(np.float32)


def _scale(entry: NumberInput, x: np.ndarray) -> np.ndarray:
    inside = np.clip(np.where(np.isnan(x), entry.knots[0], x), entry.knots[0], entry.knots[-1]).astype(np.float32)
    piece = np.searchsorted(entry.knots[1:-1], inside, side="right")
    y = (inside - entry.knots[piece]) * slopes(entry)[piece] + entry.scores[piece]
    return np.where(np.isnan(x), np.float32(0), y).astype(np.float32)


def _fit_codes(column: Column, values: np.ndarray, rare: int) -> CodeInput | None:
    if column.kind == "timestamp":
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


def _look_up(entry: CodeInput, values: np.ndarray) -> np.ndarray:
    found = pd.Index(entry.keys).get_indexer(pd.Index(values)) + FIRST
    codes = np.where(found < FIRST, UNKNOWN, found)
    gaps = values == "" if values.dtype == object else np.isnan(values)
    return np.where(gaps, MISSING, codes).astype(np.int64)


def _fit_means(name: str, values: np.ndarray, label: np.ndarray, classes: int, rare: int = 0) -> MeanInput:
    codes, keys = pd.factorize(values, sort=True)
    target = np.eye(classes)[label][:, 1:]
    means = _smoothed_means(codes, len(keys), target)
    kept = np.bincount(codes, minlength=len(keys)) >= rare
    keys, means = np.asarray(keys, dtype=object)[kept], means[kept]
    return MeanInput(name, keys, means.astype(np.float32), target.mean(axis=0).astype(np.float32))


def _smoothed_means(codes: np.ndarray, size: int, target: np.ndarray) -> np.ndarray:
    """Mean target of each code, drawn towards the overall mean by `SMOOTHING` rows; float64 [size, classes − 1]."""
    counts = np.bincount(codes, minlength=size)[:, None]
    sums = np.stack([np.bincount(codes, weights=column, minlength=size) for column in target.T], axis=1)
    return np.asarray((sums + SMOOTHING * target.mean(axis=0)) / (counts + SMOOTHING))


def _fit_cross(
    pair: tuple[int, int], codes: np.ndarray, sizes: list[int], label: np.ndarray, classes: int, seed: int, rare: int
) -> tuple[CrossInput, np.ndarray]:
    """The cross of two code columns, and the out-of-fold mean labels [N, classes − 1] of the training rows."""
    first, second = pair
    shape = (sizes[first], sizes[second])
    cells = codes[:, first] * shape[1] + codes[:, second]
    target = np.eye(classes)[label][:, 1:]
    count = np.bincount(cells, minlength=shape[0] * shape[1])
    kept = count >= max(RARE_ROWS, rare)
    table = np.where(kept, np.cumsum(kept) - 1 + FIRST, UNKNOWN).astype(np.int64)
    means = np.where((count >= rare)[:, None], _smoothed_means(cells, len(count), target), target.mean(axis=0))
    held_out = np.empty(target.shape, np.float32)
    fold = _held_out_fold(len(label), seed)
    for held in range(FOLDS):
        inside = fold == held
        held_out[inside] = _smoothed_means(cells[~inside], len(count), target[~inside])[cells[inside]]
    cross = CrossInput(first, second, table.reshape(shape), means.astype(np.float32).reshape(*shape, -1))
    return cross, held_out


def _look_up_means(entry: MeanInput, values: np.ndarray) -> np.ndarray:
    found = pd.Index(entry.keys).get_indexer(pd.Index(values))
    table = np.vstack([entry.means, entry.default])
    return np.asarray(table[found], np.float32)  # −1, a value never seen, is the last row


def _out_of_fold(name: str, values: np.ndarray, label: np.ndarray, classes: int, seed: int) -> np.ndarray:
    fold = _held_out_fold(len(label), seed)
    out = np.empty((len(label), classes - 1), np.float32)
    for held in range(FOLDS):
        inside = fold == held
        if inside.any() and (~inside).any():
            out[inside] = _look_up_means(_fit_means(name, values[~inside], label[~inside], classes), values[inside])
    return out


def _held_out_fold(rows: int, seed: int) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).permutation(rows) % FOLDS)


def _stack(parts: list[np.ndarray], rows: int, dtype: type) -> np.ndarray:
    if not parts:
        return np.zeros((rows, 0), dtype)
    return np.ascontiguousarray(np.column_stack(parts), dtype=dtype)
