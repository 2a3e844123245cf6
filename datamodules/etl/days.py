"""Events become days: one row for each day on which a player was active, all that snapshots are made of.

The only step that sees single events, and the only one whose cost grows with their number. Most of what a day holds
needs no order of events. For sessions, events are first summed up in spans of the clock, shorter than the pause that
ends a session, and only these are put in order: within a span a session goes on in any order, and its first and last
event say the rest. Times are whole milliseconds and amounts whole millionths, so that every sum is exact, in any order,
on any engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ibis
import ibis.expr.types as ir
from ludocast.datamodules.etl.rules import DAY_MS, HOUR_PARTS, WEEKDAYS, Contents

PART_MS = DAY_MS // HOUR_PARTS
SPANS = (PART_MS, 3_600_000, 1_800_000, 900_000, 300_000, 60_000, 10_000, 1_000, 100, 10, 1)  # ms; each divides PART_MS

Offsets = Sequence[tuple[int, int]]


def player_days(
    events: ir.Table,
    contents: Contents,
    session_ms: int,
    offsets: Offsets = ((0, 0),),
    keep: Callable[[str, ir.Table], ir.Table] | None = None,
) -> ir.Table:
    """One row for each player and day (UTC) with an event.

    Args:
        events: `player`, `time` (milliseconds since 1970, int64), and as `contents` says `event` (text), `amount`
            (millionths, int64), `level` (int64), `session` (text).
        contents: What there is.
        session_ms: Pause after which a session has ended.
        offsets: How far local time is ahead, as `zone_offsets` gives it.
        keep: Of the engine, for a large log: it would lay all events aside to go through them twice in one query.

    Returns:
        `player`, `day` (days since 1970, int64), `previous` (the day of the row before, null at a player's first),
        `week_before` (whether the player was active 7 days earlier too, 1 or 0), `run` (active days in a row up to
        here), `events`, `last` (milliseconds of the last event since midnight), and sums of what there is; int32 but
        for days and amounts.
    """
    days = _sums(events, contents)
    if not contents.clock:
        days = days.mutate(previous=days.day.lag().over(ibis.window(group_by=days.player, order_by=days.day)))
        return _with_neighbours(days)
    spans = _named_spans(events) if contents.session else _spans(events, session_ms, offsets)
    days = days if keep is None else keep("sums", days)
    played = _played(_with_sessions(spans, contents.session, session_ms), offsets)
    # Few columns are put in order, and all others find them by their day.
    return days.join(_with_neighbours(_with_weekdays(played, offsets)), ["player", "day"])


def _sums(events: ir.Table, contents: Contents) -> ir.Table:
    """What needs no order of a day's events."""
    rows = events.mutate(day=events.time // DAY_MS)
    sums: dict[str, ir.Value] = {"last": (rows.time % DAY_MS).max()}
    if not contents.clock:  # where there is one, they are counted with sessions
        sums["events"] = rows.count()
    for number, name in enumerate(contents.types):
        # A count with a condition of its own costs engines more.
        sums[f"type_{number}"] = ibis.ifelse(rows.event == name, 1, ibis.null("int8")).count()
    if contents.amount:
        paid = ibis.ifelse(rows.amount > 0, rows.amount, ibis.null("int64"))
        sums |= {"spent": paid.sum(), "payments": paid.count(), "largest": paid.max()}
    if contents.level:
        sums |= {"level": rows.level.max(), "lowest": rows.level.min()}
    wide = ("spent", "largest")  # of a day all else fits into half the memory
    values = {name: value.cast("int64" if name in wide else "int32") for name, value in sums.items()}
    return rows.group_by("player", "day").aggregate(**values)


def _spans(events: ir.Table, session_ms: int, offsets: Offsets) -> ir.Table:
    """Events of a player within a span of the clock: their number, the `first` and `until`, the last one."""
    # Within a span no pause ends a session, and the local hour and day are one.
    width = next(w for w in SPANS if w <= session_ms + 1 and not any(n % w for pair in offsets for n in pair))
    rows = events.mutate(span=events.time // width)
    return rows.group_by("player", "span").aggregate(
        first=rows.time.min(), until=rows.time.max(), events=rows.count().cast("int32")
    )


def _named_spans(events: ir.Table) -> ir.Table:
    """The same where the log names sessions: each event is a span of its own, for two devices may play at once."""
    one = ibis.literal(1, "int32")
    return events.select("player", "session", first=events.time, until=events.time, events=one)


def _with_sessions(spans: ir.Table, named: bool, session_ms: int) -> ir.Table:
    """Whether a span goes on with a session, and how long was played in it and since the span before it."""
    if named:
        # Events of a session follow each other unless two devices play at once; then each change begins one.
        order = ibis.window(group_by=spans.player, order_by=[spans.first, spans.session])
        spans = spans.mutate(before=spans.until.lag().over(order), before_session=spans.session.lag().over(order))
        goes_on = spans.before_session == spans.session
    else:
        order = ibis.window(group_by=spans.player, order_by=spans.first)
        spans = spans.mutate(before=spans.until.lag().over(order))
        goes_on = spans.first - spans.before <= session_ms
    # Of a session that runs over midnight, the later day has to know what it did not begin: a window that opens at
    # this midnight has seen no earlier event.
    spans = spans.mutate(day=spans.first // DAY_MS, before_day=spans.before // DAY_MS, goes_on=goes_on.fill_null(False))
    pause = ibis.ifelse(spans.goes_on, spans.first - spans.before, 0)
    crosses = spans.goes_on & (spans.before_day < spans.day)
    return spans.mutate(
        begins=ibis.ifelse(spans.goes_on, 0, 1), played=spans.until - spans.first + pause,
        went_on=ibis.ifelse(crosses, 1, 0), carried=ibis.ifelse(crosses, pause, 0),
    )  # fmt: skip


def _played(spans: ir.Table, offsets: Offsets) -> ir.Table:
    """Days of spans: their sessions and hours, and the day before them."""
    local = spans.first + _ahead(spans.first, offsets)
    hour, local_day = (local % DAY_MS) // PART_MS, local // DAY_MS
    sums: dict[str, ir.Value] = {"events": spans.events.sum()}
    sums |= {name: spans[name].sum() for name in ("begins", "played", "went_on", "carried")}
    sums |= {f"hours_{part}": ibis.ifelse(hour == part, spans.events, 0).sum() for part in range(HOUR_PARTS)}
    for name, shift in _shifts(offsets).items():
        sums[name] = ibis.ifelse(local_day == spans.day + shift, spans.events, 0).sum()
    # The span before the first one of a day is of another day; those before the others are of this one.
    previous = spans.before_day.nullif(spans.day).max()
    values = {name: value.cast("int32") for name, value in sums.items()}
    return spans.group_by("player", "day").aggregate(previous=previous, **values).rename(sessions="begins")


def _ahead(time: ir.IntegerColumn, offsets: Offsets) -> ir.IntegerValue:
    (_, first), *changes = offsets
    if not changes:
        return ibis.literal(first, "int64")
    return ibis.cases(*((time >= since, ahead) for since, ahead in reversed(changes)), else_=first).cast("int64")


def _shifts(offsets: Offsets) -> dict[str, int]:
    """Local days beside the day in UTC that one of its events may lie on."""
    ahead = [offset for _, offset in offsets]
    return ({"next_day": 1} if max(ahead) > 0 else {}) | ({"day_before": -1} if min(ahead) < 0 else {})


def _with_weekdays(days: ir.Table, offsets: Offsets) -> ir.Table:
    """Events on each weekday: that of the day in UTC, but for those on a local day beside it."""
    shifts = _shifts(offsets)
    here = days.events
    for name in shifts:
        here = here - days[name]
    values: dict[str, ir.Value] = {}
    for number in range(WEEKDAYS):
        value = ibis.ifelse(_weekday(days.day) == number, here, 0)
        for name, shift in shifts.items():
            value = value + ibis.ifelse(_weekday(days.day + shift) == number, days[name], 0)
        values[f"weekday_{number}"] = value.cast("int32")
    return days.mutate(**values).drop(*shifts)


def _weekday(day: ir.IntegerValue) -> ir.IntegerValue:
    return (day + 3) % WEEKDAYS  # 1970 began on a Thursday; 0 is Monday


def _with_neighbours(days: ir.Table) -> ir.Table:
    so_far = ibis.cumulative_window(group_by=days.player, order_by=days.day)
    week = ibis.range_window(group_by=days.player, order_by=days.day, preceding=(7, 1))
    starts = days.previous.isnull() | (days.day - days.previous > 1)
    since = ibis.ifelse(starts, days.day, ibis.null("int64")).max().over(so_far)
    return days.mutate(
        week_before=ibis.ifelse((days.day.min().over(week) == days.day - 7).fill_null(False), 1, 0).cast("int32"),
        run=(days.day - since + 1).cast("int32"),
    )
