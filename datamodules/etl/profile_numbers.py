"""What a log holds, in numbers: who plays when, who stays, how long, what happens, what is paid.

Only counts come to Python: at most a row for each day, or pair of a first day and a week.
"""

# D days, C cohorts, K periods

from __future__ import annotations

from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
from ludocast.datamodules.etl.log import Log
from ludocast.datamodules.etl.profile_tables import HOUR_MS, Tables
from ludocast.datamodules.etl.rules import DAY_MS, MILLIONTHS, zone_offsets
from ludocast.datamodules.etl.times import iso

PAUSE = 7  # quiet days after which a player is told to be back
CLASSIC = (1, 7, 30)  # days after the first one
WEEKS = 26  # a log of more has cohorts of 28 days
SHOWN_TYPES = 30
LENGTHS = (0, 60, 300, 900, 1_800, 3_600, 7_200)  # s, from which on a bar of session lengths begins
SHARES = (0.01, 0.05, 0.1, 0.25, 0.5)  # of who pays, the most paying first


def column(table: ir.Table, name: str) -> np.ndarray:
    """A column of whole numbers, int64."""
    return np.asarray(table.select(name).to_pyarrow()[name].to_numpy(), np.int64)


def counts(table: ir.Table, *names: str) -> dict[str, np.ndarray]:
    """Columns of whole numbers, int64, by their names."""
    found = table.select(*names).to_pyarrow()
    return {name: np.asarray(found[name].to_numpy(), np.int64) for name in names}


def daily(log: Log, tables: Tables) -> dict[str, list[int]]:
    """Of each day: events, active players, new ones, returning ones (not new), back after a week's pause [D] each."""
    days = tables.days
    found = counts(
        days.group_by("day").aggregate(
            events=days.events.sum(), active=days.count(), new=(days.day == days["first"]).sum(),
            back=(days.day - days.previous > PAUSE).sum().fill_null(0),
        ),
        "day", "events", "active", "new", "back",
    )  # fmt: skip
    placed = {}
    for name in ("events", "active", "new", "back"):
        values = np.zeros(log.end_day - log.first_day, np.int64)
        values[found["day"] - log.first_day] = found[name]
        placed[name] = values
    placed["returning"] = placed["active"] - placed["new"]
    return {name: values.tolist() for name, values in placed.items()}


def retention(log: Log, tables: Tables) -> dict[str, Any]:
    """Who is there again: on the 1st, 7th and 30th day after the first, and in each week or 28 days by cohort.

    A share is told of the players alone whose day or period lies in the log as a whole.
    """
    days, span = tables.days, log.end_day - log.first_day
    length = 7 if span <= WEEKS * 7 else 28
    rows = days.select("player", "first", age=days.day - days["first"])
    begun = np.zeros(span, np.int64)  # players by first day
    new = counts(rows.filter(rows.age == 0).group_by("first").aggregate(number=ibis._.count()), "first", "number")
    begun[new["first"] - log.first_day] = new["number"]
    return {
        "classic": _classic(rows, begun),
        "period_days": length,
        "cohorts": _cohorts(rows, begun, log, length),
    }


def _classic(rows: ir.Table, begun: np.ndarray) -> dict[str, dict[str, Any]]:
    found = {}
    there = counts(
        rows.filter(rows.age.isin(CLASSIC)).group_by("first", "age").aggregate(number=ibis._.count()),
        "first", "age", "number",
    )  # fmt: skip
    for age in CLASSIC:
        players = int(begun[: max(len(begun) - age, 0)].sum())
        back = int(there["number"][there["age"] == age].sum())
        found[f"D{age}"] = {"players": players, "active": back, "share": back / players if players else None}
    return found


