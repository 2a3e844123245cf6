"""A column of lists of any make as one flat column and the length of each list."""

# N rows, S values of all of them

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from ludocast.datamodules.cells import CellError, ColumnValues, is_null, parse_values, python_values
from ludocast.serve.feeds import any_values
from ludocast.serve.manifest import Input

FEW_VALUES = 200  # up to here one by one is as fast as by way of Arrow


@dataclass(frozen=True)
class RaggedValues:
    """Lists, end to end.

    Attributes:
        values: [S], as of `ColumnValues`.
        lengths: int64 [N].
        overflowed: How many numbers were infinite or too large, and count as missing.
    """

    values: np.ndarray[Any, Any]
    lengths: np.ndarray[Any, Any]
    overflowed: int = 0


def ragged_values(values: Any, item: Input, missing: frozenset[str], line_end: str | None = None) -> RaggedValues:
    """Read a column of lists.

    A missing cell is an empty list. A text is a JSON array, as CSV has it, or of form "words" the words between its
    blanks, with `line_end` after each line but the last.

    Args:
        values: Arrow array, or a sequence, of lists or texts.
        item: What the values of a list are.
        missing: Texts that mean "missing".
        line_end: Word put for the end of a line; None for none.

    Raises:
        CellError: With the row of the first cell that does not fit.
    """
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if isinstance(values, pa.Array) and _is_list(values.type):
        lengths = np.asarray(pc.list_value_length(values).fill_null(0).to_numpy(zero_copy_only=False), np.int64)
        return _flat(values.flatten(), lengths, item, missing)
    if isinstance(values, pa.Array):
        values = python_values(values)
    if hasattr(values, "tolist"):  # numpy and pandas
        values = values.tolist()
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise CellError(f"expected a list of lists, got {type(values).__name__}")
    lists = []
    for row, cell in enumerate(values):
        try:
            lists.append(_as_list(cell, item, line_end))
        except CellError as error:
            raise CellError(str(error), row) from None
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    return _flat(list(chain.from_iterable(lists)), lengths, item, missing)


def flat_values(values: Any, kind: str, missing: frozenset[str]) -> ColumnValues:
    """As `any_values`, the quicker way for a few.

    Raises:
        CellError: With the row of the first cell that does not fit.
    """
    is_few = isinstance(values, list) and len(values) <= FEW_VALUES
    return parse_values(values, kind, missing) if is_few else any_values(values, kind, missing)


def _flat(values: Any, lengths: np.ndarray[Any, Any], item: Input, missing: frozenset[str]) -> RaggedValues:
    try:
        found = flat_values(values, item.kind, missing)
    except CellError as error:
        if error.row is None:
            raise
        end = np.cumsum(lengths)
        row = int(np.searchsorted(end, error.row, side="right"))
        step = error.row - int(end[row] - lengths[row])
        raise CellError(f"step {step + 1}: {error}", row) from None
    return RaggedValues(found.values, lengths, found.overflowed)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _as_list(cell: object, item: Input, line_end: str | None) -> Sequence[object]:
    if isinstance(cell, (list, tuple)):
        return cell
    if isinstance(cell, np.ndarray) and cell.ndim == 1:
        # As whole numbers of nanoseconds times would be taken for seconds.
        found: list[object] = (cell.astype("datetime64[us]") if cell.dtype.kind == "M" else cell).tolist()
        return found
    if is_null(cell):
        return ()
    if isinstance(cell, str):
        return _words(cell, line_end) if item.form == "words" else _json_list(cell)
    raise CellError(f"expected a list, got {type(cell).__name__}")


def _words(text: str, line_end: str | None) -> list[str]:
    if line_end is None:
        return text.split()
    lines = [line.split() for line in text.split("\n")]
    ended = [[*words, line_end] for words in lines[:-1] if words]
    return [*chain.from_iterable(ended), *lines[-1]]


def _json_list(text: str) -> Sequence[object]:
    if not text.strip():
        return ()
    try:
        found = orjson.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list):
        shown = text if len(text) <= 40 else text[:39] + "…"
        raise CellError(f"expected a list, in text a JSON array such as [1, null], got {shown!a}")
    return found
