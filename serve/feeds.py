"""From rows, columns or a table to the model's input tensors; the meaning of a cell is that of `datamodules.cells`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
from ludocast.datamodules.cells import (
    FLOAT32_LIMIT,
    READERS,
    CellError,
    ColumnValues,
    column_values,
    missing_numbers,
    parse_values,
)
from ludocast.serve.manifest import Input

BATCH_ROWS = 512  # rows the model takes at once: what it computes in between stays in the processor's cache
FEW_ROWS = 24  # up to here cell by cell is faster than column by column
_GROUPS = ("float32", "float64", "string")
_NUMPY = {"float32": np.float32, "float64": np.float64, "string": object}
_QUICK_NUMBERS = frozenset({float, int})
_KNOWN_TEXTS, _KNOWN_LENGTH = 1000, 100  # texts of one column whose meaning is remembered
_PLAIN_TYPES = ({str}, {int}, {float}, {bool})
Reader = Callable[[object, frozenset[str]], Any]


class RowError(ValueError):
    """A row that the model cannot be asked about.

    Args:
        row: From 1.
        column: In which the reason lies, "" where in several.
        reason: What is wrong.
    """

    def __init__(self, row: int, column: str, reason: str) -> None:
        super().__init__(f'row {row}, column "{column}": {reason}' if column else f"row {row}: {reason}")
        self.row = row
        self.column = column
        self.reason = reason

    def __reduce__(self) -> tuple[type[RowError], tuple[int, str, str]]:
        """Between processes."""
        return RowError, (self.row, self.column, self.reason)


@dataclass
class Feeds:
    """Input tensors of N rows.

    Attributes:
        tensors: Tensor name to [N, 1]: float32 and float64 (NaN is missing) or objects of str ("" is missing).
        overflowed: Column to how many of its numbers were infinite or too large, and count as missing.
        unknown: Columns that the model does not read.
        blocks: The same tensors, those of a type in one array [columns, N, 1], in the order of `by_type`; none where
            they were read one by one.
    """

    tensors: dict[str, np.ndarray[Any, Any]]
    rows: int
    overflowed: dict[str, int] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    blocks: Sequence[np.ndarray[Any, Any]] = ()

    def batches(self) -> Iterator[tuple[slice, dict[str, np.ndarray[Any, Any]]]]:
        """Which rows, and their tensors."""
        for start in range(0, self.rows, BATCH_ROWS):
            rows = slice(start, start + BATCH_ROWS)
            yield rows, {name: values[rows] for name, values in self.tensors.items()}


class FeedReader:
    """Reads cells for the inputs of one model.

    Args:
        inputs: In the bundle's order.
        missing_tokens: Texts that mean "missing".
    """

    def __init__(self, inputs: Sequence[Input], missing_tokens: Iterable[str]) -> None:
        self.inputs = tuple(inputs)
        self.missing = frozenset(missing_tokens)
        self._columns = frozenset(item.column for item in inputs)
        # Grouped by type: then the cells of a row become one array a type.
        ordered = by_type(inputs)
        self._ordered = [item.column for item in ordered]
        self._tensors = [item.tensor for item in ordered]
        self._readers = [_reader(item.kind, self.missing) for item in ordered]
        self._sizes = [sum(item.dtype == group for item in ordered) for group in _GROUPS]
        getter = itemgetter(*self._ordered)
        self._values: Callable[[Mapping[str, object]], tuple[Any, ...]] = (
            getter if len(ordered) > 1 else lambda row: (getter(row),)
        )

    def from_rows(self, rows: Sequence[Mapping[str, object]]) -> Feeds:
        """Tensors of records, each with a value (null where missing) for every column.

        Raises:
            ValueError: With row and column, if a cell is absent or does not fit.
        """
        if not rows:
            return self.from_columns({item.column: () for item in self.inputs})
        try:
            cells = [self._values(row) for row in rows]
        except (KeyError, TypeError, IndexError):
            raise refused_rows(self.inputs, rows) from None
        feeds = self._few(rows, cells) if len(rows) <= FEW_ROWS else self._many(cells)
        if not all(type(row) is dict or isinstance(row, Mapping) for row in rows):  # such as pandas Series
            raise refused_rows(self.inputs, rows)
        known = self._columns
        if any(not row.keys() <= known for row in rows):
            feeds.unknown = [name for name in dict.fromkeys(chain.from_iterable(rows)) if name not in known]
        return feeds

    def from_columns(self, columns: Mapping[str, Any], first_row: int = 0) -> Feeds:
        """Tensors of columns: Arrow arrays, numpy arrays, or sequences, all of one length.

        Args:
            columns: Column name to its cells.
            first_row: Number of rows before these, for the row in an error.

        Raises:
            ValueError: If a column is absent, or with row and column if a cell does not fit.
        """
        self.check_columns(list(columns))
        feeds = Feeds({}, -1, unknown=[name for name in columns if name not in self._columns])
        for item in self.inputs:
            found = self._column(columns[item.column], item, first_row)
            if feeds.rows not in (-1, len(found.values)):
                raise uneven_columns(item.column, len(found.values), self.inputs[0].column, feeds.rows)
            feeds.rows = len(found.values)
            feeds.tensors[item.tensor] = found.values.reshape(-1, 1)
            if found.overflowed:
                feeds.overflowed[item.column] = found.overflowed
        return feeds

    def check_columns(self, names: Sequence[object]) -> None:
        """Refuse a table without one of the columns.

        Raises:
            ValueError: With the nearest name there is.
        """
        check_columns(self.inputs, names)

    def _column(self, values: Any, item: Input, first_row: int) -> ColumnValues:
        try:
            return any_values(values, item.kind, self.missing)
        except CellError as error:
            raise refused_cell(item, error, first_row) from None

    def _few(self, rows: Sequence[Mapping[str, object]], cells: list[tuple[Any, ...]]) -> Feeds:
        missing = self.missing
        try:
            read = [[reader(value, missing) for reader, value in zip(self._readers, row, strict=True)] for row in cells]
        except CellError:
            raise self._first_error(rows) from None
        feeds, tensors, start = Feeds({}, len(rows)), [], 0
        for group, size in zip(_GROUPS, self._sizes, strict=True):
            if size:
                stop = start + size
                part = [row[start:stop] for row in read]
                if group != "string":
                    self._drop_infinite(part, start, feeds.overflowed)
                tensors.append(_transposed(part, group))
                start = stop
        feeds.blocks = tensors
        feeds.tensors = dict(zip(self._tensors, chain.from_iterable(tensors), strict=True))
        return feeds

    def _drop_infinite(self, part: list[list[float]], start: int, overflowed: dict[str, int]) -> None:
        for row in part:
            if math.inf in row or -math.inf in row:
                for position, number in enumerate(row):
                    if math.isinf(number):
                        row[position] = math.nan
                        column = self._ordered[start + position]
                        overflowed[column] = overflowed.get(column, 0) + 1

    def _many(self, cells: list[tuple[Any, ...]]) -> Feeds:
        return self.from_columns(dict(zip(self._ordered, zip(*cells, strict=True), strict=True)))

    def _first_error(self, rows: Sequence[Mapping[str, object]]) -> ValueError:
        for number, row in enumerate(rows, 1):
            for item in self.inputs:
                try:
                    READERS[item.kind](row[item.column], self.missing)
                except CellError as error:
                    return RowError(number, item.column, str(error))
        raise AssertionError("a cell that was refused is accepted now")


def by_type(inputs: Sequence[Input]) -> list[Input]:
    """Numbers, then times, then texts."""
    return sorted(inputs, key=lambda item: _GROUPS.index(item.dtype))


def refused_cell(item: Input, error: CellError, first_row: int) -> ValueError:
    """The error for a cell of a column, or for the column as a whole.

    Args:
        item: Of the column.
        error: With the row, if it is of one.
        first_row: Number of rows before those of the column.
    """
    if error.row is None:
        return ValueError(f'column "{item.column}": {error}')
    return RowError(first_row + error.row + 1, item.column, str(error))


def check_columns(inputs: Sequence[Input], names: Sequence[object]) -> None:
    """Refuse a table without one of the columns.

    Raises:
        ValueError: With the nearest name there is.
    """
    there = set(names)
    for item in inputs:
        if item.column not in there:
            raise ValueError(absent_column(item.column, names))


def refused_rows(inputs: Sequence[Input], rows: Sequence[Any]) -> ValueError:
    """The sentence for the first row that is no record, or has not all columns."""
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            text = f"expected a record of column names and values, got {type(row).__name__}"
            return ValueError(f"row {number}: {text}")
        for item in inputs:
            if item.column not in row:
                return ValueError(f"row {number}: {absent_column(item.column, list(row))}")
    raise AssertionError("a row that was refused is accepted now")


def uneven_columns(column: str, found: int, other: str, wanted: int) -> ValueError:
    """The error for a column that is longer or shorter than another one."""
    return ValueError(
        f'column "{column}" has {found} rows, column "{other}" has {wanted}; give every column the same number of rows'
    )


def absent_column(column: str, names: Sequence[object]) -> str:
    """The sentence for an absent column, with the nearest name there is."""
    by_folded = {str(name).strip().casefold(): str(name) for name in names}
    near = difflib.get_close_matches(column.strip().casefold(), by_folded, n=1, cutoff=0.6)
    hint = f'; is it "{by_folded[near[0]]}"?' if near else "; give it, with null where a value is missing"
    return f'column "{column}" is absent{hint}'


def any_values(values: Any, kind: str, missing: frozenset[str]) -> ColumnValues:
    """A column of any make.

    Raises:
        CellError: With the row of the first cell that does not fit.
    """
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return column_values(values, kind, missing)
    if type(values).__module__.partition(".")[0] == "pandas":
        return any_values(_from_pandas(values), kind, missing)
    if type(values) is np.ndarray and values.ndim == 1 and values.dtype.kind in "biufM":
        try:
            return column_values(pa.array(values), kind, missing)
        except pa.ArrowNotImplementedError:  # long doubles, swapped bytes, times in hours
            pass
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Sequence):
        raise CellError(f"expected a list of values, got {type(values).__name__}")
    return _list_values(values, kind, missing)


def _from_pandas(series: Any) -> Any:
    if series.dtype != object:
        try:
            array = pa.Array.from_pandas(series)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            return series.tolist()
        # What Arrow stores of a period, say, is not what it means.
        if not isinstance(array.type, pa.BaseExtensionType):
            return array
    return series.tolist()


def _list_values(values: Sequence[object], kind: str, missing: frozenset[str]) -> ColumnValues:
    # Arrow takes cells of one Python type as they are, and is several times as fast for many of them.
    types = set(map(type, values)) - {type(None)}
    wanted = pa.float64() if kind == "number" and types == {int, float} else None
    if wanted is not None or types in _PLAIN_TYPES:
        try:
            return column_values(pa.array(values, wanted), kind, missing)
        except (pa.ArrowInvalid, UnicodeError, OverflowError):  # huge integers, half a surrogate pair
            pass
    return parse_values(values, kind, missing)


def _transposed(rows: list[list[Any]], group: str) -> np.ndarray[Any, Any]:
    """[columns, N, 1] of N rows, one after the other in memory."""
    cells = np.array(rows, _NUMPY[group])
    if len(rows) > 1:
        cells = np.ascontiguousarray(cells.T)
    return cells.reshape(-1, len(rows), 1)


def _reader(kind: str, missing: frozenset[str]) -> Reader:
    """The same as `READERS[kind]`, quicker for the usual cell of a record."""
    read = READERS[kind]
    if kind == "number" and not missing_numbers(missing):

        def read_number(value: Any, missing: frozenset[str]) -> Any:
            if type(value) in _QUICK_NUMBERS and -FLOAT32_LIMIT < value < FLOAT32_LIMIT:
                return value  # the array rounds to float32
            return read(value, missing)

        return read_number
    if kind in ("category", "boolean"):
        known: dict[str, str] = {}

        def read_text(value: Any, missing: frozenset[str]) -> Any:
            if type(value) is not str:
                return read(value, missing)
            if value in known:
                return known[value]
            found = read(value, missing)
            if len(known) < _KNOWN_TEXTS and len(value) < _KNOWN_LENGTH:
                known[value] = found
            return found

        return read_text
    return read
