"""Tables of one row an answer: each row with its answer, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa
from ludocast.serve.answers import answer_names, classic_names
from ludocast.serve.batch.answer import Columns, answer_rows
from ludocast.serve.batch.answered import Answered
from ludocast.serve.batch.batch import Batch, Progress, Watcher
from ludocast.serve.batch.outputs import Output, SideFile
from ludocast.serve.batch.work import Work
from ludocast.serve.notes import Note
from ludocast.serve.scorer import Scorer
from ludocast.serve.tables.formats import TEXTS
from ludocast.serve.tables.source import Source


class Chunk(NamedTuple):
    """Some rows.

    Attributes:
        number: Of the chunk, from 0.
        part: Number of the file.
        rows: Themselves.
        first_row: How many rows came before.
    """

    number: int
    part: int
    rows: pa.RecordBatch
    first_row: int


@dataclass
class RowRun:
    """One run over such a table.

    Attributes:
        batch: What is scored.
        scorer: That answers.
        source: The table.
        output: That is written.
        side: File for bad rows.
        work: What keeps answers; None where nothing is kept.
        notes: What is to be told.
    """

    batch: Batch
    scorer: Scorer
    source: Source
    output: Output
    side: SideFile
    work: Work | None
    notes: Counter[Note] = field(default_factory=Counter)

    def score(self, watcher: Watcher) -> int:
        """Answer and write all rows; how many were answered."""
        reader, names = self.scorer.bundle.reader, self.source.names
        reader.check_columns(names)
        read = {item.column for item in reader.inputs}
        self._asked = [name for name in names if name in read]
        manifest = self.scorer.manifest
        answers = {name: name for name in answer_names(manifest)}
        if self.batch.is_classic:
            answers = classic_names(manifest)
        kept = _kept(self.source, self.batch, set(answers.values()))
        rows = answered = 0
        self._listed = 0  # broken lines that are in the side file
        for chunk, found in self._answers():
            columns = chunk.rows
            if found.bad:
                self._list_bad(chunk, found)
                if self.batch.on_error == "skip":
                    left_out = {one.row for one in found.bad}
                    columns = columns.take(pa.array([k for k in range(len(columns)) if k not in left_out], pa.int64()))
            self._list_broken(self.source.row_numbers(rows, chunk.rows.num_rows)[-1] if self.source.broken else 0)
            if len(columns):
                own = [columns.column(name) for name in kept]
                scored = [found.table[name] for name in answers]
                whole = pa.Table.from_arrays([*own, *scored], [*kept, *answers.values()])
                self.output.write(chunk.part if self.batch.is_folder else 0, whole)
            rows += chunk.rows.num_rows
            answered += found.rows
            self.notes.update(found.notes)
            watcher(Progress(rows, self.source.progress(), self.side.rows))
        self._list_broken(None)
        return answered

    def _answers(self) -> Iterator[tuple[Chunk, Answered]]:
        if self.batch.dask is not None:
            from ludocast.serve.batch.cluster import answer_on_cluster

            yield from answer_on_cluster(self, self.batch.dask)
            return
        for chunk in self.chunks():
            found = self.known(chunk)
            if found is None:
                found = answer_rows(self.scorer, self.asked(chunk), chunk.first_row, self.batch.on_error, self.is_text)
                self.keep(chunk, found)
            yield chunk, found

    def chunks(self) -> Iterator[Chunk]:
        """Of the table."""
        first_row = 0
        for number, (part, rows) in enumerate(self.source.chunks):
            yield Chunk(number, part, rows, first_row)
            first_row += rows.num_rows

    def asked(self, chunk: Chunk) -> Columns:
        """What the model reads of a chunk."""
        return {name: chunk.rows.column(name) for name in self._asked}

    def known(self, chunk: Chunk) -> Answered | None:
        """The answers that an earlier run had."""
        return None if self.work is None else self.work.answered(chunk.number)

    def keep(self, chunk: Chunk, found: Answered) -> None:
        """Keep answers for a later run."""
        if self.work is not None:
            self.work.keep(chunk.number, found)

    @property
    def is_text(self) -> bool:
        """Whether lists are JSON arrays in text."""
        return self.batch.output_kind in TEXTS

    def _list_bad(self, chunk: Chunk, found: Answered) -> None:
        numbers = self.source.row_numbers(chunk.first_row, chunk.rows.num_rows)
        records = chunk.rows.take(pa.array([one.row for one in found.bad])).to_pylist()
        for one, record in zip(found.bad, records, strict=True):
            self._list_broken(numbers[one.row])
            self.side.add(numbers[one.row], one.column, one.reason, record)

    def _list_broken(self, before: int | None) -> None:
        """Those that stand before a row; all for None."""
        for line in self.source.broken[self._listed :]:
            if before is not None and line.row > before:
                return
            self.side.add(line.row, "", line.reason, line.text)
            self._listed += 1


def _kept(source: Source, batch: Batch, ours: Set[str]) -> Sequence[str]:
    names = source.names
    for name in batch.keep if batch.keep is not None else ():
        if name not in names:
            raise ValueError(f'{batch.input} has no column "{name}" to keep; it has {", ".join(names[:10])}')
    kept = list(names if batch.keep is None else batch.keep)
    taken = [name for name in kept if name in ours]
    if taken:
        raise ValueError(f'{batch.input} has a column "{taken[0]}" already; name the columns to keep with --keep')
    # The folders of a data set tell the rest.
    return [name for name in kept if not (batch.is_folder and name in source.told_by_path)]
