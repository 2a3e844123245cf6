"""Ids that are no player: programs, and ids that several people share."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
from ludocast.datamodules.etl.engine import Engine
from ludocast.datamodules.etl.log import Log
from ludocast.datamodules.etl.profile_finding import Finding, counted, some
from ludocast.datamodules.etl.profile_numbers import counts
from ludocast.datamodules.etl.profile_tables import HOUR_MS, Tables

LISTED = 100  # ids that a finding's numbers name
MANY_A_DAY, OF_BUSY_DAY = 200, 20  # events on a day, and how many times what only one player's day in 100 has
AWAKE, AWAKE_DAYS = 23, 3  # hours of a day with an event, and how many such days nobody lives through
EXAMINED = (1_000, 0.01, 20_000)  # players whose pauses are looked at: the busiest hundredth, within bounds
STEADY, STEADY_PAUSES = 0.6, 100  # of pauses that are as long as the one before, to a hundredth, and of how many
EVERYBODY = 0.2  # of the players: what so many do is the game's program, such as a heartbeat
OVERLAPS, OVERLAPPING = 3, 0.1  # sessions that begin within another of the same player's, and their share
LARGE_SHARE, FAR_MORE = 0.02, 5  # of all events, and how many times what only one player in 100 has
WORDS = (
    "unknown", "guest", "anonymous", "anon", "undefined", "default", "test", "tester", "nobody", "player", "user",
    "none", "null", "na", "n/a", "nil", "deleted", "dummy", "admin", "-", "nan", "android_id",
)  # fmt: skip
NO_ID = r"^(0{6,}|1{6,}|9{6,}|f{6,}|x{6,}|[0-]{12,}|0?123456789[0-9]*|9774d56d682e549c)$"  # the last: of Android 2.2


def players_of(tables: Tables) -> ir.Table:
    """`player`, `events`, `active_days`, `most` (events on a day) and `awake_days`; one row a player."""
    rows = tables.days.mutate(awake=ibis.ifelse(tables.days.hours >= AWAKE, 1, 0))
    return rows.group_by("player").aggregate(
        events=rows.events.sum().cast("int64"), active_days=rows.count(), most=rows.events.max(),
        awake_days=rows.awake.sum().cast("int64"),
    )  # fmt: skip


def quantile(table: ir.Table, name: str, share: float) -> int:
    """The smallest value of a column of whole numbers that at least this share of the rows does not exceed."""
    found = counts(table.group_by(name).aggregate(rows=ibis._.count()), name, "rows")
    order = np.argsort(found[name])
    reached = np.cumsum(found["rows"][order])
    return int(found[name][order][np.searchsorted(reached, share * reached[-1])])


def bots(log: Log, tables: Tables, players: ir.Table, session_ms: int) -> list[Finding]:
    """Players who do more than people can, never sleep, or wait equally long each time.

    Args:
        log: The log.
        tables: Its days.
        players: Of `players_of`, kept.
        session_ms: Longer pauses lie between sessions, and say nothing.
    """
    many = max(MANY_A_DAY, OF_BUSY_DAY * quantile(tables.days, "events", 0.99))
    fast = _rows(players.filter(players.most >= many), "most")
    advice = "leave them out of training: programs neither churn nor buy as players do"
    found = []
    if fast:
        told = f"{many:,} events or more on one day, more than people do, up to {fast[0]['most']:,}: {_ids(fast)}"
        found.append(_finding("bots", told, advice, fast))
    if tables.resolution < HOUR_MS:
        awake = _rows(players.filter(players.awake_days >= AWAKE_DAYS), "awake_days")
        number = int(players.count().to_pyarrow().as_py())
        if awake and len(awake) <= EVERYBODY * number:
            told = f"active in {AWAKE} or more hours of the day on {AWAKE_DAYS} or more days: {_ids(awake)}"
            found.append(_finding("bots", told, advice + "; or several people share these ids", awake))
        steady = _steady(log, tables, players, number, session_ms)
        if steady:
            told = f"pauses between events that are equal to 1%, up to {steady[0]['share']:.0%} of them: {_ids(steady)}"
            found.append(_finding("bots", told, advice, steady))
    return found


def _steady(log: Log, tables: Tables, players: ir.Table, number: int, session_ms: int) -> list[dict[str, Any]]:
    """Players whose pauses within sessions are as long as the ones before them."""
    if tables.resolution >= 60_000:
        return []
    least, part, most = EXAMINED
    examined = int(min(max(least, part * number), most, number))
    busiest = players.order_by(players.most.desc(), players.player).limit(examined).select(of="player")
    events = log.events.select("player", "time")
    events = events.semi_join(busiest, events.player == busiest.of)
    order = ibis.window(group_by=events.player, order_by=events.time)
    rows = events.mutate(pause=events.time - events.time.lag().over(order))
    # Of events at one time the first one has the pause, wherever it stood; behind it the others' pauses are 0.
    again = ibis.window(group_by=rows.player, order_by=[rows.time, rows.pause.desc()])
    rows = rows.mutate(before=rows.pause.lag().over(again))
    longest = max(10 * tables.resolution, 1_000)
    rows = rows.filter(rows.pause >= longest, rows.pause <= session_ms, rows.before.notnull())
    is_same = (rows.pause - rows.before).abs() * 100 <= rows.pause
    shares = rows.group_by("player").aggregate(pauses=rows.count(), share=is_same.sum() / is_same.count())
    found = _rows(shares.filter(shares.pauses >= STEADY_PAUSES, shares.share >= STEADY), "share")
    return found if len(found) <= EVERYBODY * examined else []


def shared_ids(
    engine: Engine, log: Log, tables: Tables, players: ir.Table, programs: Collection[object]
) -> list[Finding]:
    """Ids that stand for nobody, have far more events than others, or play several sessions at once.

    Args:
        engine: Where the log is.
        log: The log.
        tables: Its sessions.
        players: Of `players_of`, kept.
        programs: Ids that have been named as such, and have more events for this reason.
    """
    busy = quantile(players, "events", 0.99)
    name = players.player.cast("string").strip().lower()
    is_word = (name.isin(WORDS) | name.re_search(NO_ID)) & (players.events >= quantile(players, "events", 0.9))
    if players.player.type().is_integer():
        is_word = ibis.literal(False)  # 111111 may be a player like any other
    is_number = (name.isin(("0", "-1")) | name.re_search(NO_ID)) & (players.events > 3 * busy)
    stand_ins = players.filter(is_word | is_number)
    advice = "several people hide behind one id: leave it out, or log an id for each of them"
    found = []
    nobody = _rows(stand_ins, "events")
    if nobody:
        share = sum(row["events"] for row in nobody) / log.rows
        told = f"{share:.1%} of all events under what stands for no id: {_ids(nobody)}"
        found.append(_finding("shared ids", told, advice, nobody))
    known = {row["player"] for row in nobody}.union(programs)
    large = players.filter(players.events > LARGE_SHARE * log.rows, players.events > FAR_MORE * busy)
    large_rows = [row for row in _rows(large, "events") if row["player"] not in known]
    if large_rows:
        share = large_rows[0]["events"] / log.rows
        told = f"far more events than others have, up to {share:.1%} of all: {_ids(large_rows)}"
        found.append(_finding("shared ids", told, advice, large_rows))
    if log.columns.session is not None and tables.sessions is not None:
        found += _overlaps(engine, log, tables.sessions, advice)
    return found


def _overlaps(engine: Engine, log: Log, sessions: ir.Table, advice: str) -> list[Finding]:
    """Players with sessions at the same time, by the sessions' own names."""
    order = ibis.window(group_by=sessions.player, order_by=[sessions.begin, sessions.end], preceding=(None, 1))
    rows = sessions.mutate(until=sessions.end.max().over(order))
    within = (rows.begin < rows.until).fill_null(False)
    by_player = rows.group_by("player").aggregate(sessions=rows.count(), overlaps=within.sum().cast("int64"))
    chosen = by_player.filter(
        by_player.overlaps >= OVERLAPS, by_player.overlaps >= OVERLAPPING * by_player.sessions.cast("float64")
    )
    shared = _rows(chosen, "overlaps")
    if not shared:
        return []
    whole = engine.row(by_player.aggregate(players=by_player.count()))["players"]
    told = f'several sessions at the same time, by column "{log.columns.session}": {_ids(shared)} of {whole:,}'
    if len(shared) > EVERYBODY * whole:
        advice = "so many cannot all be shared: the column seems to name something else than a player's session"
    return [_finding("shared ids", told, advice, shared)]


def _rows(table: ir.Table, name: str) -> list[dict[str, Any]]:
    """Rows, the highest value first."""
    found: list[dict[str, Any]] = table.order_by(table[name].desc(), table.player).to_pyarrow().to_pylist()
    return found


def _ids(rows: list[dict[str, Any]]) -> str:
    return f"{counted(len(rows), 'id')} ({some([row['player'] for row in rows])})"


def _finding(kind: str, told: str, advice: str, rows: list[dict[str, Any]]) -> Finding:
    return Finding(kind, told, advice, {"ids": len(rows), "players": [row["player"] for row in rows[:LISTED]]})
