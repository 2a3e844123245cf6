"""Rows of a table answered by a scorer; rows that it cannot be asked about found one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
from ludocast.serve.answers import answer_columns, answer_names
from ludocast.serve.batch.answered import Answered, BadRow
from ludocast.serve.feeds import RowError
from ludocast.serve.scorer import Scorer

Columns = Mapping[str, pa.Array]
ON_ERROR = ("fail", "skip", "null")


def answer_rows(scorer: Scorer, columns: Columns, first_row: int, on_error: str, is_text: bool) -> Answered:
    """Answers of one row each.

    Args:
        scorer: That is asked.
        columns: That the model reads.
        first_row: How many rows came before, for an error.
        on_error: One of `ON_ERROR`: whether a row that the scorer refuses is an error, is left out, or gets nulls.
        is_text: Whether lists are JSON arrays in text.

    Raises:
        ValueError: If a row cannot be asked about and `on_error` is "fail", or all rows cannot.
    """
    try:
        return _answers(scorer, columns, first_row, is_text)
    except RowError:
        if on_error == "fail":
            raise
    batch = pa.table(dict(columns))
    bad = list(_bad_rows(scorer, batch, 0))
    left_out = {one.row for one in bad}
    good = [row for row in range(batch.num_rows) if row not in left_out]
    found = _answers(scorer, dict(zip(batch.column_names, batch.take(good).columns, strict=True)), 0, is_text)
    table = found.table
    if on_error == "null":
        places = dict(zip(good, range(len(good)), strict=True))
        table = table.take(pa.array([places.get(row) for row in range(batch.num_rows)], pa.int64()))
    return Answered(table, len(good), found.notes, bad)


def _answers(scorer: Scorer, columns: Columns, first_row: int, is_text: bool) -> Answered:
    found = scorer.predict_columns(columns, first_row)
    scored = answer_columns(scorer.manifest, found, is_text=is_text)
    return Answered(pa.table(scored, answer_names(scorer.manifest)), len(found.labels), found.notes)


def _bad_rows(scorer: Scorer, batch: pa.Table, first: int) -> Iterator[BadRow]:
    """By halves: each has its first bad row named, until what is left is good or one row."""
    error = _error(scorer, batch)
    if error is None:
        return
    if batch.num_rows == 1:
        yield BadRow(first, error.column, error.reason)
        return
    half = batch.num_rows // 2
    yield from _bad_rows(scorer, batch.slice(0, half), first)
    yield from _bad_rows(scorer, batch.slice(half), first + half)


def _error(scorer: Scorer, batch: pa.Table) -> RowError | None:
    columns: dict[str, Any] = dict(zip(batch.column_names, batch.columns, strict=True))
    try:
        scorer.bundle.reader.from_columns(columns)
    except RowError as error:
        return error
    return None
