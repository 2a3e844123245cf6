"""Rows of lists on which a bundle of sequences is tried: made from its inputs, never copied from players."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from ludocast.serve.manifest import Input
from ludocast.serve.manifest_sequences import SequenceInputs

UNSEEN = "(never seen)"
HOUR = 3_600.0  # seconds
# Hours from each step to the end of a row: a few, one, none, growing ones that reach beyond every window, many, two
# steps at one time, and steps at and after the moment of the question.
_BACK: tuple[tuple[float, ...], ...] = (
    (100.0, 30.0, 29.5, 6.0, 1.0),
    (24.0,),
    (),
    tuple(2.0**k for k in range(12, -2, -1)),
    tuple(7.0 * k for k in range(40, 0, -1)),
    (50.0, 50.0, 2.0),
    (400.0, 10.0, 0.0, -30.0),
)


def check_sequences(inputs: Sequence[Input], sequence: SequenceInputs) -> list[dict[str, object]]:
    """Nine rows: sequences of several lengths, then one of names never seen and one of what is missing."""
    time = next((item for item in inputs if item.column == sequence.time), None)
    end = time.range[1] if time is not None and time.range is not None else 0.0
    rows = [
        {item.column: _values(item, sequence, back, end, number) for item in inputs}
        for number, back in enumerate(_BACK)
    ]
    for kind, usual in ((UNSEEN, rows[0]), (None, rows[0])):
        row = dict(usual)
        for item in inputs:
            if item.form != "cell" and item.kind != "timestamp":
                row[item.column] = [kind if item.kind == "category" else None] * len(_BACK[0])
        rows.append(row)
    return rows


def _values(item: Input, sequence: SequenceInputs, back: Sequence[float], end: float, number: int) -> object:
    """What a column has in the row of this number."""
    if item.column == sequence.now:
        return moment(end)
    if item.form == "cell":
        return _cell(item, number)
    if item.column == sequence.time:
        return [moment(end - hours * HOUR) for hours in back]
    if item.kind == "category":
        names = item.categories if item.categories else (UNSEEN,)
        return [names[(number + place * place) % len(names)] for place in range(len(back))]
    low, high = item.range if item.range is not None else (0.0, 1.0)
    return [float(f"{low + (high - low) * ((number + place) % 5) / 4:.6g}") for place in range(len(back))]


def _cell(item: Input, number: int) -> object:
    """Usual values, then one never seen, then a missing one, by the row's number."""
    place = number % 4
    if item.kind == "boolean" or place == 3:
        return (None, True, False)[number % 3] if item.kind == "boolean" else None
    low, high = item.range if item.range is not None else (0.0, 1.0)
    value = low + (high - low) * place / 2
    if item.kind == "number":
        return float(f"{value:.6g}")
    if item.kind == "timestamp":
        return moment(value)
    return UNSEEN if place == 2 or not item.categories else item.categories[place % len(item.categories)]


def moment(seconds: float) -> str | float:
    """ISO 8601 of a time in UTC seconds; the seconds where no calendar has it."""
    try:
        return dt.datetime.fromtimestamp(round(seconds), dt.UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):  # before the year 1 or after 9999
        return float(round(seconds))
