"""Answers to some rows of a table, as they go to a file or to another process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa
from ludocast.serve.notes import Note

_KEY = b"ludocast"


class BadRow(NamedTuple):
    """A row that the model cannot be asked about.

    Attributes:
        row: Its place among the rows of its chunk, from 0.
        column: In which the reason lies, "" where in several.
        reason: What is wrong.
    """

    row: int
    column: str
    reason: str


@dataclass(frozen=True)
class Answered:
    """Answers to a chunk.

    Attributes:
        table: Their columns, a row for each row of the chunk; of pairs or where bad rows are skipped not so.
        rows: How many rows, or users, were answered.
        notes: What is to be told.
        bad: Rows without an answer.
    """

    table: pa.Table
    rows: int
    notes: Mapping[Note, int] = field(default_factory=dict)
    bad: Sequence[BadRow] = ()

    def to_buffer(self) -> pa.Buffer:
        """All of it, for `from_buffer`."""
        told = {"rows": self.rows, "notes": [[*note, count] for note, count in self.notes.items()], "bad": self.bad}
        sink = pa.BufferOutputStream()
        table = self.table.replace_schema_metadata({_KEY: json.dumps(told).encode()})
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue()

    @staticmethod
    def from_buffer(buffer: pa.Buffer | bytes) -> Answered:
        """What `to_buffer` gave."""
        table = pa.ipc.open_stream(buffer).read_all()
        told = json.loads(table.schema.metadata[_KEY])
        notes = {Note(*note): count for *note, count in told["notes"]}
        bad = [BadRow(*row) for row in told["bad"]]
        return Answered(table.replace_schema_metadata(None), told["rows"], notes, bad)
