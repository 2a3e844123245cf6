"""A player's rows taken out of tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from ludocast.datamodules.read import LONGEST_CELL
from ludocast.datamodules.whole_files import replacing, sync_file
from ludocast.serve.tables.formats import format_of
from ludocast.serve.tables.read import open_table
from ludocast.serve.tables.source import Reading
from ludocast.serve.tables.write import csv_line, table_writer

_BAD_ROWS = ".bad_rows.csv"


def purge_files(files: Mapping[Path, Reading], column: str, value: str) -> dict[str, Any]:
    """Write tables anew without the rows in which a column has a value, compared as text; CSV as UTF-8 with commas.

    Lines that no row can be made of go too, and so does a table that cannot be read: nobody can say whose they are.

    Args:
        files: Tables and how they are read; each is replaced when its new one is whole.
        column: Such as that of players' ids.
        value: That is sought.

    Returns:
        "rows", how many were taken out; "without_column" and "removed", how many tables have no such column and how
        many could not be read.
    """
    told = {"rows": 0, "without_column": 0, "removed": 0}
    for path, reading in files.items():
        try:
            is_side = path.name.endswith(_BAD_ROWS)
            found = _purge_side_file(path, column, value) if is_side else _purge(path, reading, column, value)
        except (ValueError, pa.ArrowException):
            path.unlink()
            told["removed"] += 1
        else:
            told["rows"] += max(found, 0)
            told["without_column"] += found < 0
    return told


def _purge(path: Path, reading: Reading, column: str, value: str) -> int:
    """How many rows were taken out; -1 where there is no such column."""
    kind, made, taken = format_of(path), path.with_name(f"{path.name}.purged"), 0
    try:
        with open_table(path, kind, reading, path.with_name("purge")) as source, made.open("wb") as file:
            if column not in source.names:
                return -1
            writer = table_writer(file, kind, path)
            for _, chunk in source.chunks:
                table = pa.Table.from_batches([chunk])
                is_theirs = pc.fill_null(pc.equal(table[column].cast(pa.string()), value), False)
                kept = table.filter(pc.invert(is_theirs))
                taken += table.num_rows - kept.num_rows
                writer.write(kept)
            writer.close()
            sync_file(file)
        if taken or source.broken:
            made.replace(path)
    finally:
        made.unlink(missing_ok=True)
    return taken


def _purge_side_file(path: Path, column: str, value: str) -> int:
    taken = 0
    csv.field_size_limit(LONGEST_CELL * 64)
    with path.open(encoding="utf-8", newline="") as file, replacing(path) as output:
        for number, cells in enumerate(csv.reader(file)):
            if number and _is_theirs(cells[-1], column, value):
                taken += 1
            else:
                output.write(csv_line(cells))
    return taken


def _is_theirs(values: str, column: str, value: str) -> bool:
    """Of a line that no row could be made of, whether the value is in it at all."""
    try:
        record = json.loads(values)
    except ValueError:
        return value in values
    found = record.get(column) if isinstance(record, dict) else values
    return str(found) == value if isinstance(record, dict) else value in values
