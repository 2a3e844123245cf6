"""The table that a run learns from: read, described, split, its traps named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from ludocast.datamodules.cells import CellError, column_values
from ludocast.datamodules.infer import (
    RawColumns,
    check_column,
    describe,
    infer_schema,
    label_classes,
    label_index,
    label_values,
    raw_columns,
)
from ludocast.datamodules.label_columns import infer_label_schema, label_columns, label_matrix
from ludocast.datamodules.number_label import Task, is_regression, number_label
from ludocast.datamodules.read import read_table
from ludocast.datamodules.row_groups import RowGroups, StreamedTable, open_row_groups
from ludocast.datamodules.schema import USED_KINDS, Schema, read_schema
from ludocast.datamodules.split import Split, group_split, stratified_split, time_split
from ludocast.datamodules.traps import traps
from ludocast.recipes.provenance import digest
from ludocast.recipes.snapshot_table import SnapshotTable, snapshot_table

TEST, VALIDATION = 0.2, 0.1
MOST_ROWS = 1_000_000  # training rows in memory
HELD_OUT_ROWS = 10_000  # of validation and test in memory at least, or a tenth of the training rows


@dataclass(frozen=True)
class LabelledTable:
    """A table ready to learn from.

    Attributes:
        schema: What its columns are.
        columns: In memory.
        label: Class index of these rows, int64, of several labels [N, L], or the number to predict, float64.
        split: Their parts.
        sha256: Of the file, or the folder.
        truth: The true probability of these rows, where it is known.
        stream: All rows of the parts, where those in memory are a sample of them.
        shown: Positions of the test rows in memory among all test rows; None where these are all.
    """

    schema: Schema
    columns: RawColumns
    label: np.ndarray
    split: Split
    sha256: str
    truth: np.ndarray | None
    stream: StreamedTable | None = None
    shown: np.ndarray | None = None

    @property
    def rows(self) -> dict[str, int]:
        """Part to number of rows."""
        parts = {"training": self.split.train, "test": self.split.test, "validation": self.split.validation}
        if self.stream is not None:
            groups = self.stream.groups
            return {name: groups.rows(name.removesuffix("ing")) for name in parts}
        return {name: len(rows) for name, rows in parts.items() if rows is not None}

    @property
    def validation(self) -> tuple[RawColumns, np.ndarray] | None:
        """Raw columns and labels of the validation rows in memory; None where training rows are held out in turn."""
        return None if self.split.validation is None else self.part(self.split.validation)

    def test_pieces(self) -> Iterator[tuple[RawColumns, np.ndarray]]:
        """Raw columns and labels of all test rows, some at a time."""
        if self.stream is None:
            yield self.part(self.split.test)
        else:
            yield from self.stream.part("test")

    def part(self, rows: np.ndarray) -> tuple[RawColumns, np.ndarray]:
        """Raw columns and labels of some rows in memory."""
        return {name: values[rows] for name, values in self.columns.items()}, self.label[rows]


def read_labelled_table(
    data: Path,
    label: str | tuple[str, ...] | None,
    positive: str | None,
    exclude: Sequence[str],
    schema_file: Path | None,
    split_time: str | None,
    split_group: str | None,
    seed: int,
    encoding: str,
    delimiter: str | None,
    truth: Path | None,
    rare: int = 0,
    most_rows: int = MOST_ROWS,
    task: Task = "classification",
) -> LabelledTable:
    """Read a table and make its split.

    Args:
        data: CSV or Parquet file, or a folder of snapshots, whose split is kept.
        label: The column to predict, or several; None for that of the snapshots.
        positive: The class whose probability is wanted.
        exclude: Columns to leave out.
        schema_file: A schema to follow instead of inferring one.
        split_time: Column that orders the rows in time.
        split_group: Column whose values are never parted.
        seed: Of the split.
        encoding: Of a CSV file.
        delimiter: Of a CSV file.
        truth: Columns that tell a row, then the true probability of the positive class, for simulated tables.
        rare: Categories with fewer training rows are not named in the schema.
        most_rows: Of snapshots, more training rows than this stay on the disk, and a sample of as many is read.
        task: What the label is.

    Raises:
        ValueError: If the table does not serve; the sentence says why.
    """
    known_split = snapshot_table(data) if data.is_dir() else None
    groups, positions = None, None
    if known_split is None:
        table = read_table(data, encoding, delimiter)
    else:
        label, positive = known_split.label, "true" if positive is None else positive
        groups = open_row_groups(data, known_split.split)
        table, positions = _snapshots(groups, most_rows, seed)
        if positions is not None and truth is not None:
            raise ValueError("--truth needs all rows in memory; give a higher --most-rows, or leave --truth out")
    assert label is not None
    left_out = [
        *exclude,
        *(() if known_split is None else known_split.left_out),
        *(name for name in (split_group,) if name is not None and name not in exclude),
    ]
    for name in (split_time, split_group):
        if name is not None:
            check_column(table, name)
    schema = _schema(table, label, positive, left_out, schema_file, task)
    if known_split is not None:  # features of snapshots count and measure; there is no code among them
        numbers = (replace(column, is_quantity=column.kind == "number") for column in schema.columns)
        schema = schema.with_columns(tuple(numbers))
    columns, overflowed = raw_columns(table, schema)
    index = _label(table, schema)
    if known_split is None:
        split = _split(table, schema, index, split_time, split_group, seed)
    else:
        split = _split_of_snapshots(table, known_split)
    _check_parts(index, split, schema)
    # A player may look like another one at another time: equal rows are no trap of snapshots.
    shown = split.test if known_split is None else split.test[:0]
    warned = (*schema.warnings, *overflowed, *traps(schema, columns, index, split.train, shown))
    if groups is not None and positions is not None:
        warned = (*warned, _sampled(groups, positions, seed))
    schema = replace(describe(schema, columns, split.train, rare), warnings=warned)
    known = None if truth is None else _truth(truth, table, len(index))
    found = LabelledTable(schema, columns, index, split, digest(data), known)
    if groups is None or positions is None:
        return found
    return replace(found, stream=StreamedTable(groups, schema), shown=positions["test"])


def _snapshots(groups: RowGroups, most_rows: int, seed: int) -> tuple[pa.Table, dict[str, np.ndarray] | None]:
    """All rows and None; or, of more training rows than `most_rows`, a sample and its positions in each part."""
    if groups.rows("train") <= most_rows:
        return groups.whole(), None
    held_out = max(most_rows // 10, HELD_OUT_ROWS)
    return groups.sample({"train": most_rows, "validation": held_out, "test": held_out}, seed)


def _sampled(groups: RowGroups, positions: dict[str, np.ndarray], seed: int) -> str:
    train, validation, _ = (f"{len(rows):,} of {groups.rows(part):,}" for part, rows in positions.items())
    return (
        f"more training rows than --most-rows: the network reads all from the disk; scales, codes and the other "
        f"learners come from {train} of them drawn at random (seed {seed}), settings, blend and calibration from "
        f"{validation} validation rows; the test is all its rows"
    )


def _label(table: pa.Table, schema: Schema) -> np.ndarray:
    missing = frozenset(schema.missing_tokens)
    if schema.labels:
        return label_matrix(table, schema.labels, missing)
    if not schema.classes:
        return number_label(table, schema.label, missing)
    return label_index(label_values(table, schema.label, missing), schema)


def _schema(
    table: pa.Table, label: str | tuple[str, ...], positive: str | None, exclude: Sequence[str], file: Path | None,
    task: Task,
) -> Schema:  # fmt: skip
    if file is None and isinstance(label, tuple):
        return infer_label_schema(table, label, positive, exclude)
    if file is None:
        assert isinstance(label, str)
        return infer_schema(table, label, positive, exclude, task=task)
    schema = read_schema(file)
    asked = ("--label", label) if isinstance(label, str) else ("--labels", ", ".join(label))
    if (schema.label, bool(schema.labels)) != (asked[1], isinstance(label, tuple)):
        raise ValueError(f'{file} is the schema for label "{schema.label}", not for {asked[0]} "{asked[1]}"')
    for name in exclude:
        check_column(table, name)
    kept = tuple(replace(c, kind="ignored", reason="excluded") if c.name in exclude else c for c in schema.columns)
    missing = frozenset(schema.missing_tokens)
    if all(column.kind not in USED_KINDS for column in kept):
        raise ValueError(f"{file} leaves no column to learn from; give one of them a kind of {', '.join(USED_KINDS)}")
    if isinstance(label, tuple):
        labels = schema.labels if positive is None else label_columns(table, label, positive, missing)
        return replace(schema, columns=kept, labels=labels)
    is_number = not schema.classes if task == "auto" else is_regression(table, label, missing, task)
    classes = () if is_number else label_classes(table, label, missing)
    chosen = positive if positive is not None else schema.positive
    if chosen is not None and chosen not in classes:
        raise ValueError(f'the positive class "{chosen}" is no value of "{label}" in this table: {", ".join(classes)}')
    return replace(schema, columns=kept, classes=classes, positive=chosen if len(classes) == 2 else None)


def _split(table: pa.Table, schema: Schema, label: np.ndarray, time: str | None, group: str | None, seed: int) -> Split:
    if time is not None and group is not None:
        raise ValueError("give --split-time or --split-group, not both")
    missing = frozenset(schema.missing_tokens)
    if time is not None:
        try:
            values = column_values(table[time], "timestamp", missing).values
        except CellError as error:
            raise ValueError(f'--split-time "{time}", row {(error.row or 0) + 1}: {error}') from error
        if np.isnan(values).any():
            raise ValueError(
                f'--split-time "{time}" is missing in {int(np.isnan(values).sum()):,} rows; fill or drop them'
            )
        return time_split(values, TEST, VALIDATION)
    if group is not None:
        return group_split(column_values(table[group], "category", missing).values, TEST, VALIDATION, seed)
    return stratified_split(label, TEST, VALIDATION, seed)


def _split_of_snapshots(table: pa.Table, known: SnapshotTable) -> Split:
    """The parts that the snapshots name; rows of none of them are left out."""
    names = table[known.split].to_numpy()
    train, validation, test = (np.flatnonzero(names == name) for name in ("train", "validation", "test"))
    return Split(train, validation, test, known.rule)


def _check_parts(label: np.ndarray, split: Split, schema: Schema) -> None:
    parts = {"training": split.train, "validation": split.validation, "test": split.test}
    for name, rows in parts.items():
        if rows is None:
            continue
        if not len(rows) and not schema.classes:
            raise ValueError(f"the {name} part (split {split.rule}) has no row; more rows are needed, or another split")
        for column, value in _absent(label[rows], schema):
            raise ValueError(
                f'the {name} part ({len(rows):,} rows, split {split.rule}) has no row with "{column}" '
                f'= "{value}"; more rows of it are needed, or another split'
            )


def _absent(label: np.ndarray, schema: Schema) -> Iterator[tuple[str, str]]:
    """Columns with a value that no row has."""
    if not schema.labels:
        known = set(label.tolist())
        yield from ((schema.label, name) for place, name in enumerate(schema.classes) if place not in known)
    for one, has in zip(schema.labels, label.T if schema.labels else (), strict=True):
        yield from (
            (one.name, value) for value, is_there in ((one.yes, has.any()), (one.no, not has.all())) if not is_there
        )


def _truth(path: Path, table: pa.Table, rows: int) -> np.ndarray:
    """The true probability of each row, found by all columns of the truth but its last one."""
    truth = read_table(path)
    *keys, value = truth.column_names
    for key in keys:
        check_column(table, key)
    wanted, known = (_keys(one, keys) for one in (table, truth))
    place = pd.MultiIndex.from_frame(known)
    if not keys or place.has_duplicates or len(wanted) != rows:
        raise ValueError(f'{path} has to hold columns that tell a row of the table, once each, and then "{value}"')
    found = place.get_indexer(pd.MultiIndex.from_frame(wanted))
    if (found < 0).any():
        row = int(np.flatnonzero(found < 0)[0])
        raise ValueError(f"{path} has no true probability for row {row + 1} of the table; give the truth of this table")
    try:
        return column_values(truth[value], "number", frozenset()).values.astype(np.float64)[found]
    except CellError as error:
        raise ValueError(f'{path}, row {(error.row or 0) + 1}, column "{value}": {error}') from error


def _keys(table: pa.Table, names: Sequence[str]) -> pd.DataFrame:
    """Times in one zone, all else as text."""
    frame: pd.DataFrame = table.select(names).to_pandas()
    for name in names:
        is_time = frame[name].dtype.kind == "M"
        frame[name] = pd.to_datetime(frame[name], utc=True) if is_time else frame[name].astype(str)
    return frame
