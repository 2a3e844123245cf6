"""Labels that are numbers: whether a label is one, its values, and the strata that a split keeps in proportion."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
from ludocast.datamodules.cells import CellError, column_values, python_values

Task = Literal["auto", "classification", "regression"]
CLASS_NUMBERS = 20  # numbers of at most this many distinct values are classes, unless regression is asked for
STRATA = 10


def is_regression(table: pa.Table, label: str, missing: frozenset[str], task: Task) -> bool:
    """Whether the label is a number to predict: as asked, or numbers of more than `CLASS_NUMBERS` distinct values."""
    if task != "auto":
        return task == "regression"
    if pa.types.is_boolean(table[label].type):
        return False
    try:
        values = column_values(table[label], "number", missing).values
    except CellError:
        return False
    return len(np.unique(values[~np.isnan(values)])) > CLASS_NUMBERS


def label_numbers(
    table: pa.Table, label: str, missing: frozenset[str], hint: str = "", rows_before: int = 0
) -> np.ndarray:
    """The label as numbers, float64 [N], NaN where missing.

    Args:
        table: The rows.
        label: Column of the label.
        missing: Texts that mean "missing".
        hint: What a text in place of a number may mean.
        rows_before: Of the same table, where this is a piece of it.

    Raises:
        ValueError: If a value is text, or infinite; the sentence names the row.
    """
    try:
        column = column_values(table[label], "number", missing)
    except CellError as error:
        row = rows_before + (error.row or 0) + 1
        raise ValueError(f'the label "{label}", row {row}: {error}{hint}') from error
    if column.overflowed:
        row = rows_before + _first_infinite(table, label) + 1
        raise ValueError(f'the label "{label}", row {row}: infinite or too large a number; drop or correct it')
    return column.values.astype(np.float64)


def number_label(table: pa.Table, label: str, missing: frozenset[str]) -> np.ndarray:
    """The label to learn from, float64 [N].

    Raises:
        ValueError: If a value is missing, text, or infinite, or all are equal; the sentence names the row.
    """
    hint = "; a number to predict has none but numbers (for classes say --task classification)"
    values = label_numbers(table, label, missing, hint)
    gaps = int(np.isnan(values).sum())
    if gaps:
        raise ValueError(
            f'the label "{label}" is missing in {gaps:,} of {len(values):,} rows; '
            "drop those rows (in pandas: frame.dropna(subset=[label])) or fill them"
        )
    if len(values) < 2:
        raise ValueError(f"the table has {len(values)} row; learning needs at least some tens of them")
    if values.min() == values.max():
        raise ValueError(f'the label "{label}" is always {values[0]:g}; learning needs two values or more')
    return values


def check_amounts(label: np.ndarray, name: str) -> None:
    """Refuse what is no amount.

    Args:
        label: Numbers, float64 [N].
        name: Their column's.

    Raises:
        ValueError: If one is below 0; the sentence names the row, and what to do.
    """
    below = np.flatnonzero(label < 0)
    if len(below):
        raise ValueError(
            f'the label "{name}" is below 0 in {len(below):,} of {len(label):,} rows (the first is row {below[0] + 1}: '
            f"{label[below[0]]:g}); a value is 0 or more: take refunds off what was spent before, or set them to 0 (in "
            "pandas: frame[label].clip(lower=0)), or predict them as any number by `ludocast train table` and its "
            "squared loss"
        )


def strata(label: np.ndarray) -> np.ndarray:
    """What a split keeps in proportion, int64 [N]: classes as they are, numbers in ten bins of equal size."""
    if label.dtype.kind != "f":
        return label
    edges = np.unique(np.quantile(label, np.arange(1, STRATA) / STRATA))
    return np.searchsorted(edges, label, side="left").astype(np.int64)


def _first_infinite(table: pa.Table, label: str) -> int:
    for row, value in enumerate(python_values(table[label])):
        try:
            if value is not None and abs(float(value)) > np.finfo(np.float32).max:
                return row
        except (TypeError, ValueError):
            continue
    return 0
