"""CNTK's text format: `[id] |stream values |# comment |stream values …`, one line a step of one or more streams.

Format: https://learn.microsoft.com/cognitive-toolkit/brainscript-cntktextformat-reader. Lines of one id are one
sequence and stand together; in a file without ids each line is a sequence of its own. A value of a sparse stream is
`index:value`, of a dense one a number. A stream may have fewer steps in a sequence than another has.
"""

# N sequences, T steps of a stream, K entries of a sparse stream, D values a step

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from ludocast.datamodules.text import numbered_lines

_PIPE = re.compile(r"(?<!#)\|")  # inside of a comment `#|` is a pipe
_ID = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Stream:
    """A stream as the caller declares it: its kind, and its number of indices or of values a step."""

    kind: Literal["sparse", "dense"]
    dimension: int


@dataclass(frozen=True)
class SparseStream:
    """Steps of `index:value` entries.

    Attributes:
        indices: int64 [K].
        values: float32 [K].
        starts: Where the entries of each step begin, int64 [T + 1].
        offsets: Where the steps of each sequence begin, int64 [N + 1].
        dimension: Indices lie below it.
        names: Index to the comment that first stood behind it alone, such as the word of that number.
    """

    indices: np.ndarray
    values: np.ndarray
    starts: np.ndarray
    offsets: np.ndarray
    dimension: int
    names: dict[int, str]

    def ids(self) -> np.ndarray:
        """The index of each step, int64 [T].

        Raises:
            ValueError: If a step is anything but one index with the value 1.
        """
        wrong = np.flatnonzero(np.diff(self.starts) != 1)
        if not len(wrong) and (self.values != 1).any():
            wrong = np.flatnonzero(self.values != 1)
        if len(wrong):
            row = int(np.searchsorted(self.offsets, wrong[0], side="right"))
            raise ValueError(
                f"sequence {row} has a step that is not one index with the value 1; such a stream holds no ids, "
                "take its values as numbers"
            )
        return self.indices

    def texts(self) -> pa.DictionaryArray:
        """The name of each step's index, or its number where it has none; Arrow texts [T], dictionary-encoded."""
        names = [self.names.get(index, str(index)) for index in range(self.dimension)]
        count = Counter(names)
        plain = [name if count[name] == 1 else str(index) for index, name in enumerate(names)]
        return pa.DictionaryArray.from_arrays(pa.array(self.ids()), pa.array(plain, pa.string()))


@dataclass(frozen=True)
class DenseStream:
    """Steps of as many numbers each: values float32 [T, D], offsets int64 [N + 1]."""

    values: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True)
class CtfData:
    """A file in CNTK's text format.

    Attributes:
        path: The file.
        streams: Name to its steps.
        ids: The sequences' ids, or their line numbers in a file without ids, int64 [N].
        lines: The line in which each sequence begins, int64 [N].
    """

    path: Path
    streams: dict[str, SparseStream | DenseStream]
    ids: np.ndarray
    lines: np.ndarray

    def sparse(self, name: str) -> SparseStream:
        """A stream of indices.

        Raises:
            ValueError: If there is no such stream, or it is dense.
        """
        stream = self.streams.get(name)
        if not isinstance(stream, SparseStream):
            raise ValueError(
                f'{self.path} has no sparse stream "{name}"; its streams are {", ".join(sorted(self.streams))}'
            )
        return stream

    def check_same_length(self, first: str, second: str) -> None:
        """Refuse a file in which two streams have not as many steps, such as words and tags.

        Raises:
            ValueError: With the first sequence and its line.
        """
        counts = [np.diff(self.streams[name].offsets) for name in (first, second)]
        wrong = np.flatnonzero(counts[0] != counts[1])
        if len(wrong):
            row = int(wrong[0])
            raise ValueError(
                f"{self.path}, line {self.lines[row]}: sequence {self.ids[row]} has {counts[0][row]} steps of "
                f'"{first}" and {counts[1][row]} of "{second}"; give both on each of its lines '
                f"({len(wrong)} of {len(self.ids)} sequences differ)"
            )


def read_ctf(path: str | Path, streams: Mapping[str, Stream] | None = None, encoding: str = "utf-8") -> CtfData:
    """Read a file in CNTK's text format, plain or `.gz`.

    Args:
        path: The file.
        streams: Name to kind and dimension, each other stream an error; None takes what the file has: a stream is
            sparse where its first value has a colon, and as wide as its largest index, or its first step, says.
        encoding: Any name that Python knows.

    Raises:
        ValueError: With the line and what to do, where a line is broken, a stream is not declared, an index is out of
            range, or an id comes back after another one.
    """
    reader = _Reader(Path(path), streams)
    for number, line in numbered_lines(Path(path), encoding):
        reader.line(number, line)
    return reader.finish()


