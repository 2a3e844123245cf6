"""Inputs that no reader takes as they are, made plain files: standard input, gzip, spreadsheets."""

from __future__ import annotations

import gzip
import shutil
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ludocast.serve.tables.excel_read import excel_to_json
from ludocast.serve.tables.formats import STREAM, is_packed

LARGEST_RATIO = 200  # of unpacked to packed bytes; tables come to 3 to 30, gzip's bombs to 1,000
SURELY_FINE = 1 << 30  # bytes that may be unpacked from anything
_PIECE = 1 << 20


@contextmanager
def plain_file(path: Path, kind: str, folder: Path) -> Iterator[tuple[Path, str]]:
    """The file of a table and its format, unpacked into a folder where need be.

    Args:
        path: As the user gave it.
        kind: One of `FORMATS`.
        folder: For what is unpacked; it is removed at the end.

    Raises:
        ValueError: If the file is no gzip or spreadsheet, or unpacks into more than a table would.
    """
    if path != STREAM and not is_packed(path) and kind != "xlsx":
        yield path, kind
        return
    folder.mkdir(exist_ok=True)
    plain = folder / ("standard input" if path == STREAM else path.name.removesuffix(".gz"))
    try:
        if path == STREAM:
            with plain.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file, _PIECE)
        elif is_packed(path):
            _unpack(path, plain)
        else:
            plain = path
        if kind == "xlsx":
            rows = folder / f"{plain.name}.jsonl"
            excel_to_json(plain, rows)
            plain, kind = rows, "jsonl"
        yield plain, kind
    except ValueError as error:
        # The user knows the file by its own name.
        named = "standard input" if path == STREAM else str(path)
        error.args = (str(error).replace(str(plain), named).replace(str(folder / path.name), named),)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(path: Path, plain: Path) -> None:
    most = max(SURELY_FINE, LARGEST_RATIO * path.stat().st_size)
    size = 0
    try:
        with gzip.open(path, "rb") as packed, plain.open("wb") as file:
            while piece := packed.read(_PIECE):
                size += len(piece)
                if size > most:
                    raise ValueError(f"{path} unpacks into more than {most >> 20:,} MB; is it a table? Unpack it first")
                file.write(piece)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file: {error}") from error