def _cohorts(rows: ir.Table, begun: np.ndarray, log: Log, length: int) -> list[dict[str, Any]]:
    """By the week or 28 days of the first day; weeks begin on Monday."""
    span = len(begun)
    in_period = rows.select("player", "first", period=rows.age // length).distinct()
    there = counts(in_period.group_by("first", "period").aggregate(number=ibis._.count()), "first", "period", "number")
    anchor = log.first_day - ((log.first_day + 3) % 7 if length == 7 else 0)  # 1970 began on a Thursday
    of_day = (np.arange(span) + log.first_day - anchor) // length
    active = np.zeros((int(of_day[-1]) + 1, span // length + 1), np.int64)
    np.add.at(active, (of_day[there["first"] - log.first_day], there["period"]), there["number"])
    found = []
    for number in range(len(active)):
        places = np.flatnonzero(of_day == number)
        players = int(begun[places].sum())
        if not players:
            continue
        whole = (span - int(places[-1])) // length  # periods that the last of them had in full
        found.append({
            "begin": iso(anchor + number * length), "players": players,
            "active": active[number, :whole].tolist(), "share": (active[number, :whole] / players).tolist(),
        })  # fmt: skip
    return found


def sessions(tables: Tables) -> dict[str, Any] | None:
    """Lengths of sessions (first to last event), events in them, and how many a player has on a day."""
    table = tables.sessions
    if table is None:
        return None
    lengths = counts(
        table.group_by(second=(table.end - table.begin) // 1_000).aggregate(number=ibis._.count()), "second", "number"
    )
    order = np.argsort(lengths["second"])
    seconds, number = lengths["second"][order], lengths["number"][order]
    total = int(number.sum())
    if not total:
        return None
    events = counts(table.aggregate(events=table.events.sum()), "events")["events"][0]
    daily = table.group_by("player", day=table.begin // DAY_MS).aggregate(sessions=ibis._.count())
    a_day = counts(daily.group_by("sessions").aggregate(number=ibis._.count()), "sessions", "number")
    begins = np.searchsorted(np.array(LENGTHS), seconds, side="right") - 1
    return {
        "sessions": total,
        "of_one_event": int(number[seconds == 0].sum()) if events < total else _single(table),
        "mean_events": float(events / total),
        "mean_seconds": float((seconds * number).sum() / total),
        "quantile_seconds": {str(q): _quantile(seconds, number, q) for q in (0.25, 0.5, 0.75, 0.95, 0.99)},
        "length_from_seconds": list(LENGTHS),
        "length_counts": np.bincount(begins, number, len(LENGTHS)).astype(int).tolist(),
        "mean_a_day": float((a_day["sessions"] * a_day["number"]).sum() / a_day["number"].sum()),
        "a_day": {str(k): int(a_day["number"][a_day["sessions"] == k].sum()) for k in range(1, 6)}
        | {"6 or more": int(a_day["number"][a_day["sessions"] >= 6].sum())},
    }


def _single(table: ir.Table) -> int:
    return int(table.filter(table.events == 1).count().to_pyarrow().as_py())


def _quantile(values: np.ndarray, number: np.ndarray, share: float) -> int:
    """The smallest value that at least this share does not exceed."""
    return int(values[np.searchsorted(np.cumsum(number), share * number.sum())])


def event_types(log: Log) -> list[dict[str, Any]] | None:
    """The most frequent types: events, and players who had one."""
    if log.columns.event is None:
        return None
    by_player = log.events.group_by("event", "player").aggregate(number=ibis._.count())
    by_type = by_player.group_by("event").aggregate(events=by_player.number.sum(), players=by_player.count())
    top = by_type.order_by(by_type.events.desc(), by_type.event).limit(SHOWN_TYPES).to_pyarrow().to_pylist()
    return [{"event": row["event"], "events": int(row["events"]), "players": row["players"]} for row in top]


def spending(log: Log, tables: Tables) -> dict[str, Any] | None:
    """Of each day what was paid and by how many, and how much of all comes from the few who pay most."""
    if log.columns.amount is None:
        return None
    days = tables.days.filter(tables.days.payments > 0)
    found = days.group_by("day").aggregate(spent=days.spent.sum().cast("int64"), payers=days.count())
    found = counts(found, "day", "spent", "payers")
    if not len(found["day"]):
        return None
    spent, payers = np.zeros(log.end_day - log.first_day), np.zeros(log.end_day - log.first_day, np.int64)
    spent[found["day"] - log.first_day] = found["spent"] / MILLIONTHS
    payers[found["day"] - log.first_day] = found["payers"]
    by_player = days.group_by("player").aggregate(spent=days.spent.sum(), payments=days.payments.sum())
    order = ibis.window(order_by=[by_player.spent.desc(), by_player.player])
    ranked = by_player.mutate(place=ibis.row_number().over(order))
    number = int(by_player.count().to_pyarrow().as_py())
    firsts = {share: max(1, round(share * number)) for share in SHARES}
    row = ranked.aggregate(
        total=ranked.spent.sum(), payments=ranked.payments.sum(),
        **{f"of_{k}": ranked.spent.sum(where=ranked.place < k) for k in set(firsts.values())},
    ).to_pyarrow().to_pylist()[0]  # fmt: skip
    total = int(row["total"])
    return {
        "total": total / MILLIONTHS, "payments": int(row["payments"]), "payers": number,
        "mean_payment": total / MILLIONTHS / int(row["payments"]),
        "of_top_payers": {str(share): int(row[f"of_{k}"]) / total for share, k in firsts.items()},
        "daily": spent.round(6).tolist(), "daily_payers": payers.tolist(),
    }  # fmt: skip


def week(log: Log, tables: Tables, time_zone: str) -> list[list[int]] | None:
    """Events by weekday (0 is Monday) and hour of a time zone [7, 24]; None where times have no time of day."""
    if tables.resolution == DAY_MS:
        return None
    begin = np.arange(len(tables.hours), dtype=np.int64) * HOUR_MS + log.first_day * DAY_MS
    changes = zone_offsets(time_zone, log.first_day, log.end_day)
    since = np.array([moment for moment, _ in changes])
    ahead = np.array([offset for _, offset in changes])
    local = begin + ahead[np.maximum(np.searchsorted(since, begin, side="right") - 1, 0)]
    found = np.zeros((7, 24), np.int64)
    np.add.at(found, ((local // DAY_MS + 3) % 7, local % DAY_MS // HOUR_MS), tables.hours)
    return found.tolist()
