"""A player's rows taken out of tables."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from ludocast.datamodules.read import LONGEST_CELL
from ludocast.serve.tables.formats import format_of
from ludocast.serve.tables.read import open_table
from ludocast.serve.tables.source import Reading
from ludocast.serve.tables.write import csv_line, table_writer

_BAD_ROWS = ".bad_rows.csv"


def purge_files(files: Sequence[Path], column: str, value: str) -> dict[str, Any]:
    """Write tables anew without the rows in which a column has a value, compared as text.

    Args:
        files: Tables, each replaced when its new one is whole.
        column: Such as that of players' ids.
        value: That is sought.

    Returns:
        "rows", how many were taken out, and "without_column", how many tables have no such column.

    Raises:
        ValueError: If a table cannot be read.
    """
    rows = absent = 0
    for file in files:
        found = _purge_side_file(file, column, value) if file.name.endswith(_BAD_ROWS) else _purge(file, column, value)
        rows += max(found, 0)
        absent += found < 0
    return {"rows": rows, "without_column": absent}


def _purge(path: Path, column: str, value: str) -> int:
    """How many rows were taken out; -1 where there is no such column."""
    kind, made, taken = format_of(path), path.with_name(f"{path.name}.purged"), 0
    try:
        with (
            open_table(path, kind, Reading(leave_out=True), path.with_name("purge")) as source,
            made.open("wb") as file,
        ):
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
            file.flush()
            os.fsync(file.fileno())
        if taken:
            made.replace(path)
    finally:
        made.unlink(missing_ok=True)
    return taken


def _purge_side_file(path: Path, column: str, value: str) -> int:
    made, taken = path.with_name(f"{path.name}.purged"), 0
    csv.field_size_limit(LONGEST_CELL * 64)
    with path.open(encoding="utf-8", newline="") as file, made.open("wb") as output:
        for number, cells in enumerate(csv.reader(file)):
            if number and _is_theirs(cells[-1], column, value):
                taken += 1
            else:
                output.write(csv_line(cells))
        output.flush()
        os.fsync(output.fileno())
    made.replace(path)
    return taken


def _is_theirs(values: str, column: str, value: str) -> bool:
    """Of a line that no row could be made of, whether the value is in it at all."""
    try:
        record = json.loads(values)
    except ValueError:
        return value in values
    found = record.get(column) if isinstance(record, dict) else values
    return str(found) == value if isinstance(record, dict) else value in values
