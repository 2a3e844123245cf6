"""`ludocast score`: every row of a file, in order, with its prediction; streamed, and written whole or not at all."""

from __future__ import annotations

import csv
import gc
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from ludocast.datamodules.read import (
    LONGEST_CELL,
    check_end,
    check_file,
    check_names,
    csv_error,
    csv_header,
    csv_options,
)
from ludocast.serve.answers import SCORED, answer_columns, answer_names
from ludocast.serve.manifest import Manifest
from ludocast.serve.notes import Note, sentences
from ludocast.serve.recommend_names import HISTORY
from ludocast.serve.score_pairs import reads_pairs, reads_players, score_pairs
from ludocast.serve.scorer import Predictions, Scorer
from ludocast.serve.suggest_options import USUAL_K, SuggestOptions, ids_of_words
from tqdm import tqdm

CHUNK_ROWS = 65_536
CHUNK_SEQUENCES = 4_096  # rows that hold lists
BLOCK_BYTES = 8 << 20  # of CSV read at once; memory follows it
PARQUET = (".parquet", ".pq")


def score(
    bundle: Path,
    input: Path,  # noqa: A002 - the option's name
    output: Path,
    keep: list[str] | None = None,
    encoding: str = "utf-8",
    delimiter: str | None = None,
    k: int | None = None,
    exclude_owned: bool = True,
    exclude: list[str] | None = None,
    only: list[str] | None = None,
    category: list[str] | None = None,
    diversity: float = 0.0,
    users: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Score every row of a CSV or Parquet file, in order.

    OUTPUT gets all columns of INPUT, then scored_label and scored_probability (of the positive class; with more than
    two classes that of the label, and scored_probability_CLASS for each). It appears when it is complete. Memory stays
    bounded, however large the file.

    A model of sequences reads columns of lists, in CSV as JSON arrays; where its answers are lists, they are
    scored_labels and scored_probabilities in the same way.

    To a recommender a table of pairs is a history of each user: OUTPUT then has a row for each suggestion, with the
    columns of users and items under their own names, rank from 1 and score. A table of users and the attributes that
    the model knows, as INPUT or as --users beside the pairs, is answered too: by attributes where there is no history.

    Example: ludocast score --bundle run/bundle --input players.csv --output scored.parquet --keep player_id

    Args:
        bundle: Folder of the bundle, RUN/bundle of a training.
        input: CSV or Parquet file, one row a player, .parquet is read as Parquet; or a folder of Parquet files.
        output: CSV or Parquet file, by its suffix.
        keep: Only these input columns in the output; comma-separated or given again.
        encoding: Of a CSV input, such as cp949; outputs are UTF-8.
        delimiter: Of a CSV input; found by itself.
        k: To a recommender, suggestions a user; 20 by default.
        exclude_owned: Whether it leaves out what a user has.
        exclude: Items that it does not suggest: ids, or text files with one a line.
        only: Items of which alone it suggests, given likewise.
        category: Values of the catalogue's category; it suggests items of these alone.
        diversity: From 0, the order of scores, to 1, as different as can be.
        users: CSV or Parquet file of users and their attributes; those without pairs in INPUT are answered too.
        overwrite: Replace OUTPUT.
    """
    options = _options(k, exclude_owned, exclude, only, category, diversity)
    if output.exists() and not overwrite:
        raise ValueError(f"{output} exists; choose another --output, or --overwrite to replace it")
    if not output.absolute().parent.is_dir():
        raise ValueError(f"there is no folder {output.absolute().parent}; make it, or choose another --output")
    files = _files(input)
    scorer = Scorer.load(bundle)
    rows, notes = 0, Counter[Note]()
    size = CHUNK_ROWS if scorer.manifest.sequence is None else CHUNK_SEQUENCES
    with (
        _source(input, encoding, delimiter, size) as (names, chunks, total),
        _whole(output) as file,
        _without_collector(),
    ):
        are_players = reads_players(scorer.manifest, names)
        if users is not None and not reads_pairs(scorer.manifest, names):
            raise ValueError("--users stands beside a table of pairs for a recommender; here it has no meaning")
        if are_players or reads_pairs(scorer.manifest, names):
            if keep is not None:
                raise ValueError("--keep is for tables of one row an answer; suggestions have columns of their own")
            table_writer = _TableWriter(file, output)
            own = (dict(zip(names, chunk.columns, strict=True)) for chunk in _with_bar(chunks, total, size))
            options, told = scorer.known_options(options)
            with _players(users, scorer.manifest, encoding, delimiter) as (players, more):
                rows, notes = score_pairs(
                    scorer, () if are_players else own, sum(file.stat().st_size for file in files) + more, options,
                    table_writer.write, own if are_players else players,
                )  # fmt: skip
            notes.update(told)
            if rows == 0:
                raise ValueError(f"{input} has no row with a user")
            table_writer.close()
            _tell(notes, f"{rows:,} users answered: {output}")
            return
        pairs = scorer.manifest.pairs
        if pairs is not None and HISTORY not in names:
            raise ValueError(
                f'{input} needs the columns "{pairs.user}" and "{pairs.item}", or "{HISTORY}" with a list a row; it '
                f"has {', '.join(names[:10])}"
            )
        if k is not None or options != SuggestOptions():
            what = "--k" if k is not None else "an option of suggestions"
            raise ValueError(f"{what} is for a recommender and a table of its users and items")
        kept = _kept(names, keep, input)
        writer = _Writer(file, output, scorer.manifest, kept)
        for chunk in _with_bar(chunks, total, size):
            columns = dict(zip(names, chunk.columns, strict=True))
            found = scorer.predict_columns(columns, rows)
            writer.write_answers([columns[name] for name in kept], found)
            rows += chunk.num_rows
            notes.update(found.notes)
        if rows == 0:
            raise ValueError(f"{input} has a header but no rows to score")
        writer.close()
    _tell(notes, f"{rows:,} rows scored: {output}")


def _options(
    k: int | None,
    exclude_owned: bool,
    exclude: list[str] | None,
    only: list[str] | None,
    category: list[str] | None,
    diversity: float,
) -> SuggestOptions:
    """Of the command line."""
    if k is not None and k < 1:
        raise ValueError(f"--k is 1 or more, got {k}")
    if not 0 <= diversity <= 1:
        raise ValueError(f"--diversity is a number from 0 to 1, got {diversity:g}")
    excluded = ids_of_words(exclude)
    return SuggestOptions(
        USUAL_K if k is None else k, exclude_owned, () if excluded is None else excluded, ids_of_words(only),
        None if category is None else tuple(category), diversity,
    )  # fmt: skip


@contextmanager
def _players(
    path: Path | None, manifest: Manifest, encoding: str, delimiter: str | None
) -> Iterator[tuple[Iterable[Mapping[str, Any]], int]]:
    """Columns of a table of players, some rows at a time, and its bytes."""
    if path is None:
        yield (), 0
        return
    _files(path)
    with _source(path, encoding, delimiter, CHUNK_ROWS) as (names, chunks, _):
        if not reads_players(manifest, names):
            user = "" if manifest.pairs is None else manifest.pairs.user
            known = ", ".join(item.column for item in manifest.attributes)
            wanted = f'"{user}" and one of {known}' if known else "attributes, of which this bundle knows none"
            raise ValueError(f"--users {path} needs the columns {wanted}; it has {', '.join(names[:10])}")
        yield (dict(zip(names, chunk.columns, strict=True)) for chunk in chunks), path.stat().st_size


def _with_bar(chunks: Iterator[pa.RecordBatch], total: int | None, size: int) -> Iterator[pa.RecordBatch]:
    return iter(tqdm(chunks, total=total, unit_scale=size, unit=" rows", desc="scoring", disable=None))


def _tell(notes: Mapping[Note, int], done: str) -> None:
    for sentence in sentences(notes):
        print(f"note: {sentence}")
    print(done)


def _kept(names: Sequence[str], keep: Sequence[str] | None, path: Path) -> list[str]:
    for name in keep if keep is not None else ():
        if name not in names:
            raise ValueError(f'{path} has no column "{name}" to keep; it has {", ".join(names[:10])}')
    kept = list(names if keep is None else keep)
    taken = [name for name in kept if name.startswith((f"{SCORED}label", f"{SCORED}probabilit"))]
    if taken:
        raise ValueError(f'{path} has a column "{taken[0]}" already; name the columns to keep with --keep')
    return kept


@contextmanager
def _source(
    path: Path, encoding: str, delimiter: str | None, chunk_rows: int
) -> Iterator[tuple[list[str], Iterator[pa.RecordBatch], int | None]]:
    """Column names, chunks of rows, and how many chunks there are where that is known."""
    files = _files(path)
    if path.is_dir() or path.suffix.lower() in PARQUET:
        try:
            schema, rows = pq.read_schema(files[0]), sum(pq.read_metadata(file).num_rows for file in files)
            names = [str(name) for name in schema.names]
            check_names(names, path)
            yield names, _parquet_chunks(files, schema, chunk_rows), -(-rows // chunk_rows)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}") from error
        return
    names, found = csv_header(path, encoding, delimiter)
    check_names(names, path)
    try:
        with pacsv.open_csv(path, **csv_options(names, found, encoding, BLOCK_BYTES)) as reader:
            if reader.schema.names != names:
                raise ValueError(f"{path} has a header line that is no plain CSV; mend its quotes")
            yield names, _csv_chunks(reader, path, encoding, found, chunk_rows), None
    except (pa.ArrowInvalid, UnicodeError) as error:
        raise csv_error(path, error, encoding, found) from error


def _files(path: Path) -> list[Path]:
    """The file, or the Parquet files of a folder such as `ludocast snapshots` writes.

    Raises:
        ValueError: If there is none.
    """
    found = [path]
    if path.is_dir():
        parts = sorted(part for part in path.iterdir() if part.suffix.lower() in PARQUET)
        found = [part for part in parts if not part.name.startswith((".", "_"))]
        found = found if found else [path]
    for file in found:
        check_file(file)
    return found


def _parquet_chunks(files: Sequence[Path], schema: pa.Schema, chunk_rows: int) -> Iterator[pa.RecordBatch]:
    for path in files:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(schema):
                raise ValueError(f"{path} has other columns than {files[0].name} beside it; score them one by one")
            yield from file.iter_batches(chunk_rows, use_threads=False)


def _csv_chunks(
    reader: pacsv.CSVStreamingReader, path: Path, encoding: str, delimiter: str, chunk_rows: int
) -> Iterator[pa.RecordBatch]:
    rows, last = 0, None
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            check_end(path, last)
            return
        except (pa.ArrowInvalid, UnicodeError) as error:
            raise csv_error(path, error, encoding, delimiter) from error
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            # Few columns of a block have as many bytes at all.
            if column.nbytes > LONGEST_CELL and pc.max(pc.binary_length(column)).as_py() > LONGEST_CELL:
                row = rows + pc.index(pc.greater(pc.binary_length(column), LONGEST_CELL), value=True).as_py()
                raise ValueError(
                    f'row {row + 1}, column "{name}": a cell of more than {LONGEST_CELL:,} bytes; is a quote left open?'
                )
        for start in range(0, batch.num_rows, chunk_rows):
            yield batch.slice(start, chunk_rows)
        rows += batch.num_rows
        last = batch.columns[-1][-1].as_py() if batch.num_rows else last


@contextmanager
def _without_collector() -> Iterator[None]:
    """No search for cycles of objects: chunks make none, and all that is loaded would be searched again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


class _TableWriter:
    """Writes tables of one schema as CSV or Parquet."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self.is_csv = path.suffix.lower() not in PARQUET
        self._parquet: pq.ParquetWriter | None = None
        self._has_header = False

    def write_header(self, names: Sequence[str]) -> None:
        """Write the header line of a CSV file, once."""
        if self._has_header or not self.is_csv:
            return
        header = io.StringIO()
        csv.writer(header, lineterminator="\n").writerow(names)
        self._file.write(header.getvalue().encode())
        self._has_header = True

    def write(self, table: pa.Table) -> None:
        """Append some rows."""
        if self.is_csv:
            self.write_header(table.schema.names)
            self._file.write(_csv_bytes(table))
            return
        if self._parquet is None:
            self._parquet = pq.ParquetWriter(self._file, table.schema)
        self._parquet.write_table(table)

    def close(self) -> None:
        """Finish the file's format."""
        if self._parquet is not None:
            self._parquet.close()


class _Writer(_TableWriter):
    """Writes kept columns and predictions."""

    def __init__(self, file: BinaryIO, path: Path, manifest: Manifest, kept: Sequence[str]) -> None:
        super().__init__(file, path)
        self._manifest = manifest
        self._names = [*kept, *answer_names(manifest)]
        self.write_header(self._names)

    def write_answers(self, columns: Sequence[Any], found: Predictions) -> None:
        """Append some rows."""
        scored = answer_columns(self._manifest, found, is_text=self.is_csv)
        self.write(pa.Table.from_arrays([*columns, *scored], self._names))


def _csv_bytes(table: pa.Table) -> pa.Buffer:
    """Rows as CSV, quoted where a cell of the chunk needs it."""
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
    what = str(error).splitlines()[0]
    return ValueError(f"CSV cannot hold this table: {what}; write .parquet, or name the columns to keep with --keep")
