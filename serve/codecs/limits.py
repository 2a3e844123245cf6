"""How much one request may hold, whatever protocol it speaks; what is more is for `ludocast score`, or jobs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ludocast.serve.http.message import RefusedError
from ludocast.serve.manifest import Manifest

MOST_DEPTH = 16  # lists and objects within each other; records of events have five
MOST_MORE_COLUMNS = 1_000  # than the model reads
MOST_TEXT = 1 << 16  # characters of a cell that is no list and no text of words
MOST_NAME = 1_000  # characters of a column's name

_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


def check_depth(body: bytes) -> None:
    """Refuse a JSON document of lists in lists in lists, before it is read.

    Raises:
        RefusedError: 400.
    """
    if body.count(b"[") + body.count(b"{") <= MOST_DEPTH:
        return
    # Brackets in texts count as well at first; where that makes it too deep the texts are left out.
    if _depth(body) > MOST_DEPTH and _depth(_TEXT.sub(b"", body)) > MOST_DEPTH:
        raise RefusedError(400, f"the body has more than {MOST_DEPTH} lists or objects within each other; send it flat")


def _depth(body: bytes) -> int:
    brackets = np.frombuffer(body.translate(None, _NO_BRACKETS), np.uint8)
    steps = np.where((brackets == ord("[")) | (brackets == ord("{")), 1, -1)
    return int(np.cumsum(steps, dtype=np.int64).max(initial=0))


def check_records(rows: Sequence[Mapping[str, Any]], manifest: Manifest, size: int) -> None:
    """Refuse records of too many columns, or with too long a text.

    Args:
        rows: Of a request.
        manifest: Of the model.
        size: Bytes of the body; in a small one nothing is too long.

    Raises:
        RefusedError: 413, with row and column.
    """
    usual = len(manifest.inputs)
    most = usual + MOST_MORE_COLUMNS
    for number, row in enumerate(rows, 1):
        if len(row) > most:
            raise _too_many(len(row), most, f"row {number}: ")
        if size > MOST_NAME and len(row) != usual:  # else there is no room for a name that the model does not read
            _check_names(row, f"row {number}: ")
    if size > MOST_TEXT:
        names = [item.column for item in manifest.inputs if item.form == "cell"]
        for number, row in enumerate(rows, 1):
            for name in names:
                _check_text(row.get(name), number, name)


def check_columns(columns: Mapping[str, Any], manifest: Manifest, size: int) -> None:
    """The same of columns.

    Raises:
        RefusedError: 413, with row and column.
    """
    most = len(manifest.inputs) + MOST_MORE_COLUMNS
    if len(columns) > most:
        raise _too_many(len(columns), most, "")
    if size > MOST_NAME:
        _check_names(columns, "")
    if size > MOST_TEXT:
        for item in manifest.inputs:
            cells = columns.get(item.column)
            if item.form == "cell" and isinstance(cells, (list, tuple)):
                for number, cell in enumerate(cells, 1):
                    _check_text(cell, number, item.column)


def _too_many(count: int, most: int, where: str) -> RefusedError:
    return RefusedError(413, f"{where}{count:,} columns; send at most {most:,}, those that the model reads suffice")


def _check_names(names: Iterable[str], where: str) -> None:
    longest = max(map(len, names), default=0)
    if longest > MOST_NAME:
        raise RefusedError(413, f"{where}a column's name has {longest:,} characters; send at most {MOST_NAME:,}")


def _check_text(cell: object, row: int, column: str) -> None:
    if type(cell) is str and len(cell) > MOST_TEXT:
        sentence = f'row {row}, column "{column}": a text of {len(cell):,} characters; send at most {MOST_TEXT:,}'
        raise RefusedError(413, sentence)