@dataclass
class _Builder:
    declared: bool
    kind: str | None = None
    dimension: int = 0
    indices: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("f"))
    starts: array[int] = field(default_factory=lambda: array("q", [0]))
    offsets: array[int] = field(default_factory=lambda: array("q", [0]))
    names: dict[int, str] = field(default_factory=dict)

    def add(self, items: list[str]) -> None:
        """Take one step in."""
        if self.kind is None and items:
            self.kind = "sparse" if ":" in items[0] else "dense"
            self.dimension = 0 if self.kind == "sparse" else len(items)
            if self.kind == "dense" and len(self.starts) > 1:
                raise ValueError(f"{len(items)} values, the step before had none; give each step as many")
        if self.kind == "dense":
            if len(items) != self.dimension:
                raise ValueError(f"{len(items)} values, a step of it has {self.dimension}; give them all")
            self.values.extend(_number(item) for item in items)
        else:
            for item in items:
                self._add_entry(item)
        self.starts.append(len(self.values))

    def _add_entry(self, item: str) -> None:
        text, colon, value = item.partition(":")
        if not colon or _ID.fullmatch(text) is None:
            raise ValueError(f'"{item}" is not index:value; write 12:1, or declare the stream as dense')
        index = int(text)
        if self.declared and index >= self.dimension:
            raise ValueError(
                f"index {index} is out of range, the stream was declared with {self.dimension} indices from 0; "
                "declare as many as there are"
            )
        if index >= 1 << 31:
            raise ValueError(f"index {index} is above 2³¹; number the values from 0 without such gaps")
        self.dimension = max(self.dimension, index + 1)
        self.indices.append(index)
        self.values.append(_number(value))

    def finish(self) -> SparseStream | DenseStream:
        offsets, values = np.array(self.offsets, np.int64), np.array(self.values, np.float32)
        if self.kind == "dense":
            return DenseStream(values.reshape(-1, self.dimension), offsets)
        indices, starts = np.array(self.indices, np.int64), np.array(self.starts, np.int64)
        return SparseStream(indices, values, starts, offsets, self.dimension, self.names)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f'"{text}" is no finite number; write one such as 0.5')
    return number


class _Reader:
    """Lines to streams."""

    def __init__(self, path: Path, streams: Mapping[str, Stream] | None) -> None:
        self.path, self.is_declared = path, streams is not None
        self.builders = {
            name: _Builder(declared=True, kind=stream.kind, dimension=stream.dimension)
            for name, stream in (streams.items() if streams is not None else ())
        }
        self.ids, self.lines = array("q"), array("q")
        self.seen: set[int] = set()
        self.has_ids: bool | None = None

    def line(self, number: int, line: str) -> None:
        """Take one line in; an empty one is none.

        Raises:
            ValueError: With its number.
        """
        if not line.strip():
            return
        try:
            head, *fields = _PIPE.split(line)
            self._begin(number, head.strip())
            if not fields:
                raise ValueError('there is no "|" and no stream in it; a line is "id |stream values"')
            self._fields(fields)
        except ValueError as error:
            raise ValueError(f"{self.path}, line {number}: {error}") from None

    def _begin(self, number: int, head: str) -> None:
        if head and _ID.fullmatch(head) is None:
            raise ValueError(f'"{head[:40]}" before the first "|" is no sequence id; an id is a whole number')
        if self.has_ids is None:
            self.has_ids = bool(head)
        if bool(head) != self.has_ids:
            raise ValueError(
                "it has no sequence id, lines before it have one; give every line its id"
                if self.has_ids
                else "it has a sequence id, lines before it have none; give every line an id, or none of them"
            )
        sequence = int(head) if head else number
        if self.ids and sequence == self.ids[-1]:
            return
        if sequence in self.seen:
            raise ValueError(f"sequence {sequence} comes back after another one; put all lines of an id together")
        if sequence >= 1 << 63:
            raise ValueError(f"sequence id {sequence} is above 2⁶³; give smaller ids")
        self._end_sequence()
        self.seen.add(sequence)
        self.ids.append(sequence)
        self.lines.append(number)

    def _end_sequence(self) -> None:
        if self.ids:
            for builder in self.builders.values():
                builder.offsets.append(len(builder.starts) - 1)

    def _fields(self, fields: list[str]) -> None:
        last: _Builder | None = None  # the stream that a comment behind it names, where it holds one index
        for text in fields:
            if text.startswith("#"):
                if last is not None:
                    last.names.setdefault(last.indices[-1], text[1:].replace("#|", "|").strip())
                last = None
                continue
            name, *items = text.split() if text[:1].strip() else [""]
            builder = self._builder(name)
            try:
                builder.add(items)
            except ValueError as error:
                raise ValueError(f'stream "{name}": {error}') from None
            last = builder if builder.kind == "sparse" and len(items) == 1 else None

    def _builder(self, name: str) -> _Builder:
        if not name:
            raise ValueError('a "|" has no stream name behind it; write "|name values", in a comment "#|" for a pipe')
        if name not in self.builders:
            if self.is_declared:
                raise ValueError(
                    f'stream "{name}" is unknown; declared are {", ".join(sorted(self.builders))}: declare it too, '
                    "or take it out of the file"
                )
            # Sequences before this one have no step of it; the one under way has not ended yet.
            self.builders[name] = _Builder(declared=False, offsets=array("q", [0] * len(self.ids)))
        return self.builders[name]

    def finish(self) -> CtfData:
        """The whole file.

        Raises:
            ValueError: If there is no sequence in it, or none of a declared stream's steps.
        """
        self._end_sequence()
        if not self.ids:
            raise ValueError(f'{self.path} holds no sequence; a line is "id |stream values"')
        for name, builder in self.builders.items():
            if len(builder.starts) == 1:
                raise ValueError(f'{self.path} has no step of stream "{name}"; do not declare it')
        streams = {name: builder.finish() for name, builder in self.builders.items()}
        return CtfData(self.path, streams, np.array(self.ids, np.int64), np.array(self.lines, np.int64))
