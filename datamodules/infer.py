"""What each column of a table is, decided by stated rules, and the traps in it, told by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ludocast.datamodules.cells import CellError, column_values, parse_boolean, parse_number, python_values
from ludocast.datamodules.number_label import CLASS_NUMBERS, Task, is_regression, number_label
from ludocast.datamodules.schema import MISSING_TOKENS, Column, Kind, Schema

ID_SHARE = 0.95  # a text column with more distinct values a row than this names rows, it does not describe them
CODE_VALUES = 128  # a number column with at most this many distinct values may be a code: number AND category
NOTATIONS = (  # how people write cells that then are texts to us; a column of one of them alone is told of
    (
        re.compile(r"^[+-]?(\d+|\d{1,3}(\.\d{3})+)(,\d+)?$"),
        "numbers with a comma, so they are taken for texts; write them with a decimal point and without thousands "
        '(in pandas: read_csv(path, sep=";", decimal=","))',
    ),
    (
        re.compile(r"^[+-]?\d{1,3}(,\d{3})*(\.\d+)?$"),
        "numbers with thousands between commas, so they are taken for texts; write them without "
        '(in pandas: read_csv(path, thousands=","))',
    ),
    (
        re.compile(r"^\d{1,2}[./-]\d{1,2}[./-]\d{4}( \d{1,2}:\d{2}(:\d{2})?)?$"),
        "dates that do not begin with the year, so they are taken for texts; write them as 2026-01-31 "
        "(in pandas: to_datetime(column, dayfirst=True), or dayfirst=False)",
    ),
)
_ISO_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?$")

RawColumns = dict[str, np.ndarray]


def infer_schema(
    table: pa.Table,
    label: str,
    positive: str | None = None,
    exclude: Sequence[str] = (),
    missing_tokens: Sequence[str] = MISSING_TOKENS,
    task: Task = "classification",
) -> Schema:
    """Decide the kind of each column from all rows; statistics come later, from the training rows (`describe`).

    Args:
        table: The table as read.
        label: The column to predict.
        positive: The class whose probability is wanted; needed for two classes only, then the second by default.
        exclude: Columns to leave out.
        missing_tokens: Texts that mean "missing".
        task: What the label is; "auto" tells numbers from classes.

    Raises:
        ValueError: If the label or an excluded column is absent, the label has missing values or one class only, or
            no column is left to learn from.
    """
    for name in [label, *exclude]:
        check_column(table, name)
    missing = frozenset(missing_tokens)
    is_number = is_regression(table, label, missing, task)
    classes = () if is_number else label_classes(table, label, missing)
    if is_number:
        number_label(table, label, missing)  # what is wrong with it is told first
        if positive is not None:
            raise ValueError(f'--positive "{positive}" names a class, and "{label}" is predicted as a number')
    elif positive is not None and positive not in classes:
        raise ValueError(f'--positive "{positive}" is no value of "{label}"; its values are {_some(classes)}')
    columns, warnings = infer_columns(table.drop_columns([label]), [name for name in exclude if name != label], missing)
    if task == "auto" and is_number:
        warnings.append(
            f'the label "{label}" holds more than {CLASS_NUMBERS} different numbers, so a number is predicted; '
            "for classes say --task classification"
        )
    if len(classes) == 2 and positive is None:
        positive = classes[1]
        warnings.append(f'positive class not named, so "{positive}" is taken; choose with --positive')
    schema = Schema(
        tuple(columns), label, classes, positive if len(classes) == 2 else None, tuple(missing_tokens), tuple(warnings)
    )
    check_inputs(schema)
    return schema


def check_inputs(schema: Schema) -> None:
    """Refuse a schema without a column to learn from.

    Raises:
        ValueError: With the reasons.
    """
    if not schema.inputs:
        reasons = "; ".join(f'"{column.name}": {column.reason}' for column in schema.columns)
        raise ValueError(f"no column is left to learn from ({reasons})")


def infer_columns(table: pa.Table, exclude: Sequence[str], missing: frozenset[str]) -> tuple[list[Column], list[str]]:
    """What each column is, and a sentence for each that is left out without having been asked for.

    Args:
        table: Columns to learn from.
        exclude: Columns of it to leave out.
        missing: Texts that mean "missing".

    Raises:
        ValueError: If an excluded column is absent.
    """
    columns, warnings = [], []
    for name in exclude:
        check_column(table, name)
    for name in table.column_names:
        kind, reason = _kind(table[name], missing)
        if name in exclude:
            kind, reason = "ignored", "excluded"
        if kind in ("id", "ignored") and name not in exclude:
            warnings.append(f'column "{name}" is left out: {reason}')
        notation = other_notation(table[name], missing) if kind in ("id", "category") else None
        if notation is not None:
            warnings.append(f'column "{name}" holds {notation}')
        columns.append(Column(name, kind, reason))
    return columns, warnings


def other_notation(column: pa.ChunkedArray, missing: frozenset[str]) -> str | None:
    """What to tell of a column whose texts are numbers or dates as people write them; None of others."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return None
    unique = [str(value).strip() for value in python_values(pc.unique(column)) if not _is_missing(value, missing)]
    for pattern, sentence in NOTATIONS:
        if unique and all(pattern.match(value) for value in unique):
            return sentence
    return None


