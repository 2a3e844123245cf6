"""Rows that are there twice, stand in no order, or lie where no event can: duplicates, order, impossible times."""

from __future__ import annotations

from typing import Any

import ibis
from ludocast.datamodules.etl.engine import Engine
from ludocast.datamodules.etl.log import Log
from ludocast.datamodules.etl.profile_finding import Finding, counted

MOST_AT_ONCE = 20_000_000  # rows whose hashes are held in memory at the same time
MANY_DUPLICATES = 0.0005  # of the rows; fewer come of chance in a busy log with coarse times
MANY_BACKWARDS = 0.001
MANY_WITHOUT = 0.001  # a player or a time


def duplicates(engine: Engine, log: Log) -> tuple[int, list[Finding]]:
    """Rows that are equal to another one in every column, each but one; on DuckDB by a 64-bit hash of the row."""
    number = _repeated(engine, log)
    if number <= MANY_DUPLICATES * log.rows:
        return number, []
    told = f"{counted(number, 'row')} of {log.rows:,} ({number / log.rows:.1%}) equal to another one in every column"
    advice = (
        "if they were sent or loaded twice, `ludocast snapshots --dedupe` counts them once; if they are real, such as "
        "two equal purchases in a second, give events an id of their own"
    )
    return number, [Finding("duplicates", told, advice, {"rows": number, "share": number / log.rows})]


def _repeated(engine: Engine, log: Log) -> int:
    if engine.kind != "duckdb":  # others do not hash rows, and have their own ways to stay within memory
        distinct = log.events.distinct()
        return log.rows - int(engine.row(distinct.aggregate(rows=distinct.count()))["rows"])
    hashed = log.events.select(row=ibis.struct({name: log.events[name] for name in log.events.columns}).hash())
    number, parts = 0, -(-log.rows // MOST_AT_ONCE)
    for part in range(parts):
        mine = hashed if parts == 1 else hashed.filter((hashed.row % parts + parts) % parts == part)
        seen = engine.row(mine.aggregate(rows=mine.count(), distinct=mine.row.nunique()))
        number += seen["rows"] - seen["distinct"]
    return number


def order(engine: Engine, log: Log) -> tuple[dict[str, Any], list[Finding]]:
    """Rows with an earlier time than the row before them, in the order in which they are stored.

    Numbers are None on an engine whose tables have no order.
    """
    if not engine.has_order:
        return {"rows_back_in_time": None, "of_the_same_player": None, "furthest_ms": None}, []
    with engine.in_order():
        behind = ibis.window()  # rows as they come; no sort
        rows = log.events.select(
            "player", "time", before=log.events.time.lag().over(behind), other=log.events.player.lag().over(behind)
        )
        is_back, changes = rows.time < rows.before, rows.player != rows.other
        seen = engine.row(
            rows.aggregate(
                back=is_back.sum(), within=(is_back & ~changes).sum(), changes=changes.sum(),
                furthest=(rows.before - rows.time).max(where=is_back),
            )
        )  # fmt: skip
    back, within = int(seen["back"] or 0), int(seen["within"] or 0)
    numbers = {"rows_back_in_time": back, "of_the_same_player": within, "furthest_ms": int(seen["furthest"] or 0)}
    if back <= MANY_BACKWARDS * log.rows:
        return numbers, []
    players = int(log.events.player.nunique().to_pyarrow().as_py())
    if not within and int(seen["changes"] or 0) == players - 1:
        return numbers, []  # sorted by player, then time
    told = (
        f"{counted(back, 'row')} of {log.rows:,} ({back / log.rows:.1%}) behind one of a later time, "
        f"by {_span(numbers['furthest_ms'])} at most"
    )
    advice = (
        "nothing here depends on the order of rows; but if the log is written as things happen, events come late: a "
        "snapshot of today then lacks what has not arrived, so leave a gap (--gap) or ask about yesterday (--at)"
    )
    return numbers, [Finding("out of order", told, advice, {**numbers, "share": back / log.rows})]


def impossible_rows(log: Log) -> list[Finding]:
    """Events from before the year 2000, from the future, and without a time or player."""
    found = []
    whole = log.left_out.get("all", log.rows)
    for name, kind, what, advice in (
        (
            "late", "future", "in the future",
            "clocks of players' devices are ahead: log the server's time; these rows are left out everywhere",
        ),
        (
            "early", "before 2000", "from before the year 2000",
            "a clock was never set, or a time of 0 stands for none: log the server's time; these rows are left out "
            "everywhere",
        ),
        (
            "no_time", "no time", f'without a "{log.columns.time}"',
            "these rows are left out everywhere; see what writes them",
        ),
        (
            "no_player", "no player", f'without a "{log.columns.player}"',
            "these rows are left out everywhere; see what writes them",
        ),
    ):  # fmt: skip
        number = log.left_out.get(name, 0)
        if number > (0 if name in ("late", "early") else MANY_WITHOUT * whole):
            told = f"{counted(number, 'row')} of {whole:,} ({number / whole:.2%}) {what}"
            found.append(Finding(kind, told, advice, {"rows": number, "share": number / whole}))
    return found


def _span(ms: int) -> str:
    for unit, name in ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second")):
        if ms >= unit:
            return counted(ms // unit, name)
    return f"{ms} ms"
