"""A table that is read some rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Broken:
    """A line of a file that no row can be made of.

    Attributes:
        row: Its number among the rows, from 1.
        reason: What is wrong.
        text: The line.
    """

    row: int
    reason: str
    text: str


@dataclass
class Source:
    """A table.

    Attributes:
        names: Of the columns.
        chunks: Number of the file, of several, and some rows of it.
        rows: How many there are, None where only reading tells.
        progress: The share of the table that was read.
        broken: Lines that were left out, if the reader was told to; they are known once the rows around them are read.
        told_by_path: Columns that the folders of a data set tell.
    """

    names: list[str]
    chunks: Iterator[tuple[int, pa.RecordBatch]]
    rows: int | None
    progress: Callable[[], float]
    broken: list[Broken] = field(default_factory=list)
    told_by_path: Sequence[str] = ()

    def row_numbers(self, first: int, count: int) -> list[int]:
        """Numbers (from 1) that rows have in the file, where broken lines count too.

        Args:
            first: How many rows came before, without broken lines.
            count: How many are asked about.
        """
        found = np.arange(first + 1, first + count + 1)
        # The k-th broken line stands before a row if not more than its number less k good rows stand before the line.
        before = np.array([line.row for line in self.broken], np.int64) - np.arange(len(self.broken))
        numbers: list[int] = (found + np.searchsorted(before, found, side="right")).tolist()
        return numbers


@dataclass(frozen=True)
class Reading:
    """How a table is read.

    Attributes:
        encoding: Of CSV.
        delimiter: Of CSV; None is found.
        chunk_rows: The most rows of a chunk.
        leave_out: Whether lines that no row can be made of are left out; else they are an error.
    """

    encoding: str = "utf-8"
    delimiter: str | None = None
    chunk_rows: int = 65_536
    leave_out: bool = False
