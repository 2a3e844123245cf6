"""What a table says of users or of items, a row each: its columns, and what is known of those who have pairs."""

# R rows of the table, N users or items, D numbers of a user

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from ludocast.datamodules.cells import CellError, column_values
from ludocast.datamodules.fit_preprocessing import fit_unlabelled
from ludocast.datamodules.infer import RawColumns, describe, infer_columns, raw_columns
from ludocast.datamodules.preprocess import MISSING, Preprocessing
from ludocast.datamodules.read import from_frame, read_table
from ludocast.datamodules.schema import MISSING_TOKENS, Schema


@dataclass(frozen=True)
class AttributeTable:
    """Attributes by id.

    Attributes:
        where: The file, for sentences.
        ids: Texts [R], each once.
        table: The other columns, Arrow [R].
    """

    where: str
    ids: pd.Index
    table: pa.Table

    def rows_of(self, ids: np.ndarray) -> np.ndarray:
        """The row of each id, whole numbers or texts [N]; −1 where the table has none."""
        return np.asarray(self.ids.get_indexer(pd.Index([str(one) for one in ids.tolist()], dtype=object)), np.int64)


@dataclass(frozen=True)
class UserColumns:
    """Columns of users as numbers, fitted on some of them.

    Attributes:
        schema: What the columns are, with the statistics of those users.
        preprocessing: Fitted on them.
    """

    schema: Schema
    preprocessing: Preprocessing

    @property
    def groups(self) -> np.ndarray:
        """Of which column each number of `vectors` is, int64 [D]."""
        names = {column.name: k for k, column in enumerate(self.schema.inputs)}
        of_numbers = [names[entry.column] for entry in self.preprocessing.numbers]
        flags = [names[entry.column] for entry in self.preprocessing.numbers if entry.missing_flag]
        codes = [names[entry.column] for entry in self.preprocessing.codes for _ in range(entry.size - MISSING)]
        return np.array([*of_numbers, *flags, *codes], np.int64)

    def vectors(self, columns: RawColumns) -> np.ndarray:
        """Scaled numbers and flags, then each code column one-hot, "never seen" all 0; float32 [N, D]."""
        encoded = self.preprocessing.encode(columns)
        parts = [encoded.numbers]
        for k, entry in enumerate(self.preprocessing.codes):
            parts.append(encoded.codes[:, k, None] == np.arange(MISSING, entry.size))
        return np.concatenate(parts, 1, dtype=np.float32)

    def blank(self, rows: int = 1) -> RawColumns:
        """Raw columns of users of whom nothing is told."""
        return {
            column.name: np.full(rows, "", object)
            if column.kind in ("category", "boolean")
            else np.full(rows, np.nan, np.float64 if column.kind == "timestamp" else np.float32)
            for column in self.schema.inputs
        }


def is_blank(columns: RawColumns) -> np.ndarray:
    """Users of whom nothing is told, bool [N]."""
    gaps = [values == "" if values.dtype == object else np.isnan(values) for values in columns.values()]
    return np.asarray(np.logical_and.reduce(gaps))


def read_attributes(
    path: Path, key: str, option: str, encoding: str = "utf-8", delimiter: str | None = None
) -> AttributeTable:
    """Read a CSV or Parquet file of attributes.

    Args:
        path: Of the file.
        key: Column of ids, named as that of the pairs.
        option: The command line's option, for sentences.
        encoding: Of a CSV file.
        delimiter: Of a CSV file; found by itself when None.

    Raises:
        ValueError: If the column of ids is absent, an id stands twice, or there is nothing beside it.
    """
    return _of_table(read_table(path, encoding, delimiter), key, f"{option} {path}")


def attributes_of_frame(frame: pd.DataFrame, key: str, where: str = "the frame") -> AttributeTable:
    """The same of a pandas frame.

    Raises:
        ValueError: As `read_attributes`.
    """
    return _of_table(from_frame(frame), key, where)


def _of_table(table: pa.Table, key: str, where: str) -> AttributeTable:
    if key not in table.column_names:
        have = ", ".join(table.column_names[:10])
        raise ValueError(f'{where} needs the column "{key}", named as in the pairs; it has {have}')
    try:
        ids = pd.Index(column_values(table[key], "category", frozenset(MISSING_TOKENS)).values)
    except CellError as error:
        raise ValueError(f'{where}, column "{key}": {error}') from error
    kept = ids != ""
    doubled = ids[ids.duplicated() & kept]
    if len(doubled):
        raise ValueError(f'{where} has "{key}" = "{doubled[0]}" twice; give one row each')
    found = table.drop_columns([key])
    if not found.num_columns:
        raise ValueError(f'{where} has no column beside "{key}"; leave the option out')
    return AttributeTable(where, ids[kept], found.filter(pa.array(kept)))


def user_schema(attributes: AttributeTable) -> tuple[Schema, RawColumns, tuple[str, ...]]:
    """What the columns are, by all rows, the raw columns [R], and a sentence for each that is left out.

    Raises:
        ValueError: If no column tells users apart.
    """
    found, told = infer_columns(attributes.table, (), frozenset(MISSING_TOKENS))
    schema = Schema(tuple(found), "", (), None)
    if not schema.inputs:
        reasons = "; ".join(f'"{column.name}": {column.reason}' for column in found)
        raise ValueError(f"{attributes.where} has no column that tells one from another ({reasons})")
    columns, overflowed = raw_columns(attributes.table, schema)
    return schema, columns, tuple(f"{attributes.where}: {one}" for one in (*told, *overflowed))


def fit_user_columns(schema: Schema, columns: RawColumns, rows: np.ndarray) -> UserColumns:
    """Fit scales and codes on some users alone.

    Args:
        schema: What the columns are.
        columns: Raw columns of all.
        rows: Those to fit on, int64.
    """
    known = of_rows(columns, rows)
    return UserColumns(describe(schema, columns, rows), fit_unlabelled(schema, known))


def of_rows(columns: RawColumns, rows: np.ndarray) -> RawColumns:
    """Raw columns of some rows."""
    return {name: values[rows] for name, values in columns.items()}
