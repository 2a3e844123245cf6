"""Where the rows of a run go: a file, a folder like the input's, standard output; and bad rows to a file beside it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import orjson
import pyarrow as pa
from ludocast.datamodules.whole_files import sync_file
from ludocast.serve.tables.write import Writer, csv_line, table_writer


class Output:
    """Tables of one schema, a file for each part.

    Args:
        files: The file of each part; none where all goes to standard output.
        kind: One of `FORMATS`.
        name: That the output will have, which tells whether it is compressed.
    """

    def __init__(self, files: Sequence[Path], kind: str, name: Path) -> None:
        self._files = files
        self._kind = kind
        self._name = name
        self._part = -1
        self._file: BinaryIO | None = None
        self._writer: Writer | None = None

    def write(self, part: int, table: pa.Table) -> None:
        """Append some rows; parts come in order."""
        if part != self._part or self._writer is None:
            self.close()
            self._part = part
            self._file = self._opened(part)
            self._writer = table_writer(self._file, self._kind, self._name)
        self._writer.write(table)

    def close(self) -> None:
        """Finish the file that is open, and have it on the disk."""
        if self._writer is not None and self._file is not None:
            self._writer.close()
            if self._files:
                sync_file(self._file)
                self._file.close()
            else:
                self._file.flush()
        self._writer = self._file = None

    def abandon(self) -> None:
        """Close the file, which nobody will read; the disk may be full."""
        with suppress(OSError):
            self.close()
        if self._file is not None and self._files:
            with suppress(OSError):
                self._file.close()
        self._writer = self._file = None

    def _opened(self, part: int) -> BinaryIO:
        if not self._files:
            return sys.stdout.buffer
        self._files[part].parent.mkdir(parents=True, exist_ok=True)
        return self._files[part].open("wb")


class SideFile:
    """Bad rows as CSV, made when there is one: number, column, reason, the row as JSON or the line as it was.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._file: BinaryIO | None = None

    def add(self, number: int, column: str, reason: str, row: object) -> None:
        """Append one."""
        if self._file is None:
            self._file = self.path.open("wb")
            self._file.write(csv_line(["row", "column", "reason", "values"]))
        values = row if isinstance(row, str) else orjson.dumps(row, default=str).decode()
        self._file.write(csv_line([number, column, reason, values]))
        self.rows += 1

    def close(self) -> None:
        """Have it on the disk."""
        if self._file is not None:
            sync_file(self._file)
            self._file.close()