def check_column(table: pa.Table, name: str) -> None:
    """Refuse a column name that the table lacks.

    Raises:
        ValueError: With the nearest name there is.
    """
    if name not in table.column_names:
        near = difflib.get_close_matches(name, table.column_names, n=1, cutoff=0.4)
        hint = f'; did you mean "{near[0]}"?' if near else f"; its columns are {_some(table.column_names)}"
        raise ValueError(f'the table has no column "{name}"{hint}')


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f'"{name}"' for name in names[:8])
    return shown if len(names) <= 8 else f"{shown}, … ({len(names)} in all)"


def label_values(table: pa.Table, label: str, missing: frozenset[str]) -> np.ndarray:
    """The label as text, "" where missing; shape [N]."""
    kind: Kind = "boolean" if pa.types.is_boolean(table[label].type) else "category"
    return column_values(table[label], kind, missing).values


def label_index(values: np.ndarray, schema: Schema) -> np.ndarray:
    """Class index of each label text, int64 [N]."""
    order = {name: position for position, name in enumerate(schema.classes)}
    return np.array([order[str(value)] for value in values], np.int64)


def label_classes(table: pa.Table, label: str, missing: frozenset[str]) -> tuple[str, ...]:
    """The sorted classes of the label.

    Raises:
        ValueError: If values are missing, there is one class, or each row has its own.
    """
    values = label_values(table, label, missing)
    gaps = int((values == "").sum())
    if gaps:
        raise ValueError(
            f'the label "{label}" is missing in {gaps:,} of {len(values):,} rows; '
            "drop those rows (in pandas: frame.dropna(subset=[label])) or fill them"
        )
    classes, counts = np.unique(values.astype(str), return_counts=True)
    if len(values) < 2:
        raise ValueError(f"the table has {len(values)} row; learning needs at least some tens of them")
    if len(classes) < 2:
        raise ValueError(f'the label "{label}" is always "{classes[0]}"; learning needs two values or more')
    if len(classes) > 100:
        notation = other_notation(table[label], missing)
        reason = "" if notation is None else f"; it holds {notation}"
        raise ValueError(
            f'the label "{label}" has {len(classes):,} distinct values; a class label has at most 100{reason}'
        )
    if counts.min() < 3:
        rare = classes[int(counts.argmin())]
        raise ValueError(
            f'the label value "{rare}" stands in {counts.min()} rows; each needs 3 or more, drop or merge it'
        )
    return tuple(str(name) for name in classes)


