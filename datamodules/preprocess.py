"""Raw columns become scaled numbers and codes; `serve/graph_inputs.py` does the same, operation by operation."""

# N rows, D numbers, S codes, K knots

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from ludocast.datamodules.infer import RawColumns

UNKNOWN, MISSING, FIRST = 0, 1, 2  # codes: never seen in training; missing; then the known values


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

    Where the label is a number, K is 1 in place of the number of classes − 1.

    Attributes:
        keys: Known values, "" among them where it was seen.
        means: float32 [keys, K].
        default: float32 [K], for values never seen.
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
    def size(self) -> int:
        """Number of values: rows times inputs."""
        return self.numbers.size + self.codes.size + self.raw.size

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
        base = self.encode_columns(columns, {e.column: look_up_means(e, columns[e.column]) for e in self.means})
        cells = [cross.means.reshape(-1, cross.means.shape[2])[cross.cells(base.codes)] for cross in self.crosses]
        return self.with_pairs(base, cells)

    def encode_columns(self, columns: RawColumns, means: dict[str, np.ndarray]) -> Encoded:
        """What comes of single columns; for training rows with out-of-fold mean labels."""
        plain = [plain_number(entry, columns[entry.column]) for entry in self.numbers]
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

    def with_pairs(self, base: Encoded, cross_means: list[np.ndarray]) -> Encoded:
        """The same with products, crosses and the crosses' mean labels [N, classes − 1] at the end."""
        products = [base.numbers[:, a] * base.numbers[:, b] for a, b in self.products]
        crosses = [cross.table.ravel()[cross.cells(base.codes)] for cross in self.crosses]
        rows = len(base.numbers)
        return Encoded(
            _stack([base.numbers, *products], rows, np.float32),
            _stack([base.codes, *crosses], rows, np.int64),
            _stack([base.raw, *cross_means, *products], rows, np.float32),
        )


def plain_number(entry: NumberInput, values: np.ndarray) -> np.ndarray:
    """float32 [N]; a time as days since its origin."""
    if values.dtype == np.float64:
        values = (values - entry.origin) / entry.unit
    return values.astype(np.float32)


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


def _look_up(entry: CodeInput, values: np.ndarray) -> np.ndarray:
    found = pd.Index(entry.keys).get_indexer(pd.Index(values)) + FIRST
    codes = np.where(found < FIRST, UNKNOWN, found)
    gaps = values == "" if values.dtype == object else np.isnan(values)
    return np.where(gaps, MISSING, codes).astype(np.int64)


def look_up_means(entry: MeanInput, values: np.ndarray) -> np.ndarray:
    """The mean labels of values, float32 [N, classes − 1]."""
    found = pd.Index(entry.keys).get_indexer(pd.Index(values))
    table = np.vstack([entry.means, entry.default])
    return np.asarray(table[found], np.float32)  # −1, a value never seen, is the last row


def _stack(parts: list[np.ndarray], rows: int, dtype: type) -> np.ndarray:
    if not parts:
        return np.zeros((rows, 0), dtype)
    return np.ascontiguousarray(np.column_stack(parts), dtype=dtype)
