"""Rows on which a bundle is tried: made from what the inputs say of themselves, never copied from players."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from ludocast.serve.manifest import Input

Cell = str | float | bool | None
UNSEEN = "(never seen)"
# What a row takes from each input: a category's rank and the place of a number between smallest (0) and largest (1).
# The first row holds usual values; after the two extremes come missing, beyond the range, and half of each.
_RANKS = (0, 1, 2, 0, 1)
_PLACES = (0.5, 0.25, 0.75, 0.0, 1.0)


def check_rows(inputs: Sequence[Input]) -> list[dict[str, Cell]]:
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
        try:
            return dt.datetime.fromtimestamp(round(value), dt.UTC).isoformat().replace("+00:00", "Z")
        except (ValueError, OverflowError, OSError):  # before the year 1 or after 9999
            return float(round(value))
    if float(low).is_integer() and float(high).is_integer() and abs(value) < 2**53:
        return round(value)
    return float(f"{value:.6g}")
