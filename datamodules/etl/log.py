"""A log as it comes becomes events as they are counted: a player, a time, and what else there is, checked and told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ibis
import ibis.expr.types as ir
from ludocast.datamodules.etl.columns import Columns, find_columns
from ludocast.datamodules.etl.engine import Engine
from ludocast.datamodules.etl.rules import DAY_MS, MILLIONTHS, MOST_TYPES, Contents, Rules
from ludocast.datamodules.etl.sources import Source
from ludocast.datamodules.etl.times import (
    PER_SECOND,
    Unit,
    check_kind,
    choose_unit,
    earliest_ms,
    is_number,
    iso,
    latest_ms,
    milliseconds_of,
    text_forms,
    unit_counts,
)
from ludocast.datamodules.schema import MISSING_TOKENS

IN_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
PROOF = 1_000  # early events that show that a log has no time of day, or one event a day; fewer show nothing
LARGEST = 1e12  # amounts beyond are no money


@dataclass(frozen=True)
class Log:
    """Events that have a player and a time.

    Attributes:
        events: `player`, `time` (milliseconds since 1970), and `event`, `amount` (millionths), `level`, `session`,
            `item` as `columns` says; and `other_0`, … as `others` names them.
        columns: Names in the log.
        unit: Of times that are numbers.
        rows: How many events.
        first_day: Days since 1970 of the first event.
        end_day: The day after the last event's.
        notes: What was found and left out, as sentences.
        others: Names of columns that have no role, if they were asked for.
        left_out: Rows `all` there were, and of them `no_player`, `no_time`, `early` (before 2000) and `late` (future).
    """

    events: ir.Table
    columns: Columns
    unit: Unit | None
    rows: int
    first_day: int
    end_day: int
    notes: tuple[str, ...]
    others: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)


def open_log(
    engine: Engine,
    source: Source,
    given: Mapping[str, str | None],
    unit: Unit | None = None,
    dedupe: bool = False,
    until: int | None = None,
    others: bool = False,
) -> Log:
    """Find columns and times, leave out what has no place in time, and say so.

    Args:
        engine: Where the log is.
        source: The log.
        given: Role to column, None to look for one.
        unit: Of times that are numbers; found by itself when None.
        dedupe: Count rows that are equal in every column once.
        until: Day since 1970 from which on nothing is to be known; None for everything.
        others: Keep columns without a role as well.

    Raises:
        ValueError: If the log does not serve; the sentence says why.
    """
    columns, found = find_columns(source.names, given)
    rest = [name for name in source.names if name not in columns.named().values()] if others else []
    raw = source.read(list(columns.named().values()))
    if source.is_text or dedupe:
        kept = raw if dedupe else raw.select(*columns.named().values(), *rest)
        raw = engine.keep("log", kept.distinct() if dedupe else kept)
    unit = _unit_of(engine, raw, columns.time, unit)
    events = _events(raw, columns, unit, engine, rest)
    notes = [*source.notes, *found]
    if unit is not None:
        notes.append(f'times in column "{columns.time}" are {IN_WORDS[unit]} since 1970')
    end = latest_ms() if until is None else min(latest_ms(), until * DAY_MS)
    seen = engine.row(_survey(events, columns, end))
    if source.files and not any(seen[name] for name in ("no_player", "no_time", "early", "late")):
        # Files stay as they are, so what has not been found in them need not be looked for again.
        events = _events(raw, columns, unit, engine, rest, all_named=True)
        events = events if until is None else events.filter(events.time < end)
    else:
        events = events.filter(events.player.notnull(), events.time >= earliest_ms(), events.time < end)
    events = events.drop(*(name for name in events.columns if name.endswith("_unread")))
    left_out = {name: int(seen[name] or 0) for name in ("all", "no_player", "no_time", "early", "late")}
    return _checked(Log(events, columns, unit, seen["rows"], 0, 0, tuple(notes), tuple(rest), left_out), seen, until)


def _unit_of(engine: Engine, raw: ir.Table, name: str, unit: Unit | None) -> Unit | None:
    if unit is not None and unit not in PER_SECOND:
        raise ValueError(f"--time-unit is one of {', '.join(PER_SECOND)}, got {unit}")
    column, kind = raw[name], raw[name].type()
    check_kind(kind, name)
    if is_number(kind):
        return choose_unit(engine.row(raw.aggregate(**unit_counts(column))), name) if unit is None else unit
    if not kind.is_string():
        return None
    text = _text(column)
    forms = engine.row(raw.aggregate(**text_forms(text, engine.can_try)))
    if forms["numbers"] and forms["dates"]:
        raise ValueError(
            f'column "{name}" mixes forms of time: {forms["numbers"] or 0:,} numbers such as "{forms["a_number"]}" and '
            f'{forms["dates"]:,} dates such as "{forms["a_date"]}"; mend the log so that it has one form'
        )
    if forms.get("unread"):
        raise ValueError(
            f'column "{name}" has {forms["unread"]:,} values that are no time, such as "{forms["an_unread"]}"; wanted '
            "is ISO 8601 such as 2026-01-31T18:00:00Z, or numbers since 1970"
        )
    if not forms["numbers"]:
        return None
    numbers = raw.aggregate(**unit_counts(text.cast("float64")))
    return choose_unit(engine.row(numbers), name) if unit is None else unit


def _text(column: ir.StringValue) -> ir.StringValue:
    """A text without the blanks around it; missing where a cell says so."""
    text = column.strip()
    return ibis.ifelse(text.isin(MISSING_TOKENS), ibis.null("string"), text)


def _events(
    raw: ir.Table, columns: Columns, unit: Unit | None, engine: Engine, others: Sequence[str], all_named: bool = False
) -> ir.Table:
    """The rows as events; with `all_named`, no cell for a player says that it is missing."""
    time = raw[columns.time]
    values: dict[str, ir.Value] = {
        "player": _name(raw[columns.player], all_named),
        "time": milliseconds_of(_text(time) if time.type().is_string() else time, unit, engine.kind == "duckdb"),
    }
    if columns.event is not None:
        values["event"] = raw[columns.event].cast("string").strip()
    if columns.session is not None:
        values["session"] = raw[columns.session].cast("string")
    if columns.item is not None:
        values["item"] = _name(raw[columns.item])
    for role in ("amount", "level"):
        name = getattr(columns, role)
        if name is not None:
            number, unread = _number(raw[name], name, engine)
            scaled = number * float(MILLIONTHS) + 0.5 if role == "amount" else number
            values[role] = scaled.floor().cast("int64")
            values[f"{role}_unread"] = unread
    values |= {f"other_{number}": raw[name] for number, name in enumerate(others)}
    return raw.select(**values)


def _name(column: ir.Value, all_named: bool = False) -> ir.Value:
    """Whose or what it is; missing where a cell says so."""
    if column.type().is_string() and not all_named:
        return ibis.ifelse(column.strip().isin(MISSING_TOKENS), ibis.null("string"), column)
    # Of floats: whole numbers with a missing one among them.
    return column.cast("int64") if column.type().is_floating() else column


def _number(column: ir.Value, name: str, engine: Engine) -> tuple[ir.FloatingValue, ir.BooleanValue]:
    """A number, missing where it is none or out of all proportion; and whether a cell was there all the same."""
    if column.type().is_string():
        text = _text(column)
        number = text.try_cast("float64") if engine.can_try else text.cast("float64")
        known = text.notnull()
    elif column.type().is_numeric():
        number, known = column.cast("float64"), column.notnull()
        if column.type().is_floating():
            known = known & ~column.isnan()
    else:
        raise ValueError(f'column "{name}" holds {column.type()}, which is no number')
    number = ibis.ifelse((number > -LARGEST) & (number < LARGEST), number, ibis.null("float64"))
    return number, known & number.isnull()


def _survey(events: ir.Table, columns: Columns, end: int) -> ir.Table:
    here = events.player.notnull() & events.time.notnull()
    early, late = events.time < earliest_ms(), events.time >= end
    kept = here & ~early & ~late
    counts = {
        "all": events.count(), "no_player": events.player.isnull().sum(), "no_time": events.time.isnull().sum(),
        "early": (here & early).sum(), "late": (here & (events.time >= latest_ms())).sum(),
        "rows": kept.sum(), "first": events.time.min(where=kept), "last": events.time.max(where=kept),
    }  # fmt: skip
    for role in ("amount", "level"):
        if getattr(columns, role) is not None:
            counts[f"{role}_unread"] = events[f"{role}_unread"].sum()
    return events.aggregate(**counts)


def _checked(log: Log, seen: dict[str, Any], until: int | None) -> Log:
    columns, whole = log.columns, seen["all"]
    if not whole:
        raise ValueError("the log has no rows")
    for count, what in (
        (seen["no_player"], f'without a "{columns.player}"'), (seen["no_time"], f'without a "{columns.time}"'),
        (seen["early"], "from before the year 2000"), (seen["late"], "from the future"),
    ):  # fmt: skip
        if count and count * 2 > whole:
            raise ValueError(
                f"{count:,} of {whole:,} rows of the log are {what}; are columns and units the right ones?"
            )
    if not seen["rows"] and until is not None:
        raise ValueError(f"nothing is known on {iso(until)}: the log has no event before it")
    if not seen["rows"]:
        raise ValueError(
            f'no row of the log has both a "{columns.player}" and a "{columns.time}" from 2000 to now; are these the '
            "right columns?"
        )
    notes = list(log.notes)
    left_out = {
        f'{seen["no_player"] or 0:,} without a "{columns.player}"': seen["no_player"],
        f'{seen["no_time"] or 0:,} without a "{columns.time}"': seen["no_time"],
        f"{seen['early'] or 0:,} from before the year 2000": seen["early"],
        f"{seen['late'] or 0:,} from the future": seen["late"],
    }
    told = [text for text, count in left_out.items() if count]
    if told:
        notes.append(f"of {whole:,} rows these are left out: {', '.join(told)}")
    for role in ("amount", "level"):
        if seen.get(f"{role}_unread"):
            notes.append(f"{seen[f'{role}_unread']:,} values of {role} are no number and count as missing")
    return replace(log, first_day=seen["first"] // DAY_MS, end_day=seen["last"] // DAY_MS + 1, notes=tuple(notes))


def contents_of(engine: Engine, log: Log, rules: Rules, before: int) -> Contents:
    """What a log holds, by its events before the first snapshot alone: a later one must not decide what is known.

    Args:
        engine: Where the log is.
        log: The log.
        rules: With the event types, if they are given.
        before: Day since 1970 of the first snapshot.
    """
    known = log.events.filter(log.events.time < before * DAY_MS)
    columns = log.columns
    # Mostly one of the first events shows that there is a time of day, and the rest need not be read.
    clock = known.filter(known.time % DAY_MS != 0).select("time").limit(1).to_pyarrow().num_rows > 0
    clock = clock or engine.row(known.aggregate(rows=known.count()))["rows"] < PROOF
    types: Sequence[str] = ()
    if rules.types is not None:
        types = rules.types if columns.event is not None else ()
    elif columns.event is not None:
        types = _most_frequent(known)
        types = types if len(types) > 1 else ()
    return Contents(
        tuple(types), clock, columns.amount is not None, columns.level is not None, columns.session is not None
    )


def _most_frequent(events: ir.Table) -> tuple[str, ...]:
    """Event types; of equally frequent ones the first by name, as Python orders text."""
    found = events.filter(events.event.notnull()).group_by("event").aggregate(number=ibis._.count())
    top = found.order_by(found.number.desc()).limit(100 * MOST_TYPES).to_pyarrow().to_pylist()
    top.sort(key=lambda entry: (-entry["number"], entry["event"]))
    return tuple(entry["event"] for entry in top[:MOST_TYPES])
