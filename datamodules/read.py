"""A CSV or Parquet file, or a pandas frame, becomes one Arrow table; CSV cells stay the text they are."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

if TYPE_CHECKING:
    import pandas as pd

LONGEST_CELL = 1_000_000  # characters; longer ones come from a quote that was never closed
BLOCK_BYTES = 32 << 20  # a row has to fit into one block of the CSV reader


def read_table(path: str | Path, encoding: str = "utf-8", delimiter: str | None = None) -> pa.Table:
    """Read a table whole.

    Args:
        path: A `.parquet` file, or any text file with a header line.
        encoding: Any name that Python knows; a byte order mark is skipped.
        delimiter: One character; found by itself when None.

    Raises:
        ValueError: If there is no such table, with what to do about it.
    """
    path = Path(path)
    check_file(path)
    table = _read_parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _read_csv(path, encoding, delimiter)
    check_names(table.column_names, path)
    if table.num_rows == 0:
        raise ValueError(f"{path} has a header but no rows; a table to learn from needs rows below it")
    return table


def from_frame(frame: pd.DataFrame) -> pa.Table:
    """An Arrow table of a pandas frame, its index left out.

    Raises:
        ValueError: If two columns have one name.
    """
    names = [str(name) for name in frame.columns]
    check_names(names, "the frame")
    columns = []
    for position in range(len(names)):
        series = frame.iloc[:, position]
        if str(series.dtype) in ("object", "category"):
            columns.append(pa.array([_plain(value) for value in series.astype(object)]))
        else:
            columns.append(pa.Array.from_pandas(series))
    return pa.table(dict(zip(names, columns, strict=True)))


def _plain(value: object) -> str | None:
    # A column of mixed Python objects has one meaning only as text: 1 is "1", 1.0 is "1", None and NaN are missing.
    if value is None or value != value:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def check_file(path: Path) -> None:
    """Refuse what is not a readable, non-empty file.

    Raises:
        ValueError: If the file is missing, a folder, or empty.
    """
    if not path.exists():
        raise ValueError(f"there is no file {path}; give the path of a CSV or Parquet file")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the path of one CSV or Parquet file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes); a table needs a header line and rows")


def check_names(names: list[str], where: object) -> None:
    """Refuse duplicate column names.

    Raises:
        ValueError: If a name stands twice.
    """
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"{where} has the column name {doubled[0]!r} twice; rename one of them")


def _read_parquet(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}") from error


def csv_header(path: Path, encoding: str, delimiter: str | None) -> tuple[list[str], str]:
    """Column names and delimiter of a CSV file.

    Raises:
        ValueError: If the file is binary, or not text in `encoding`.
    """
    with path.open("rb") as file:
        head = file.read(1 << 16)
    wide = encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32"))
    if b"\0" in head and not wide:
        raise ValueError(f"{path} is a binary file, not CSV text; give a CSV or a .parquet file")
    try:
        with path.open(encoding="utf-8-sig" if _is_utf8(encoding) else encoding, newline="") as text:
            sample = text.read(1 << 14)
            text.seek(0)
            found = delimiter if delimiter is not None else _delimiter(sample)
            csv.field_size_limit(LONGEST_CELL * 64)
            names = next(csv.reader(text, delimiter=found), [])
    except LookupError as error:
        raise ValueError(f'unknown encoding "{encoding}"; common ones are utf-8, cp1252, cp949, utf-16') from error
    except UnicodeError as error:
        raise ValueError(f'{path} is not text in encoding "{encoding}"; name its own with --encoding') from error
    return names, found


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig")


def _delimiter(sample: str) -> str:
    first = sample.splitlines()[0] if sample else ""
    counts = {candidate: first.count(candidate) for candidate in (",", ";", "\t", "|")}
    best = max(counts, key=lambda candidate: counts[candidate])
    return best if counts[best] > 0 else ","


def csv_options(names: list[str], delimiter: str, encoding: str, block_bytes: int = BLOCK_BYTES) -> dict[str, object]:
    """Keyword arguments of `pyarrow.csv.read_csv` and `open_csv` under which every cell stays the text it is."""
    return {
        "read_options": pacsv.ReadOptions(
            # One thread: only then does Arrow number the row of a broken line.
            use_threads=False,
            block_size=block_bytes,
            encoding="utf-8" if _is_utf8(encoding) else encoding,
        ),
        "parse_options": pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        "convert_options": pacsv.ConvertOptions(
            column_types={name: pa.string() for name in names}, strings_can_be_null=False
        ),
    }


def csv_error(path: Path, error: Exception, encoding: str) -> ValueError:
    """The sentence for what Arrow's CSV reader refused."""
    text = str(error).splitlines()[0]
    if "invalid UTF8" in text or isinstance(error, UnicodeError):
        return ValueError(f'{path} is not text in encoding "{encoding}"; name its own with --encoding')
    if "straddling" in text:
        return ValueError(f"{path} has a row of many megabytes; is a quote left open?")
    return ValueError(f"{path} is broken CSV: {text}; mend that line (line 1 is the header)")


def _read_csv(path: Path, encoding: str, delimiter: str | None) -> pa.Table:
    names, found = csv_header(path, encoding, delimiter)
    check_names(names, path)
    try:
        table = pacsv.read_csv(path, **csv_options(names, found, encoding))
    except (pa.ArrowInvalid, UnicodeError) as error:
        raise csv_error(path, error, encoding) from error
    for name, column in zip(table.column_names, table.columns, strict=True):
        if len(column) and pc.max(pc.utf8_length(column)).as_py() > LONGEST_CELL:
            row = pc.index(pc.greater(pc.utf8_length(column), LONGEST_CELL), value=True).as_py()
            raise ValueError(
                f'row {row + 1}, column "{name}": a cell of more than {LONGEST_CELL:,} characters; '
                "is a quote left open?"
            )
    return table
