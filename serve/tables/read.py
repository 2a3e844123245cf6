"""Any table that `ludocast score` takes, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ludocast.datamodules.read import check_file
from ludocast.serve.tables.csv_read import open_csv
from ludocast.serve.tables.formats import STREAM
from ludocast.serve.tables.json_read import open_json
from ludocast.serve.tables.parquet_read import open_parquet, parquet_files
from ludocast.serve.tables.plain import plain_file
from ludocast.serve.tables.source import Reading, Source

_READERS = {"csv": open_csv, "parquet": open_parquet, "jsonl": open_json}


@contextmanager
def open_table(path: Path, kind: str, reading: Reading, folder: Path) -> Iterator[Source]:
    """A table.

    Args:
        path: Of a file or a folder of Parquet files; `STREAM` for standard input.
        kind: One of `FORMATS`.
        reading: How.
        folder: That may be made for what has to be unpacked; it is removed at the end.

    Raises:
        ValueError: If it is no such table, with what to do about it.
    """
    if path != STREAM and not path.is_dir():
        check_file(path)
    with plain_file(path, kind, folder) as (plain, plain_kind), _READERS[plain_kind](plain, reading) as source:
        yield source


def table_files(path: Path) -> list[Path]:
    """The files that a table consists of; none of standard input.

    Raises:
        ValueError: If there is none, or one is empty.
    """
    return [] if path == STREAM else parquet_files(path)