def _kind(column: pa.ChunkedArray, missing: frozenset[str]) -> tuple[Kind, str]:
    kind_of_type = column.type
    if pa.types.is_dictionary(kind_of_type):
        column = column.cast(kind_of_type.value_type)
        kind_of_type = column.type
    if pa.types.is_nested(kind_of_type) or pa.types.is_binary(kind_of_type):
        return "ignored", f"values of type {kind_of_type} are neither numbers nor categories"
    if pa.types.is_duration(kind_of_type) or pa.types.is_time(kind_of_type):
        return "ignored", f"values of type {kind_of_type}; give them as numbers, such as hours"
    unique = [value for value in python_values(pc.unique(column)) if not _is_missing(value, missing)]
    if not unique:
        return "ignored", "missing in every row"
    if len(unique) == 1 and not _any_missing(column, missing):
        return "ignored", f"constant: always {str(unique[0])[:40]!r}"
    if pa.types.is_boolean(kind_of_type) or _all(parse_boolean, unique, missing, text_only=True):
        return "boolean", "true and false"
    if pa.types.is_temporal(kind_of_type):
        return "timestamp", f"dates ({kind_of_type})"
    if pa.types.is_integer(kind_of_type) or pa.types.is_floating(kind_of_type) or pa.types.is_decimal(kind_of_type):
        return _number_kind(np.array([float(value) for value in unique]), len(column))
    if _all(parse_number, unique, missing):
        return _number_kind(np.array([parse_number(value, missing) for value in unique]), len(column))
    if all(_ISO_DATE.match(str(value).strip()) for value in unique):
        return "timestamp", "dates written as ISO 8601"
    if len(unique) > ID_SHARE * len(column) and len(column) >= 50:
        return "id", f"{len(unique):,} distinct texts in {len(column):,} rows: it names rows"
    return "category", f"{len(unique):,} distinct texts"


def _number_kind(values: np.ndarray, rows: int) -> tuple[Kind, str]:
    whole = bool(np.all(values == np.round(values)))
    if whole and len(values) == rows and rows >= 50 and values.max() - values.min() == rows - 1:
        return "id", "whole numbers that count the rows"
    if len(values) <= CODE_VALUES:
        return "number", f"numbers with {len(values)} distinct values: taken as number and as code"
    return "number", f"numbers, {len(values):,} distinct"


def _is_missing(value: object, missing: frozenset[str]) -> bool:
    return value is None or value != value or (isinstance(value, str) and value.strip() in missing)


def _any_missing(column: pa.ChunkedArray, missing: frozenset[str]) -> bool:
    return any(_is_missing(value, missing) for value in python_values(pc.unique(column)))


def _all(parse: object, values: list[object], missing: frozenset[str], *, text_only: bool = False) -> bool:
    for value in values:
        if text_only and not (isinstance(value, str) and value.strip().lower() in ("true", "false")):
            return False
        try:
            parse(value, missing)  # type: ignore[operator]
        except CellError:
            return False
    return True


def raw_columns(table: pa.Table, schema: Schema) -> tuple[RawColumns, list[str]]:
    """The input columns as the graph takes them, with warnings for numbers that overflow.

    Returns:
        Column name to float32 [N] (NaN is missing), float64 [N] (UTC seconds) or text objects [N] ("" is missing).

    Raises:
        ValueError: If a column is absent, or a cell does not fit its column's kind (named by row and column).
    """
    missing = frozenset(schema.missing_tokens)
    columns: RawColumns = {}
    warnings = []
    for column in schema.inputs:
        check_column(table, column.name)
        try:
            found = column_values(table[column.name], column.kind, missing)
        except CellError as error:
            raise ValueError(f'row {(error.row or 0) + 1}, column "{column.name}": {error}') from error
        columns[column.name] = found.values
        if found.overflowed:
            warnings.append(
                f'column "{column.name}": {found.overflowed:,} infinite or too large numbers count as missing'
            )
    return columns, warnings


def describe(schema: Schema, columns: RawColumns, rows: np.ndarray, rare: int = 0) -> Schema:
    """The schema with the statistics of some rows, the training rows; categories of fewer rows than `rare` unnamed."""
    described = []
    for column in schema.columns:
        if column.name not in columns:
            described.append(column)
            continue
        values = columns[column.name][rows]
        described.append(_described(column, values, rare))
    return schema.with_columns(described)


def _described(column: Column, values: np.ndarray, rare: int) -> Column:
    if values.dtype == object:
        names, counts = np.unique(values[values != ""].astype(str), return_counts=True)
        order = np.lexsort((names, -counts))
        categories = {str(names[i]): int(counts[i]) for i in order if counts[i] >= rare}
        gaps = int((values == "").sum())
        return Column(column.name, column.kind, column.reason, gaps, len(names), categories, None)
    known = values[~np.isnan(values)]
    quantiles = np.quantile(known, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1]) if len(known) else np.zeros(7)
    return Column(
        column.name,
        column.kind,
        column.reason,
        int(np.isnan(values).sum()),
        len(np.unique(known)),
        None,
        [float(value) for value in quantiles],
        column.is_quantity,
    )
