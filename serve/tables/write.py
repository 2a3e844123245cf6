"""Tables of one schema written some rows at a time; the same rows in the same portions give the same bytes."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import orjson
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from ludocast.datamodules.errors import first_line
from ludocast.serve.tables.excel_write import ExcelWriter
from ludocast.serve.tables.formats import is_packed


class Writer(Protocol):
    """What takes the rows of a table."""

    def write(self, table: pa.Table) -> None:
        """Append some rows.

        Raises:
            ValueError: If the format cannot hold them.
        """

    def close(self) -> None:
        """Finish the table; the file stays open."""


def table_writer(file: BinaryIO, kind: str, path: Path) -> Writer:
    """The writer of a format.

    Args:
        file: That it writes to, once and from begin to end.
        kind: One of `FORMATS`.
        path: That the file will have, which tells whether it is compressed.
    """
    if kind == "parquet":
        return ParquetWriter(file)
    if kind == "xlsx":
        return ExcelWriter(file)
    return TextWriter(file, _csv_rows if kind == "csv" else _json_rows, kind == "csv", is_packed(path))


class ParquetWriter:
    """Parquet, a row group a portion."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._writer: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        """See `Writer.write`."""
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        """See `Writer.close`."""
        if self._writer is not None:
            self._writer.close()


class TextWriter:
    """CSV or JSON Lines, compressed or not.

    Args:
        file: That it writes to.
        rows: From a table to the bytes of its rows.
        has_header: Whether a line of names stands before them.
        packed: Whether gzip compresses them.
    """

    def __init__(self, file: BinaryIO, rows: Any, has_header: bool, packed: bool) -> None:
        # Neither a time nor a name: the same rows are the same bytes.
        self._packed = gzip.GzipFile("", "wb", 6, file, mtime=0) if packed else None
        self._file = cast(BinaryIO, self._packed) if self._packed is not None else file
        self._rows = rows
        self._needs_header = has_header

    def write(self, table: pa.Table) -> None:
        """See `Writer.write`."""
        if self._needs_header:
            self._file.write(csv_line(table.schema.names))
            self._needs_header = False
        self._file.write(self._rows(table))

    def close(self) -> None:
        """See `Writer.close`."""
        if self._packed is not None:
            self._packed.close()


def csv_line(cells: Sequence[object]) -> bytes:
    """A line of CSV."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode()


def _csv_rows(table: pa.Table) -> pa.Buffer:
    """Rows as CSV, quoted where a cell of the portion needs it."""
    for style in ("none", "needed"):
        sink = pa.BufferOutputStream()
        try:
            pacsv.write_csv(table, sink, pacsv.WriteOptions(include_header=False, quoting_style=style))
        except pa.ArrowInvalid as error:
            if style == "needed":
                raise _no_csv(error) from error
            continue  # a cell holds a comma, a quote or a line break
        except pa.ArrowNotImplementedError as error:
            raise _no_csv(error) from error
        return sink.getvalue()
    raise AssertionError("one of the styles returns or raises")


def _no_csv(error: Exception) -> ValueError:
    what = first_line(error)
    return ValueError(f"CSV cannot hold this table: {what}; write .parquet, or name the columns to keep with --keep")


def _json_rows(table: pa.Table) -> bytes:
    return b"".join(orjson.dumps(row, default=str, option=orjson.OPT_APPEND_NEWLINE) for row in table.to_pylist())
