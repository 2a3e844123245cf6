"""A Parquet data set with a column of parts, read a piece at a time, so that it may be larger than memory."""

# G row groups, N rows of a part

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ludocast.datamodules.errors import first_line
from ludocast.datamodules.infer import RawColumns, label_index, label_values, raw_columns
from ludocast.datamodules.schema import Schema

PARTS = ("train", "validation", "test")
PIECE = 131_072  # most rows that are unfolded at once, however large a row group is


@dataclass(frozen=True)
class RowGroup:
    """One row group: its file, its number in there, and how many the file has."""

    file: Path
    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.file}, row group {self.number + 1} of {self.of}"

    def pieces(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Its rows in order, at most `PIECE` at once.

        Args:
            columns: Which to read; None for all.

        Raises:
            ValueError: If it is corrupt, with its name.
        """
        with _telling(str(self)), pq.ParquetFile(self.file, page_checksum_verification=True) as opened:
            for batch in opened.iter_batches(PIECE, row_groups=[self.number], columns=columns):
                yield pa.Table.from_batches([batch])


@dataclass(frozen=True)
class RowGroups:
    """All row groups of a data set, and how many rows of each part they hold.

    Attributes:
        groups: In the order of the files' names, G.
        split: Column of the parts.
        counts: Rows of each part in each group, int64 [G].
    """

    groups: tuple[RowGroup, ...]
    split: str
    counts: Mapping[str, np.ndarray]

    def rows(self, part: str) -> int:
        """Number of rows of a part."""
        return int(self.counts[part].sum())

    def whole(self) -> pa.Table:
        """All rows of all parts and of none."""
        return pa.concat_tables([piece for group in self.groups for piece in group.pieces()])

    def part(self, part: str, group: int) -> Iterator[pa.Table]:
        """The rows of a part in a group, piece by piece."""
        if self.counts[part][group]:
            for piece in self.groups[group].pieces():
                yield piece.filter(pc.equal(piece[self.split], part))

    def sample(self, most: Mapping[str, int], seed: int) -> tuple[pa.Table, dict[str, np.ndarray]]:
        """Rows drawn without regard to anything, each with the same chance, in the order of the data set.

        Args:
            most: Most rows of each part; where it has no more, all are taken.
            seed: Of the draw.

        Returns:
            The rows; and of each part the positions of its rows among those of the part, ascending.
        """
        generator = np.random.default_rng(seed)
        chosen = {part: _draw(self.rows(part), count, generator) for part, count in most.items()}
        begin, drawn = dict.fromkeys(most, 0), []
        for group in self.groups:
            for piece in group.pieces():
                names, taken = piece[self.split].to_numpy(), []
                for part, positions in chosen.items():
                    rows = np.flatnonzero(names == part)
                    low, high = np.searchsorted(positions, [begin[part], begin[part] + len(rows)])
                    taken.append(rows[positions[low:high] - begin[part]])
                    begin[part] += len(rows)
                drawn.append(piece.take(np.sort(np.concatenate(taken))))
        return pa.concat_tables(drawn), chosen


@dataclass(frozen=True)
class StreamedTable:
    """A data set that stays on the disk, as a schema reads it."""

    groups: RowGroups
    schema: Schema

    def part(self, part: str) -> Iterator[tuple[RawColumns, np.ndarray]]:
        """Raw columns and labels of a part, piece by piece, in the order of the data set.

        Raises:
            ValueError: See `group`.
        """
        for group in range(len(self.groups.groups)):
            yield from self.group(part, group)

    def group(self, part: str, group: int) -> Iterator[tuple[RawColumns, np.ndarray]]:
        """Raw columns, and class index int64 [N], of a part's rows in a row group, piece by piece.

        Raises:
            ValueError: If a cell does not fit the schema, or a label is none of its classes; it names the row group.
        """
        schema = self.schema
        for piece in self.groups.part(part, group):
            with _telling(str(self.groups.groups[group])):
                columns, _ = raw_columns(piece, schema)
                found = label_values(piece, schema.label, frozenset(schema.missing_tokens))
                strange = sorted(set(found.tolist()) - set(schema.classes))
                if strange:
                    known = ", ".join(f'"{name}"' for name in schema.classes)
                    raise ValueError(f'the label "{schema.label}" is "{strange[0]}" in a row, and has to be {known}')
                yield columns, label_index(found, schema)


def open_row_groups(folder: Path, split: str) -> RowGroups:
    """Look at all files of a data set, and count the rows of its parts.

    Args:
        folder: What `pandas.read_parquet` reads: files whose names begin with `_` or `.` are none of it.
        split: Column of the parts.

    Raises:
        ValueError: If a file is corrupt, or its columns are not those of the others; it names the file.
    """
    groups: list[RowGroup] = []
    first: tuple[Path, pa.Schema] | None = None
    for file in sorted(folder.rglob("*")):
        if not file.is_file() or any(name.startswith(("_", ".")) for name in file.relative_to(folder).parts):
            continue
        with _telling(str(file)), pq.ParquetFile(file) as opened:
            count, schema = opened.metadata.num_row_groups, opened.schema_arrow
        if first is None:
            first = file, schema
        _check_schema(file, schema, *first)
        groups += [RowGroup(file, number, count) for number in range(count)]
    if first is None:
        raise ValueError(f"{folder} holds no Parquet file; make the snapshots again")
    if split not in first[1].names:
        raise ValueError(f'{first[0]} has no column "{split}"; make the snapshots again')
    counts = {part: np.zeros(len(groups), np.int64) for part in PARTS}
    for position, group in enumerate(groups):
        for piece in group.pieces([split]):
            names = piece[split].to_numpy()
            for part in PARTS:
                counts[part][position] += np.count_nonzero(names == part)
    return RowGroups(tuple(groups), split, counts)


def _check_schema(file: Path, schema: pa.Schema, like: Path, first: pa.Schema) -> None:
    types, wanted = ({field.name: field.type for field in one} for one in (schema, first))
    for name in [*wanted, *types]:
        if types.get(name) != wanted.get(name):
            here, there = (str(found.get(name, "absent")) for found in (types, wanted))
            raise ValueError(
                f'the files of a data set have the same columns, but "{name}" is {here} in {file} and {there} in '
                f"{like}; make the snapshots again"
            )


def _draw(rows: int, most: int, generator: np.random.Generator) -> np.ndarray:
    return np.arange(rows) if rows <= most else np.sort(generator.choice(rows, most, replace=False, shuffle=False))


@contextlib.contextmanager
def _telling(where: str) -> Iterator[None]:
    """Name the place in what went wrong."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{where} cannot be read ({first_line(error)}); write the data set again") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
