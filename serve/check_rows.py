"""Rows on which a bundle is tried: made from what the inputs say of themselves, never copied from players."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ludocast.serve.check_sequences import UNSEEN, check_sequences, moment
from ludocast.serve.manifest import Input
from ludocast.serve.manifest_sequences import SequenceInputs

Cell = str | float | bool | None
# What a row takes from each input: a category's rank and the place of a number between smallest (0) and largest (1).
# The first row holds usual values; after the two extremes come missing, beyond the range, and half of each.
_RANKS = (0, 1, 2, 0, 1)
_PLACES = (0.5, 0.25, 0.75, 0.0, 1.0)


def check_rows(inputs: Sequence[Input], sequence: SequenceInputs | None = None) -> Sequence[Mapping[str, object]]:
    """Rows of cells, or of lists where the inputs are sequences."""
    return _rows(inputs) if sequence is None else check_sequences(inputs, sequence)


def _rows(inputs: Sequence[Input]) -> list[dict[str, Cell]]:
    """Ten rows: frequent categories and places in the range, both extremes, missing, unseen and out of range."""
    rows = [
        {item.column: _usual(item, rank + (position if number else 0), place) for position, item in enumerate(inputs)}
        for number, (rank, place) in enumerate(zip(_RANKS, _PLACES, strict=True))
    ]
    rows.append(dict.fromkeys((item.column for item in inputs), None))
    rows.extend({item.column: _strange(item, place) for item in inputs} for place in (2.0, -1.0))
    for kept in (0, 1):
        half = [value if position % 2 == kept else None for position, value in enumerate(rows[kept].values())]
        rows.append(dict(zip(rows[kept], half, strict=True)))
    return rows


def _usual(item: Input, rank: int, place: float) -> Cell:
    if item.kind in ("number", "timestamp"):
        return _place(item, place)
    categories = [category for category in (item.categories if item.categories is not None else ()) if category != ""]
    if item.kind == "boolean":
        return (categories[rank % len(categories)] if categories else "true") == "true"
    return categories[rank % len(categories)] if categories else UNSEEN


def _strange(item: Input, place: float) -> Cell:
    if item.kind in ("number", "timestamp"):
        return _place(item, place)
    return UNSEEN if item.kind == "category" else None


def _place(item: Input, place: float) -> Cell:
    low, high = item.range if item.range is not None else (0.0, 1.0)
    value = low + place * (high - low)
    if item.kind == "timestamp":
        return moment(value)
    if float(low).is_integer() and float(high).is_integer() and abs(value) < 2**53:
        return round(value)
    return float(f"{value:.6g}")
