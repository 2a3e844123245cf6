"""What a profile counts from: a log's hours, the days of its players, and their sessions, each worked out once."""

# H hours

from __future__ import annotations

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import numpy as np
from ludocast.datamodules.etl.engine import Engine
from ludocast.datamodules.etl.log import Log
from ludocast.datamodules.etl.rules import DAY_MS

HOUR_MS = 3_600_000
RESOLUTIONS = (1, 1_000, 60_000, HOUR_MS, DAY_MS)  # ms


@dataclass(frozen=True)
class Tables:
    """A log in the shape in which it is counted.

    Attributes:
        hours: Events of each hour (UTC) from the first day's midnight to the last day's end, int64 [H].
        resolution: Milliseconds of the coarsest clock that all times fit, one of `RESOLUTIONS`.
        days: `player`, `day`, `events`, `last` (time), `hours` (how many of the day have an event), `previous`
            (the day of the row before, null at a player's first), `first` (the player's first day), and where there are
            amounts `spent` (millionths) and `payments`; one row for each player and day with an event.
        sessions: `player`, `begin`, `end` (ms) and `events`; None where times have no time of day.
    """

    hours: np.ndarray
    resolution: int
    days: ir.Table
    sessions: ir.Table | None


def keep_tables(engine: Engine, log: Log, session_ms: int) -> Tables:
    """Work them out.

    Args:
        engine: Where the log is.
        log: The log.
        session_ms: Pause after which a session has ended, where events do not name theirs.
    """
    hours = hours_of(log)
    resolution = _resolution(engine, log.events)
    days = engine.keep("profile_days", _days(log))
    if resolution == DAY_MS:
        return Tables(hours, resolution, days, None)
    found = _named_sessions(log.events) if log.columns.session is not None else _sessions(log.events, days, session_ms)
    return Tables(hours, resolution, days, engine.keep("profile_sessions", found))


def hours_of(log: Log) -> np.ndarray:
    """Events of each hour, int64 [H]."""
    counts = log.events.group_by(hour=log.events.time // HOUR_MS).aggregate(number=ibis._.count())
    found = counts.to_pyarrow().to_pydict()
    hours = np.zeros((log.end_day - log.first_day) * 24, np.int64)
    hours[np.array(found["hour"], np.int64) - log.first_day * 24] = found["number"]
    return hours


def _resolution(engine: Engine, events: ir.Table) -> int:
    finer = {f"finer_{unit}": (events.time % unit != 0).sum() for unit in RESOLUTIONS[1:]}
    seen = engine.row(events.aggregate(**finer))
    return max(unit for unit in RESOLUTIONS if unit == 1 or not seen[f"finer_{unit}"])


def _days(log: Log) -> ir.Table:
    events = log.events.mutate(day=log.events.time // DAY_MS, hour=log.events.time % DAY_MS // HOUR_MS)
    sums: dict[str, ir.Value] = {"events": events.count(), "last": events.time.max()}
    if log.columns.amount is not None:
        paid = events.amount > 0
        sums |= {"spent": events.amount.sum(where=paid).fill_null(0), "payments": paid.sum().fill_null(0)}
    # By hours first: how many there are is then a count, which every engine has.
    hours = events.group_by("player", "day", "hour").aggregate(**sums)
    whole = {name: hours[name].max() if name == "last" else hours[name].sum() for name in sums}
    whole["hours"] = hours.count()
    days = hours.group_by("player", "day").aggregate(**{name: value.cast("int64") for name, value in whole.items()})
    return days.mutate(
        previous=days.day.lag().over(ibis.window(group_by=days.player, order_by=days.day)),
        first=days.day.min().over(ibis.window(group_by=days.player)),
    )


def _sessions(events: ir.Table, days: ir.Table, session_ms: int) -> ir.Table:
    """Sessions by pauses.

    Of a session that is over, the next one's first event knows all: what was the event before it, and how many there
    were. So only first events are kept, and those are few.
    """
    order = ibis.window(group_by=events.player, order_by=events.time)
    rows = events.select("player", "time", before=events.time.lag().over(order), place=ibis.row_number().over(order))
    starts = rows.filter(rows.before.isnull() | (rows.time - rows.before > session_ms))
    order = ibis.window(group_by=starts.player, order_by=starts.place)
    starts = starts.select(
        "player", "place", begin="time", end=starts.before.lead().over(order), following=starts.place.lead().over(order)
    )
    whole = days.group_by("player").aggregate(last=days["last"].max(), number=days.events.sum())
    whole = whole.select("last", "number", of="player")
    found = starts.left_join(whole, starts.player == whole.of)
    return found.select(
        "player",
        "begin",
        end=found.end.fill_null(found["last"]),
        events=(found.following.fill_null(found.number) - found.place).cast("int64"),
    )


def _named_sessions(events: ir.Table) -> ir.Table:
    known = events.filter(events.session.notnull())
    found = known.group_by("player", "session").aggregate(
        begin=known.time.min(), end=known.time.max(), events=known.count()
    )
    return found.drop("session")
