"""What is to be scored and how; by what it is known again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ludocast.serve.batch.answer import ON_ERROR
from ludocast.serve.notes import Note
from ludocast.serve.suggest_options import SuggestOptions
from ludocast.serve.tables.formats import STREAM, format_of
from ludocast.serve.tables.read import table_files

CHUNK_ROWS = 65_536
CHUNK_SEQUENCES = 4_096  # rows that hold lists


@dataclass(frozen=True)
class Batch:
    """A table to be scored.

    Attributes:
        bundle: Folder.
        input: File, folder of Parquet files, or `STREAM`.
        output: File, folder, or `STREAM`.
        format: Of `STREAM` and of suffixes that tell nothing.
        keep: Columns of the input in the output; None keeps all.
        encoding: Of CSV.
        delimiter: Of CSV.
        suggest: Of a recommender.
        users: File of attributes beside a table of pairs.
        on_error: One of `ON_ERROR`.
        bad_rows: Side file; None puts it beside the output.
        overwrite: Whether an output that is there is replaced.
        resume: Whether a run that was stopped is gone on with.
        dask: Address of a cluster, or local[:N].
        is_classic: Whether columns of answers have the names that Azure ML Studio (classic) gave them.
    """

    bundle: Path
    input: Path
    output: Path
    format: str | None = None
    keep: Sequence[str] | None = None
    encoding: str = "utf-8"
    delimiter: str | None = None
    suggest: SuggestOptions = field(default_factory=SuggestOptions)
    users: Path | None = None
    on_error: str = "fail"
    bad_rows: Path | None = None
    overwrite: bool = False
    resume: bool = False
    dask: str | None = None
    is_classic: bool = False

    def __post_init__(self) -> None:
        if self.on_error not in ON_ERROR:
            raise ValueError(f'--on-error is one of {", ".join(ON_ERROR)}, got "{self.on_error}"')
        if self.resume and STREAM in (self.input, self.output):
            raise ValueError("--resume needs files: what went through standard input or output is gone")
        if self.output == STREAM and self.on_error != "fail" and self.bad_rows is None:
            raise ValueError("name a side file for the bad rows with --bad-rows")

    @property
    def input_kind(self) -> str:
        """One of `FORMATS`."""
        return format_of(self.input, self.format)

    @property
    def output_kind(self) -> str:
        """One of `FORMATS`."""
        return "parquet" if self.is_folder else format_of(self.output, self.format)

    @property
    def is_folder(self) -> bool:
        """Whether the output is a folder of files as the input is."""
        return self.input.is_dir() and self.output != STREAM and not self.output.suffix

    @property
    def side_file(self) -> Path:
        """Where the bad rows go."""
        return self.output.with_name(f"{self.output.name}.bad_rows.csv") if self.bad_rows is None else self.bad_rows

    def fingerprint(self) -> dict[str, Any]:
        """All that decides about the bytes of the output; the files by name, size and time."""
        files = [file for path in (self.input, self.users) if path is not None for file in table_files(path)]
        return {
            "input": [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files],
            "bundle": hashlib.sha256((self.bundle / "bundle.json").read_bytes()).hexdigest(),
            "options": {
                "keep": self.keep,
                "encoding": self.encoding,
                "delimiter": self.delimiter,
                "suggest": asdict(self.suggest),
                "on_error": self.on_error,
                "is_classic": self.is_classic,
                "formats": [self.input_kind, self.output_kind],
            },
            "libraries": {name: version(name) for name in ("numpy", "onnxruntime", "pyarrow")},
            "chunks": [CHUNK_ROWS, CHUNK_SEQUENCES],
        }


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        rows: That were answered or found bad; of a recommender, users.
        share: Of the input, from 0 to 1.
        bad: Rows without an answer.
    """

    rows: int
    share: float
    bad: int


@dataclass(frozen=True)
class Outcome:
    """What a run did.

    Attributes:
        rows: That were answered.
        what: What these are.
        bad: Rows without an answer.
        notes: What is to be told.
    """

    rows: int
    what: str
    bad: int
    notes: Mapping[Note, int]


Watcher = Callable[[Progress], None]
