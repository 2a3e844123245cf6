"""JSON Lines, some rows at a time: a record a line.

The file is read twice: first for the columns that there are and what their cells hold, so that every chunk has the
same types.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from ludocast.datamodules.read import check_file
from ludocast.serve.tables.source import Broken, Reading, Source

MOST_COLUMNS = 10_000
LONGEST_LINE = 64 << 20  # bytes
_LARGEST = 1 << 63
_SIMPLE = {str: "text", bool: "boolean", float: "number", type(None): "nothing", dict: "object", list: "list"}
Kinds = dict[str, set[str]]


@contextmanager
def open_json(path: Path, reading: Reading) -> Iterator[Source]:
    """The table of a file of JSON Lines.

    A column of one type keeps it; whole numbers and others together are numbers; any other mixture is text, as it is to
    the scorer too.

    Raises:
        ValueError: With the line, if one is no JSON object.
    """
    check_file(path)
    broken: list[Broken] = []
    kinds: Kinds = {}
    rows = 0
    for record in _records(path, broken if reading.leave_out else None):
        rows += 1
        for name, value in record.items():
            kinds.setdefault(name, set()).add(_kind(value))
        if len(kinds) > MOST_COLUMNS:
            raise ValueError(f"{path} has more than {MOST_COLUMNS:,} columns; is each line a record?")
    if not kinds:
        raise ValueError(f'{path} holds no record; JSON Lines have one a line, such as {{"level": 3}}')
    types = {name: _type(found) for name, found in kinds.items()}
    done = [0]
    chunks = _chunks(path, types, reading, done)
    yield Source(list(types), chunks, rows, lambda: done[0] / max(rows, 1), broken)


def _records(path: Path, broken: list[Broken] | None) -> Iterator[dict[str, Any]]:
    number = 0
    with path.open("rb") as file:
        while line := file.readline(LONGEST_LINE):
            if line.isspace():
                continue
            number += 1
            try:
                record = orjson.loads(line)
                reason = "" if isinstance(record, dict) else "no object of names and values"
            except orjson.JSONDecodeError as error:
                record, reason = None, f"no JSON: {error}"
            if not reason:
                yield record
            elif broken is None:
                raise ValueError(f"{path}, row {number}: {reason}; JSON Lines have a record a line")
            else:
                broken.append(Broken(number, reason, line.decode(errors="replace").rstrip("\r\n")))


def _kind(value: Any) -> str:
    if type(value) is list:
        return "list of " + ",".join(sorted(set(map(_cell_kind, value))))
    return _cell_kind(value)


def _cell_kind(value: Any) -> str:
    if type(value) is int:
        return "whole" if -_LARGEST <= value < _LARGEST else "number"
    return _SIMPLE[type(value)]


def _type(kinds: set[str]) -> pa.DataType:
    found = kinds - {"nothing"}
    if found and all(kind.startswith("list of ") for kind in found):
        inner = {one for kind in found for one in kind.removeprefix("list of ").split(",") if one}
        return pa.string() if "list" in inner else pa.list_(_type(inner))
    if found == {"whole"}:
        return pa.int64()
    if found and found <= {"whole", "number"}:
        return pa.float64()
    return pa.bool_() if found == {"boolean"} else pa.string()


def _chunks(
    path: Path, types: dict[str, pa.DataType], reading: Reading, done: list[int]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    held: list[dict[str, Any]] = []
    for record in _records(path, [] if reading.leave_out else None):
        held.append(record)
        if len(held) == reading.chunk_rows:
            done[0] += len(held)
            yield 0, _batch(held, types)
            held = []
    if held:
        done[0] += len(held)
        yield 0, _batch(held, types)


def _batch(records: list[dict[str, Any]], types: dict[str, pa.DataType]) -> pa.RecordBatch:
    columns = []
    for name, kind in types.items():
        values = [record.get(name) for record in records]
        if kind == pa.string():
            values = [value if value is None or type(value) is str else _text(value) for value in values]
        elif kind == pa.list_(pa.string()):
            values = [None if row is None else [_element(value) for value in row] for row in values]
        columns.append(pa.array(values, kind))
    return pa.RecordBatch.from_arrays(columns, list(types))


def _element(value: Any) -> str | None:
    return value if value is None or type(value) is str else _text(value)


def _text(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError as error:  # more than 254 levels
        raise ValueError("a cell is nested too deeply; give texts, numbers and lists of them") from error
