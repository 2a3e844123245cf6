"""The table of a segmentation: read, described, what is wrong with it told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from ludocast.datamodules.infer import RawColumns, check_column, describe, infer_columns, raw_columns
from ludocast.datamodules.read import read_table
from ludocast.datamodules.schema import MISSING_TOKENS, Schema, read_schema
from ludocast.recipes.provenance import digest


@dataclass(frozen=True)
class SegmentTable:
    """A table to find segments in.

    Attributes:
        schema: What its columns are, and warnings.
        columns: Raw columns that are used.
        table: As read.
        sha256: Of the file.
    """

    schema: Schema
    columns: RawColumns
    table: pa.Table
    sha256: str

    @property
    def rows(self) -> int:
        """N."""
        return len(next(iter(self.columns.values())))


def read_segment_table(
    data: Path, exclude: Sequence[str], schema_file: Path | None, encoding: str, delimiter: str | None
) -> SegmentTable:
    """Read a table.

    Args:
        data: CSV or Parquet file.
        exclude: Columns to leave out.
        schema_file: A schema to follow instead of inferring one.
        encoding: Of a CSV file.
        delimiter: Of a CSV file.

    Raises:
        ValueError: If nothing in it tells rows apart, or a cell does not fit.
    """
    table = read_table(data, encoding, delimiter)
    if table.num_rows < 2:
        what = "one row" if table.num_rows else "no row"
        raise ValueError(f"{data} has {what}; segments need two or more")
    if schema_file is None:
        found, told = infer_columns(table, exclude, frozenset(MISSING_TOKENS))
        schema = Schema(tuple(found), "", (), None)
    else:
        schema, told = read_schema(schema_file), []
        for name in exclude:
            check_column(table, name)
        schema = schema.with_columns(
            [replace(c, kind="ignored", reason="excluded") if c.name in exclude else c for c in schema.columns]
        )
    # What counts and measures is no code, however few values it has.
    schema = schema.with_columns([replace(c, is_quantity=c.kind == "number") for c in schema.columns])
    if not schema.inputs:
        reasons = "; ".join(f'"{column.name}": {column.reason}' for column in schema.columns)
        raise ValueError(f"no column is left to tell rows apart ({reasons})")
    columns, overflowed = raw_columns(table, schema)
    schema = describe(schema, columns, np.arange(table.num_rows))
    return SegmentTable(replace(schema, warnings=(*told, *overflowed)), columns, table, digest(data))
