"""A table scored from begin to end: read some rows at a time, answered, written, put in its place when it is whole."""

from __future__ import annotations

import gc
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ludocast.serve.batch.batch import CHUNK_ROWS, CHUNK_SEQUENCES, Batch, Outcome, Progress, Watcher
from ludocast.serve.batch.outputs import Output, SideFile
from ludocast.serve.batch.rows import RowRun
from ludocast.serve.batch.work import Work
from ludocast.serve.manifest import Manifest
from ludocast.serve.notes import Note
from ludocast.serve.recommend_names import HISTORY
from ludocast.serve.score_pairs import reads_pairs, reads_players, score_pairs
from ludocast.serve.scorer import Scorer
from ludocast.serve.suggest_options import SuggestOptions
from ludocast.serve.tables.formats import STREAM, format_of
from ludocast.serve.tables.read import open_table, table_files
from ludocast.serve.tables.source import Reading, Source


def run_batch(batch: Batch, watcher: Watcher) -> Outcome:
    """Score a table.

    A run that is stopped, by a signal or a full disk, leaves what it has answered in its work folder.

    Args:
        batch: What, and how.
        watcher: Is told after each chunk.

    Raises:
        ValueError: If the input, the output or an option does not fit, with what to do about it.
    """
    files = table_files(batch.input)
    scorer = Scorer.load(batch.bundle)
    if batch.output == STREAM:
        with tempfile.TemporaryDirectory(prefix="ludocast") as folder, _without_collector():
            side = SideFile(Path(folder) / "bad_rows.csv")
            run = Run(batch, scorer, files, Output([], batch.output_kind, batch.output), side, None, Path(folder))
            outcome = run.score(watcher)
            if side.rows and batch.bad_rows is not None:
                batch.bad_rows.write_bytes(side.path.read_bytes())
            return outcome
    work = Work(batch.output, batch.fingerprint(), batch.resume, batch.overwrite)
    output = Output(_results(batch, files, work.result), batch.output_kind, batch.output)
    side = SideFile(work.folder / "bad_rows.csv")
    try:
        with _without_collector():
            outcome = Run(batch, scorer, files, output, side, work, work.folder).score(watcher)
        work.finish({side.path: batch.side_file} if side.rows else {})
    except ValueError:
        output.abandon()
        work.remove()
        raise
    except BaseException:
        output.abandon()
        work.stop()
        raise
    return outcome


def _results(batch: Batch, files: list[Path], result: Path) -> list[Path]:
    """The file of each part."""
    if not batch.is_folder:
        return [result]
    return [result / file.relative_to(batch.input) for file in files]


@dataclass
class Run:
    """One run.

    Attributes:
        batch: What is scored.
        scorer: That answers.
        files: Of the input.
        output: That is written.
        side: File for bad rows.
        work: What keeps answers; None where nothing is kept.
        folder: For what has to be unpacked.
        notes: What is to be told.
    """

    batch: Batch
    scorer: Scorer
    files: list[Path]
    output: Output
    side: SideFile
    work: Work | None
    folder: Path
    notes: Counter[Note] = field(default_factory=Counter)

    def score(self, watcher: Watcher) -> Outcome:
        """All of it."""
        batch, manifest = self.batch, self.scorer.manifest
        size = CHUNK_ROWS if manifest.sequence is None else CHUNK_SEQUENCES
        reading = Reading(batch.encoding, batch.delimiter, size, batch.on_error == "skip")
        with open_table(batch.input, batch.input_kind, reading, self.folder / "unpacked") as source:
            are_pairs = reads_pairs(manifest, source.names)
            if batch.users is not None and not are_pairs:
                raise ValueError("--users stands beside a table of pairs for a recommender; here it has no meaning")
            if are_pairs or reads_players(manifest, source.names):
                rows, what = self._suggest(source, are_pairs, watcher), "users"
            else:
                self._check_rows(source)
                run = RowRun(batch, self.scorer, source, self.output, self.side, self.work)
                rows, what = run.score(watcher), "rows"
                self.notes.update(run.notes)
                if rows == 0 and not self.side.rows:
                    raise ValueError(f"{batch.input} has a header but no rows to score")
        self.output.close()
        self.side.close()
        return Outcome(rows, what, self.side.rows, self.notes)

    def _check_rows(self, source: Source) -> None:
        pairs = self.scorer.manifest.pairs
        if pairs is not None and HISTORY not in source.names:
            raise ValueError(
                f'{self.batch.input} needs the columns "{pairs.user}" and "{pairs.item}", or "{HISTORY}" with a list '
                f"a row; it has {', '.join(source.names[:10])}"
            )
        if self.batch.suggest != SuggestOptions():
            raise ValueError("--k and other options of suggestions are for a recommender and a table of its users")

    def _suggest(self, source: Source, are_pairs: bool, watcher: Watcher) -> int:
        """Answers to a table of pairs, or of players; the number of users."""
        batch, manifest = self.batch, self.scorer.manifest
        for value, name in ((batch.keep, "--keep"), (batch.dask, "--dask")):
            if value is not None:
                raise ValueError(f"{name} is for tables of one row an answer; suggestions have columns of their own")
        if batch.on_error != "fail":
            raise ValueError("--on-error is for tables of one row an answer; a user without rows has no suggestions")
        if batch.is_folder:
            raise ValueError("suggestions go into one file; name --output with .parquet")
        options, told = self.scorer.known_options(batch.suggest)
        self.notes.update(told)
        users, size = 0, sum(file.stat().st_size for file in self.files)
        own = _columns(source)
        with ExitStack() as stack:
            players: Iterable[Mapping[str, Any]] = () if are_pairs else own
            if batch.users is not None:
                players = stack.enter_context(_players(batch, manifest, self.folder / "unpacked users"))
                size += batch.users.stat().st_size
            asked = score_pairs(
                self.scorer, own if are_pairs else (), size, options, players, self.folder / "dealt",
                self.work.answered if self.work is not None else None,
            )  # fmt: skip
            for number, is_new, found in asked:
                if is_new and self.work is not None:
                    self.work.keep(number, found)
                self.output.write(0, found.table)
                self.notes.update(found.notes)
                users += found.rows
                watcher(Progress(users, source.progress(), 0))
        if users == 0:
            raise ValueError(f"{batch.input} has no row with a user")
        return users


def _columns(source: Source) -> Iterator[Mapping[str, Any]]:
    return (dict(zip(source.names, chunk.columns, strict=True)) for _, chunk in source.chunks)


@contextmanager
def _players(batch: Batch, manifest: Manifest, folder: Path) -> Iterator[Iterable[Mapping[str, Any]]]:
    """Columns of the table of players, some rows at a time."""
    path = batch.users
    assert path is not None
    reading = Reading(batch.encoding, batch.delimiter, CHUNK_ROWS)
    with open_table(path, format_of(path), reading, folder) as source:
        if not reads_players(manifest, source.names):
            user = "" if manifest.pairs is None else manifest.pairs.user
            known = ", ".join(item.column for item in manifest.attributes)
            wanted = f'"{user}" and one of {known}' if known else "attributes, of which this bundle knows none"
            raise ValueError(f"--users {path} needs the columns {wanted}; it has {', '.join(source.names[:10])}")
        yield _columns(source)


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
