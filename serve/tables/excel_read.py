"""The first sheet of an XLSX file becomes JSON Lines; what would unpack into more than memory is refused before."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from ludocast.datamodules.read import check_file, check_names

MOST_ROWS = 1 << 20  # of a sheet, by Excel's own limit
MOST_CELLS = 100_000_000
LARGEST_SHEETS = 2 << 30  # bytes unpacked; sheets are read row by row
LARGEST_OTHERS = 256 << 20  # bytes unpacked of all else, such as shared texts, which are held in memory
MISSING_PART = "XLSX needs one more package: pip install 'ludocast[excel]'"


def excel_to_json(path: Path, output: Path) -> None:
    """Write the rows below the first one, whose cells are the names of the columns; empty rows are left out.

    Formulas count as the values that the file keeps for them, dates become texts of ISO 8601.

    Raises:
        ValueError: If it is no XLSX file, or holds more than a sheet can.
    """
    check_file(path)
    _check_sizes(path)
    try:
        import openpyxl
    except ModuleNotFoundError as error:
        raise ValueError(MISSING_PART) from error
    try:
        with path.open("rb") as opened, output.open("wb") as file:
            book = openpyxl.load_workbook(opened, read_only=True, data_only=True, keep_links=False)
            sheet = book.worksheets[0]
            sheet.reset_dimensions()  # what the file says of its size need not be so
            for record in _records(sheet.iter_rows(values_only=True), path):
                file.write(orjson.dumps(record, default=_text) + b"\n")
            book.close()
    except (_RefusedError, OSError):
        raise
    except Exception as error:  # the library meets a broken file with errors of many kinds
        raise ValueError(f"{path} is not a readable XLSX file: {type(error).__name__}: {error}"[:500]) from error


class _RefusedError(ValueError):
    """A sentence for the user."""


def _check_sizes(path: Path) -> None:
    """Refuse by the sizes that the archive names; more than those is never unpacked of a member."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ValueError(f"{path} is not an XLSX file: {error}") from error
    sheets = sum(one.file_size for one in members if one.filename.startswith("xl/worksheets/"))
    others = sum(one.file_size for one in members) - sheets
    if sheets > LARGEST_SHEETS or others > LARGEST_OTHERS:
        raise ValueError(
            f"{path} unpacks into {(sheets + others) >> 20:,} MB, more than a spreadsheet would; save it as CSV or "
            "Parquet"
        )


def _records(rows: Iterator[tuple[Any, ...]], path: Path) -> Iterator[dict[str, Any]]:
    names = _names(next(rows, ()), path)
    for number, row in enumerate(rows, 1):
        if number >= MOST_ROWS or number * len(names) > MOST_CELLS:
            raise _RefusedError(f"{path} has more cells than a spreadsheet would; save it as CSV or Parquet")
        if all(value is None for value in row):
            continue
        if any(value is not None for value in row[len(names) :]):
            raise _RefusedError(f"{path}, row {number}: a cell to the right of the last column that has a name")
        padded = (*row, *[None] * (len(names) - len(row)))
        yield dict(zip(names, padded, strict=False))


def _names(header: tuple[Any, ...], path: Path) -> list[str]:
    cells = list(header)
    while cells and cells[-1] is None:
        cells.pop()
    if not cells:
        raise _RefusedError(f"{path} has an empty first row; it has to hold the names of the columns")
    if None in cells:
        raise _RefusedError(f"{path}: column {cells.index(None) + 1} has no name in the first row; give it one")
    names = [_text(cell) for cell in cells]
    try:
        check_names(names, path)
    except ValueError as error:
        raise _RefusedError(str(error)) from None
    return names


def _text(value: Any) -> str:
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    return str(value)
