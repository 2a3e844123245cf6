"""CSV, some rows at a time; every cell stays the text it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from ludocast.datamodules.read import (
    LONGEST_CELL,
    check_end,
    check_file,
    check_names,
    csv_error,
    csv_header,
    csv_options,
)
from ludocast.serve.tables.source import Broken, Reading, Source

BLOCK_BYTES = 8 << 20  # of CSV read at once; memory follows it


@contextmanager
def open_csv(path: Path, reading: Reading) -> Iterator[Source]:
    """The table of a CSV file.

    Raises:
        ValueError: With the line, if it is broken.
    """
    check_file(path)
    names, delimiter = csv_header(path, reading.encoding, reading.delimiter)
    check_names(names, path)
    broken: list[Broken] = []
    options: dict[str, Any] = csv_options(names, delimiter, reading.encoding, BLOCK_BYTES)
    if reading.leave_out:
        options["parse_options"].invalid_row_handler = lambda row: _left_out(row, broken)
    size = path.stat().st_size
    try:
        with pacsv.open_csv(path, **options) as reader:
            if reader.schema.names != names:
                raise ValueError(f"{path} has a header line that is no plain CSV; mend its quotes")
            done = [0]
            chunks = _chunks(reader, path, reading, delimiter, done)
            yield Source(names, chunks, None, lambda: min(done[0] / size, 1.0), broken)
    except (pa.ArrowInvalid, UnicodeError) as error:
        raise csv_error(path, error, reading.encoding, delimiter) from error


def _left_out(row: Any, broken: list[Broken]) -> str:
    reason = f"{row.actual_columns} cells, not {row.expected_columns}"
    broken.append(Broken(row.number - 1, reason, row.text))  # the header is the reader's first row
    return "skip"


def _chunks(
    reader: pacsv.CSVStreamingReader, path: Path, reading: Reading, delimiter: str, done: list[int]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    rows, last = 0, None
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            check_end(path, last)
            return
        except (pa.ArrowInvalid, UnicodeError) as error:
            raise csv_error(path, error, reading.encoding, delimiter) from error
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            # Few columns of a block have as many bytes at all.
            if column.nbytes > LONGEST_CELL and pc.max(pc.binary_length(column)).as_py() > LONGEST_CELL:
                row = rows + pc.index(pc.greater(pc.binary_length(column), LONGEST_CELL), value=True).as_py()
                raise ValueError(
                    f'row {row + 1}, column "{name}": a cell of more than {LONGEST_CELL:,} bytes; is a quote left open?'
                )
        for start in range(0, batch.num_rows, reading.chunk_rows):
            chunk = batch.slice(start, reading.chunk_rows)
            done[0] += _text_bytes(chunk)
            yield 0, chunk
        rows += batch.num_rows
        last = batch.columns[-1][-1].as_py() if batch.num_rows else last


def _text_bytes(chunk: pa.RecordBatch) -> int:
    """Of the lines, about: cells and what stands between them, without quotes. The reader itself is far ahead."""
    offsets = 4 * (chunk.num_rows + 1)
    size: int = sum(column.nbytes - offsets for column in chunk.columns) + chunk.num_rows * chunk.num_columns
    return size
