"""Events become days: one row for each day on which a player was active, all that snapshots are made of.

The only step that sees single events, and the only one whose cost grows with their number. Times are whole
milliseconds and amounts whole millionths, so that every sum is exact, in any order, on any engine.
"""

from __future__ import annotations

from collections.abc import Sequence

import ibis
import ibis.expr.types as ir
from ludocast.datamodules.etl.rules import DAY_MS, HOUR_PARTS, WEEKDAYS, Contents


def player_days(
    events: ir.Table, contents: Contents, session_ms: int, offsets: Sequence[tuple[int, int]] = ((0, 0),)
) -> ir.Table:
    """One row for each player and day (UTC) with an event.

    Args:
        events: `player`, `time` (milliseconds since 1970, int64), and as `contents` says `event` (text), `amount`
            (millionths, int64), `level` (int64), `session` (text).
        contents: What there is.
        session_ms: Pause after which a session has ended.
        offsets: How far local time is ahead, as `zone_offsets` gives it.

    Returns:
        `player`, `day` (days since 1970, int64), `previous` (the day of the row before, null at a player's first),
        `week_before` (whether the player was active 7 days earlier too, 1 or 0), `run` (active days in a row up to
        here), `events`, `last` (milliseconds of the last event since midnight), and sums of what there is; int32 but
        for days and amounts.
    """
    rows = events
    if contents.types:  # a number is sorted and compared faster than a name
        cases = ((events.event == name, number) for number, name in enumerate(contents.types))
        rows = rows.mutate(kind=ibis.cases(*cases, else_=len(contents.types)).cast("int16"))
    if contents.clock:
        rows = _with_sessions(rows, contents.session, session_ms)
        rows = rows.mutate(local=rows.time + _ahead(rows.time, offsets))
    else:
        rows = rows.mutate(day=rows.time // DAY_MS)
    sums: dict[str, ir.Value] = {"events": rows.count(), "last": (rows.time % DAY_MS).max()}
    if contents.clock:
        hour = (rows.local % DAY_MS) // (DAY_MS // HOUR_PARTS)
        sums |= {
            "sessions": rows.begins.sum(), "played": rows.played.sum(), "went_on": rows.went_on.sum(),
            "carried": rows.carried.sum(),
            **{f"hours_{part}": rows.count(where=hour == part) for part in range(HOUR_PARTS)},
            **_shifted(rows, offsets),
        }  # fmt: skip
    for number in range(len(contents.types)):
        sums[f"type_{number}"] = rows.count(where=rows.kind == number)
    if contents.amount:
        paid = rows.amount > 0
        sums |= {
            "spent": rows.amount.sum(where=paid), "payments": rows.count(where=paid),
            "largest": rows.amount.max(where=paid),
        }  # fmt: skip
    if contents.level:
        sums |= {"level": rows.level.max(), "lowest": rows.level.min()}
    wide = ("spent", "largest")  # of a day all else fits into half the memory
    values = {name: value.cast("int64" if name in wide else "int32") for name, value in sums.items()}
    days = rows.group_by("player", "day").aggregate(**values)
    return _with_neighbours(_with_weekdays(days, offsets) if contents.clock else days)


def _with_sessions(rows: ir.Table, named: bool, session_ms: int) -> ir.Table:
    """Whether an event begins a session, and how long was played since the event before it."""
    order = ibis.window(group_by=rows.player, order_by=rows.time)
    before = rows.time.lag().over(order)
    if named:
        # Events of a session follow each other unless two devices play at once; then each change begins one.
        order = ibis.window(group_by=rows.player, order_by=[rows.time, rows.session])
        before = rows.time.lag().over(order)
        rows = rows.mutate(before=before, before_session=rows.session.lag().over(order))
        goes_on = (rows.before_session == rows.session).fill_null(False)
    else:
        rows = rows.mutate(before=before)
        goes_on = (rows.time - rows.before <= session_ms).fill_null(False)
    # Of a session that runs over midnight, the later day has to know what it did not begin: a window that opens at
    # this midnight has seen no earlier event.
    rows = rows.mutate(day=rows.time // DAY_MS)  # after the sort, which has less to carry without it
    crosses = goes_on & (rows.before // DAY_MS < rows.day)
    played = ibis.ifelse(goes_on, rows.time - rows.before, 0)
    return rows.mutate(
        begins=ibis.ifelse(goes_on, 0, 1), played=played, went_on=ibis.ifelse(crosses, 1, 0),
        carried=ibis.ifelse(crosses, rows.time - rows.before, 0),
    )  # fmt: skip


def _ahead(time: ir.IntegerColumn, offsets: Sequence[tuple[int, int]]) -> ir.IntegerValue:
    (_, first), *changes = offsets
    if not changes:
        return ibis.literal(first, "int64")
    return ibis.cases(*((time >= since, ahead) for since, ahead in reversed(changes)), else_=first).cast("int64")


def _shifts(offsets: Sequence[tuple[int, int]]) -> dict[str, int]:
    """Local days beside the day in UTC that one of its events may lie on."""
    ahead = [offset for _, offset in offsets]
    return ({"next_day": 1} if max(ahead) > 0 else {}) | ({"day_before": -1} if min(ahead) < 0 else {})


def _shifted(rows: ir.Table, offsets: Sequence[tuple[int, int]]) -> dict[str, ir.Value]:
    local = rows.local // DAY_MS
    return {name: rows.count(where=local == rows.day + shift) for name, shift in _shifts(offsets).items()}


def _with_weekdays(days: ir.Table, offsets: Sequence[tuple[int, int]]) -> ir.Table:
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
    order = ibis.window(group_by=days.player, order_by=days.day)
    week = ibis.range_window(group_by=days.player, order_by=days.day, preceding=(7, 1))
    days = days.mutate(
        previous=days.day.lag().over(order),
        week_before=ibis.ifelse((days.day.min().over(week) == days.day - 7).fill_null(False), 1, 0).cast("int32"),
        # The same number for all days in a row: the day less its place among the player's days.
        island=days.day - ibis.row_number().over(order),
    )
    run = ibis.row_number().over(ibis.window(group_by=[days.player, days.island], order_by=days.day))
    return days.mutate(run=(run + 1).cast("int32")).drop("island")
