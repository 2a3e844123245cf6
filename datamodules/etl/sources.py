"""Where a log lies: files, folders and globs of them, or a table of an engine."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.datatypes as dts
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
from ludocast.datamodules.errors import first_line
from ludocast.datamodules.etl.engine import Engine
from ludocast.datamodules.read import csv_header

_PARQUET, _CSV, _JSON = (
    (".parquet", ".pq"),
    (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz"),
    (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz"),
)
_DATABASES = (".duckdb", ".ddb", ".db")


@dataclass(frozen=True)
class Source:
    """A log that has been found but not read.

    Attributes:
        names: Its columns.
        read: Its rows, the named columns at least.
        is_text: Whether every value is text, and reading takes as long as parsing.
        files: Its files; none of a table.
        notes: What there is to tell.
    """

    names: tuple[str, ...]
    read: Callable[[Sequence[str]], ir.Table]
    is_text: bool
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def find_source(engine: Engine, log: Sequence[str], table: str | None) -> Source:
    """Find a log.

    Args:
        engine: Where it is to be read.
        log: Paths, folders and globs of files; on Spark and PostgreSQL the name of a table as well.
        table: Table of a DuckDB file.

    Raises:
        ValueError: If there is none, or its files do not belong together.
    """
    if engine.kind == "postgres" or (engine.kind == "spark" and not any(_hits(entry) for entry in log)):
        return _table_of(engine, log)
    if len(log) == 1 and Path(log[0]).suffix.lower() in _DATABASES and Path(log[0]).is_file():
        return _duckdb_table(engine, Path(log[0]), table)
    if table is not None:
        raise ValueError("--table names a table of a DuckDB file; --log names no such file")
    files, notes = _files(log)
    ends = {_format(file) for file in files}
    if len(ends) > 1:
        raise ValueError(f"--log names files of several formats ({', '.join(sorted(ends))}); give those of one")
    if engine.kind == "spark" and ends != {"Parquet"}:
        raise ValueError("on Spark a log is Parquet files or a table; read CSV and JSON with --engine duckdb")
    found = {"Parquet": _parquet, "CSV": _csv, "JSON lines": _json}[ends.pop()](engine, files)
    return Source(found.names, found.read, found.is_text, tuple(files), (*notes, *found.notes))


def _hits(entry: str) -> bool:
    return Path(entry).exists() or bool(glob.glob(entry, recursive=True))


def _table_of(engine: Engine, log: Sequence[str]) -> Source:
    if len(log) != 1:
        raise ValueError(f"on this engine --log names one table, got {len(log)} names")
    schema, _, name = log[0].rpartition(".")
    try:
        table = engine.con.table(name, database=schema) if schema else engine.con.table(name)
    except Exception as error:
        there = ", ".join(sorted(engine.con.list_tables())[:12])
        raise ValueError(f'there is no table "{log[0]}" on this engine; it has {there if there else "none"}') from error
    return Source(tuple(table.columns), lambda _names: table, False)


def _duckdb_table(engine: Engine, path: Path, name: str | None) -> Source:
    if engine.kind != "duckdb":
        raise ValueError(f"{path} is read with --engine duckdb")
    engine.con.attach(path, name="source", read_only=True)
    there = engine.con.list_tables(database=("source", "main"))
    if name is None and len(there) != 1:
        raise ValueError(f"{path} has the tables {', '.join(there)}; name one with --table")
    if name is not None and name not in there:
        raise ValueError(f'{path} has no table "{name}"; it has {", ".join(there)}')
    table = engine.con.table(there[0] if name is None else name, database=("source", "main"))
    return Source(tuple(table.columns), lambda _names: table, False, (path,))


def _files(log: Sequence[str]) -> tuple[list[Path], list[str]]:
    found: list[Path] = []
    for entry in log:
        path = Path(entry)
        if path.is_dir():
            # As readers of data sets do, what begins with _ or . is left out.
            inside = [
                file for file in sorted(path.rglob("*"))
                if file.is_file() and not any(part[0] in "._" for part in file.relative_to(path).parts)
            ]  # fmt: skip
            if not inside:
                raise ValueError(f"the folder {path} holds no file; --log takes files, folders and globs of logs")
            found += [file for file in inside if file.name.lower().endswith(_PARQUET + _CSV + _JSON)]
        else:
            hits = [path] if path.exists() else [Path(hit) for hit in sorted(glob.glob(entry, recursive=True))]
            if not hits:
                raise ValueError(f"there is no file {entry}; --log takes files, folders and globs of logs")
            found += [hit for hit in hits if hit.is_file()]
    unique = list(dict.fromkeys(found))
    filled = [file for file in unique if file.stat().st_size > 0]
    notes = [f"{file} is empty and left out" for file in unique if file not in set(filled)]
    if not filled:
        raise ValueError(f"--log {' '.join(log)} names no file with anything in it")
    return filled, notes if len(notes) < 5 else [f"{len(notes):,} empty files are left out"]


def log_files(log: Sequence[str]) -> list[Path]:
    """The files of a log that have anything in them.

    Raises:
        ValueError: If there are none.
    """
    return _files(log)[0]


def _format(file: Path) -> str:
    name = file.name.lower()
    for ends, what in ((_PARQUET, "Parquet"), (_CSV, "CSV"), (_JSON, "JSON lines")):
        if name.endswith(ends):
            return what
    raise ValueError(f"{file} is no log that can be read by its name; .parquet, .csv, .tsv, .jsonl and .duckdb are")


def _parquet(engine: Engine, files: list[Path]) -> Source:
    kinds: dict[str, dict[str, Path]] = {}
    first: dict[str, Path] = {}
    common: set[str] | None = None
    names: dict[str, None] = {}
    for file in files:
        try:
            schema = pq.read_schema(file)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"{file} is not a readable Parquet file: {first_line(error)}") from error
        names |= dict.fromkeys(schema.names)
        common = set(schema.names) if common is None else common & set(schema.names)
        for field in schema:
            kinds.setdefault(field.name, {}).setdefault(_kind(field.type), file)
            first.setdefault(field.name, file)

    def read(wanted: Sequence[str]) -> ir.Table:
        for name in wanted:
            _check_everywhere(name, files, lambda file: pq.read_schema(file).names, common)
            if len(kinds[name]) > 1:
                (one, one_file), (other, other_file) = list(kinds[name].items())[:2]
                raise ValueError(f'column "{name}" holds {one} in {one_file} and {other} in {other_file}; mend one')
        paths = [str(file) for file in files]
        options: dict[str, Any] = {"union_by_name": True} if engine.kind == "duckdb" and len(files) > 1 else {}
        table: ir.Table = engine.con.read_parquet(paths if len(paths) > 1 else paths[0], **options)
        return _in_utc(table) if engine.kind == "duckdb" else table

    return Source(tuple(names), read, False)


@ibis.udf.scalar.builtin(name="epoch_us")  # type: ignore[untyped-decorator]
def _microseconds(moment: dts.Timestamp("UTC")) -> int:  # type: ignore[valid-type, empty-body]
    ...


@ibis.udf.scalar.builtin(name="make_timestamp")  # type: ignore[untyped-decorator]
def _moment(microseconds: int) -> dts.Timestamp():  # type: ignore[valid-type, empty-body]
    ...


def _in_utc(table: ir.Table) -> ir.Table:
    """Times that name a zone as plain ones in UTC: DuckDB's own cast asks a calendar, for ten times as long."""
    zoned = [name for name, kind in table.schema().items() if kind.is_timestamp() and kind.timezone is not None]
    return table.mutate(**{name: _moment(_microseconds(table[name])) for name in zoned}) if zoned else table


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return _kind(kind.value_type)
    if pa.types.is_temporal(kind):
        return "times"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "numbers"
    return "text" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else str(kind)


