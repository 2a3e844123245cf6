"""Times of a log, in any form in which logs have them, as milliseconds since 1970."""

from __future__ import annotations

import datetime as dt
from typing import Literal

import ibis
import ibis.expr.datatypes as dts
import ibis.expr.types as ir
from ludocast.datamodules.etl.rules import EARLIEST

Unit = Literal["s", "ms", "us", "ns"]
PER_SECOND: dict[Unit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_LATEST = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)  # the units of numbers between these two years do not overlap
_DIGITS = r"^\s*[0-9]+([.][0-9]+)?\s*$"


def unit_counts(number: ir.NumericValue) -> dict[str, ir.IntegerValue]:
    """How many numbers are a time from 2000 to 2100 in each unit, as reductions, and how many are known at all."""
    counts: dict[str, ir.IntegerValue] = {"known": number.count()}
    for unit, factor in PER_SECOND.items():
        low, high = (int(moment.timestamp()) * factor for moment in (EARLIEST, _LATEST))
        counts[unit] = ((number >= low) & (number < high)).sum()
    return counts


def choose_unit(counts: dict[str, int], column: str) -> Unit:
    """The unit of a column of numbers.

    Args:
        counts: Values of `unit_counts`.
        column: Its name.

    Raises:
        ValueError: If no unit fits, or two do.
    """
    fitting: list[Unit] = [unit for unit in PER_SECOND if counts[unit]]
    if not fitting:
        raise ValueError(
            f'no number in column "{column}" is a time from 2000 to 2100 in seconds, milliseconds, microseconds or '
            "nanoseconds since 1970; is it the right column (--time)?"
        )
    if len(fitting) > 1:
        shown = " and ".join(f"{counts[unit]:,} in {unit}" for unit in fitting)
        raise ValueError(
            f'column "{column}" mixes units of time: {shown} since 1970; mend the log, or say --time-unit to read all '
            "of it in one"
        )
    return fitting[0]


def is_number(kind: dts.DataType) -> bool:
    """Whether times of this type are counted from 1970."""
    return bool(kind.is_numeric())


def check_kind(kind: dts.DataType, column: str) -> None:
    """Refuse a column that holds no times.

    Raises:
        ValueError: If it is of another type.
    """
    if kind.is_boolean() or not (kind.is_numeric() or kind.is_timestamp() or kind.is_date() or kind.is_string()):
        raise ValueError(
            f'column "{column}" holds {kind}, which is no time; wanted are timestamps, dates, ISO 8601 text such as '
            "2026-01-31T18:00:00Z, or numbers since 1970"
        )


def text_forms(text: ir.StringValue, can_try: bool) -> dict[str, ir.IntegerValue]:
    """How many texts are numbers, and how many dates, as reductions; and examples of each.

    Args:
        text: The column.
        can_try: Whether the engine can tell whether a text is a time at all.
    """
    digits = text.re_search(_DIGITS)
    dates = text.notnull() & ~digits
    counts = {
        "known": text.count(), "numbers": digits.sum(), "dates": dates.sum(), "a_number": text.min(where=digits),
        "a_date": text.max(where=dates),
    }  # fmt: skip
    if can_try:
        unread = dates & text.try_cast("timestamp").isnull() & text.try_cast(dts.Timestamp("UTC")).isnull()
        counts |= {"unread": unread.sum(), "an_unread": text.min(where=unread)}
    return counts


@ibis.udf.scalar.builtin(name="epoch_ms")  # type: ignore[untyped-decorator]
def _epoch_ms(moment: dts.Timestamp()) -> int:  # type: ignore[valid-type, empty-body]
    ...


def milliseconds_of(column: ir.Value, unit: Unit | None, on_duckdb: bool = False) -> ir.IntegerValue:
    """Milliseconds since 1970, parts of them cut off.

    Args:
        column: Timestamps (UTC where they name no zone), dates, texts of these, or numbers.
        unit: Of numbers; None for other columns. Texts with a unit are numbers.
        on_duckdb: Whether DuckDB alone is asked, which has a function for it, five times as fast as what all have.
    """
    kind = column.type()
    if unit is not None:
        if kind.is_string():
            column = column.strip().cast("float64" if unit == "s" else "int64")
        factor = PER_SECOND[unit]
        if factor <= 1000:
            # Seconds may have a fraction; a sum of whole numbers would lose nothing, a product of halves neither.
            scaled = column * (1000 // factor)
            return scaled.floor().cast("int64") if not scaled.type().is_integer() else scaled.cast("int64")
        # Engines divide as floats, too coarse for nanoseconds: of a multiple, rounding gives the exact quotient.
        whole, part = column.cast("int64"), factor // 1000
        return ((whole - whole % part).cast("float64") / float(part)).round().cast("int64")
    if kind.is_date():
        return (column.epoch_days().cast("int64") * 86_400_000).cast("int64")
    if kind.is_string():
        column = column.strip().cast(dts.Timestamp("UTC"))
        kind = column.type()
    if kind.timezone is not None:
        column = column.cast("timestamp")  # sessions of all engines speak UTC
    if on_duckdb:
        return _epoch_ms(column)
    # Whole seconds first: some engines round the seconds of an epoch, which would carry an event over midnight.
    seconds = column.truncate("s").epoch_seconds().cast("int64")
    return (seconds * 1000 + column.millisecond().cast("int64")).cast("int64")


def latest_ms() -> int:
    """Times after this are of a clock that is ahead: a day from now."""
    return int((dt.datetime.now(dt.UTC) + dt.timedelta(days=1)).timestamp() * 1000)


def earliest_ms() -> int:
    """Times before this are of a clock that was never set."""
    return int(EARLIEST.timestamp() * 1000)


def iso(day: int) -> str:
    """A day since 1970 as 2026-01-31."""
    return (dt.date(1970, 1, 1) + dt.timedelta(days=day)).isoformat()
