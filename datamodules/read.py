"""A CSV or Parquet file, or a pandas frame, becomes one Arrow table; CSV cells stay the text they are."""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from ludocast.datamodules.cells import CellError, is_null, parse_category
from ludocast.datamodules.errors import first_line

if TYPE_CHECKING:
    import pandas as pd

LONGEST_CELL = 1_000_000  # characters; longer ones come from a quote that was never closed
BLOCK_BYTES = 32 << 20  # a row has to fit into one block of the CSV reader

# What `ludocast score` reads, or many programs write, and training does not; taken for CSV they would puzzle.
OTHER_FORMATS = {
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "a JSON file"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "a spreadsheet"),
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zst", ".zip"), "a compressed file"),
}


def read_table(
    path: str | Path, encoding: str = "utf-8", delimiter: str | None = None, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read a table whole.

    Args:
        path: A `.parquet` file, or any text file with a header line.
        encoding: Any name that Python knows; a byte order mark is skipped.
        delimiter: One character; found by itself when None.
        columns: Of a Parquet file that has them all, these alone are read; a CSV file is read whole.

    Raises:
        ValueError: If there is no such table, with what to do about it.
    """
    path = Path(path)
    check_file(path)
    is_parquet = path.suffix.lower() in (".parquet", ".pq")
    if path.suffix.lower() in OTHER_FORMATS:
        raise ValueError(f"{path} is {OTHER_FORMATS[path.suffix.lower()]}; a table to learn from is CSV or Parquet")
    table = _read_parquet(path, columns) if is_parquet else _read_csv(path, encoding, delimiter)
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
    # A column of mixed Python objects has one meaning only as text, the same as in scoring: 1 and 1.0 are "1".
    if is_null(value):
        return None
    try:
        text = parse_category(value, frozenset())
    except CellError:
        return str(value)
    return str(value) if text == "" else text  # an infinite number stays one, to be warned of


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
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise ValueError(f"{where} has the column name {min(doubled)!r} twice; rename one of them")


def _read_parquet(path: Path, columns: Sequence[str] | None) -> pa.Table:
    try:
        names = [str(name) for name in pq.read_schema(path).names]
        check_names(names, path)
        has_all = columns is not None and set(columns) <= set(names)
        return pq.read_table(path, columns=list(columns) if columns is not None and has_all else None)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} is not a readable Parquet file: {first_line(error)}") from error


def csv_header(path: Path, encoding: str, delimiter: str | None) -> tuple[list[str], str]:
    """Column names and delimiter of a CSV file.

    Raises:
        ValueError: If the file is binary, not text in `encoding`, or without a header line.
    """
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and _is_utf8(encoding):
        raise ValueError(f"{path} looks like text in UTF-16; read it with --encoding utf-16")
    wide = encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32"))
    if b"\0" in head and not wide:
        raise ValueError(f"{path} is a binary file, not CSV text; give a CSV or a .parquet file")
    try:
        with _open_csv(path, encoding) as text:
            found = _delimiter(text.read(1 << 14)) if delimiter is None else _checked(delimiter)
        names = next((cells for _, cells in _csv_rows(path, encoding, found)), [])
    except LookupError as error:
        raise ValueError(f'unknown encoding "{encoding}"; common ones are utf-8, cp1252, cp949, utf-16') from error
    except UnicodeError as error:
        raise ValueError(f'{path} is not text in encoding "{encoding}"; name its own with --encoding') from error
    except csv.Error as error:
        raise ValueError(f"{path} has no header line of column names ({error}); is a quote left open in it?") from error
    if not names:
        raise ValueError(f"{path} holds empty lines alone; a table needs a header line and rows")
    return names, found


def _open_csv(path: Path, encoding: str) -> TextIO:
    """The text of a file, its byte order mark skipped."""
    text = path.open(encoding=encoding, newline="")
    try:
        if text.read(1) != "\ufeff":
            text.seek(0)
    except BaseException:
        text.close()
        raise
    return text


def _csv_rows(path: Path, encoding: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The number of its last line (from 1), and the cells, of each row that is no empty line."""
    csv.field_size_limit(LONGEST_CELL)
    with _open_csv(path, encoding) as text:
        reader = csv.reader(text, delimiter=delimiter)
        for cells in reader:
            if cells:
                yield reader.line_num, cells


def _checked(delimiter: str) -> str:
    delimiter = "\t" if delimiter in ("\\t", "tab") else delimiter
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '\r\n"':
        raise ValueError(f'--delimiter is one character such as ";", or tab, got {delimiter!r}')
    return delimiter


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig")


def _delimiter(sample: str) -> str:
    plain = re.sub(r'"(?:[^"]|"")*"', "", sample).lstrip("\r\n")  # a quoted name may hold any of them
    first = plain.splitlines()[0] if plain else ""
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


def csv_error(path: Path, error: Exception, encoding: str, delimiter: str) -> ValueError:
    """The sentence for what Arrow's CSV reader refused."""
    text = first_line(error)
    if "invalid UTF8" in text or isinstance(error, UnicodeError):
        return ValueError(f'{path} is not text in encoding "{encoding}"; name its own with --encoding')
    if "straddling" in text:
        return ValueError(f"{path} has a row of many megabytes; is a quote left open?")
    if "Empty CSV file" in text:
        return ValueError(f"{path} has a header but no rows; a table needs rows below it")
    row = re.search(r"Row #(\d+): ", text)
    line = None if row is None else _line(path, encoding, delimiter, int(row[1]))
    where = "that row" if line is None else f"line {line}"
    return ValueError(
        f"{path} is broken CSV: {text.removeprefix('CSV parse error: ')}; mend {where} (line 1 is the header)"
    )


def _line(path: Path, encoding: str, delimiter: str, row: int) -> int | None:
    """The line of the file in which a row begins; rows may run over several lines, and empty lines are none."""
    before = 0
    try:
        for number, (line, _) in enumerate(_csv_rows(path, encoding, delimiter), 1):
            if number == row:
                return before + 1
            before = line
    except (csv.Error, UnicodeError):
        pass
    return None


def check_end(path: Path, cell: str | None) -> None:
    """Refuse a file whose last quote was never closed: its last cell would be all the rows from there on.

    Args:
        path: The CSV file.
        cell: The last cell of its last row.

    Raises:
        ValueError: If that cell runs over several lines and no quote ends it.
    """
    if cell is None or not set(cell) & {"\r", "\n"}:
        return
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 64, 0))
        end = file.read().rstrip(b"\r\n\0 ")
    if not end.endswith(b'"'):
        begin = cell.splitlines()[0][:40]
        raise ValueError(
            f'{path} is broken CSV: the quote before "{begin}" is left open to the end of the file; close it'
        )


def _read_csv(path: Path, encoding: str, delimiter: str | None) -> pa.Table:
    names, found = csv_header(path, encoding, delimiter)
    check_names(names, path)
    try:
        table = pacsv.read_csv(path, **csv_options(names, found, encoding))
    except (pa.ArrowInvalid, UnicodeError) as error:
        raise csv_error(path, error, encoding, found) from error
    if table.column_names != names:
        raise ValueError(f"{path} has a header line that is no plain CSV; mend its quotes")
    for name, column in zip(table.column_names, table.columns, strict=True):
        if len(column) and pc.max(pc.utf8_length(column)).as_py() > LONGEST_CELL:
            row = pc.index(pc.greater(pc.utf8_length(column), LONGEST_CELL), value=True).as_py()
            raise ValueError(
                f'row {row + 1}, column "{name}": a cell of more than {LONGEST_CELL:,} characters; '
                "is a quote left open?"
            )
    if table.num_rows:
        check_end(path, table.columns[-1][-1].as_py())
    return table