def _check_everywhere(
    name: str, files: list[Path], names_of: Callable[[Path], Sequence[str]], common: set[str] | None
) -> None:
    if common is not None and name in common:
        return
    without = next(file for file in files if name not in names_of(file))
    raise ValueError(f'{without} has no column "{name}", other files of the log have; mend it or leave it out')


def _csv(engine: Engine, files: list[Path]) -> Source:
    headers: dict[Path, list[str]] = {}
    delimiter = None
    for file in files:
        if file.suffix == ".gz":
            continue
        headers[file], found = csv_header(file, "utf-8", None)
        delimiter = found if delimiter is None else delimiter
        if found != delimiter:
            raise ValueError(f"{file} is separated by {found!r}, {files[0]} by {delimiter!r}; mend one of them")
    options: dict[str, Any] = {"all_varchar": True, "header": True, "union_by_name": True}
    if delimiter is not None:
        options["delim"] = delimiter
    table: ir.Table = engine.con.read_csv([str(file) for file in files], **options)
    common = set.intersection(*map(set, headers.values())) if headers else None

    def read(wanted: Sequence[str]) -> ir.Table:
        for name in wanted:
            if headers:
                _check_everywhere(name, list(headers), lambda file: headers[file], common)
        return table

    return Source(tuple(table.columns), read, True)


def _json(engine: Engine, files: list[Path]) -> Source:
    paths = [str(file) for file in files]
    options: dict[str, Any] = {"format": "newline_delimited", "union_by_name": True}
    names = tuple(engine.con.read_json(paths, **options).columns)

    def read(_wanted: Sequence[str]) -> ir.Table:
        # Types are not guessed from the first lines: every value is read as text, and then as what it has to be.
        table: ir.Table = engine.con.read_json(paths, columns=dict.fromkeys(names, "VARCHAR"), **options)
        return table

    return Source(names, read, True)
