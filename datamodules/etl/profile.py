"""A log's profile: what it holds, what is wrong with it, and which windows fit it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from ludocast.datamodules.etl import profile_numbers as numbers
from ludocast.datamodules.etl.engine import Engine
from ludocast.datamodules.etl.log import Log, open_log
from ludocast.datamodules.etl.profile_clock import (
    crowded_instants,
    days_amiss,
    hours_amiss,
    stray_times,
    zone_shifts,
)
from ludocast.datamodules.etl.profile_finding import Finding
from ludocast.datamodules.etl.profile_ids import bots, players_of, shared_ids
from ludocast.datamodules.etl.profile_leaks import leaks
from ludocast.datamodules.etl.profile_rows import duplicates, impossible_rows, order
from ludocast.datamodules.etl.profile_tables import Tables, keep_tables
from ludocast.datamodules.etl.returns import GONE, ReturnCurve, return_curve, suggest_windows
from ludocast.datamodules.etl.sources import Source
from ludocast.datamodules.etl.times import Unit, iso
from tqdm import tqdm

from ludocast import __version__

FORMAT = 1
CREDIBLE = 0.9  # part of the return-time curve


@dataclass(frozen=True)
class Profile:
    """What a log holds.

    Attributes:
        findings: What is wrong with it.
        document: All numbers, as JSON has them.
    """

    findings: tuple[Finding, ...]
    document: Mapping[str, Any]


def open_whole(engine: Engine, source: Source, given: Mapping[str, str | None], unit: Unit | None) -> Log:
    """A log with all its columns, its rows in the order in which they are stored.

    Times and ids are worked out once and kept: the profile goes through them many times.
    """
    with engine.in_order():
        log = open_log(engine, source, given, unit, others=True)
        return replace(log, events=engine.keep("profile_events", log.events))


def profile_log(engine: Engine, log: Log, session_ms: int, time_zone: str = "UTC") -> Profile:
    """Count what a log holds, and look for what is wrong.

    Args:
        engine: Where the log is.
        log: Of `open_whole`.
        session_ms: Pause after which a session has ended, where events do not name theirs.
        time_zone: Of hours and weekdays.

    Raises:
        ValueError: If there is no such time zone.
    """
    bar = tqdm(total=9, desc="profile", unit=" steps", disable=None, leave=False)

    def step(name: str, work: Callable[[], Any]) -> Any:
        bar.set_postfix_str(name)
        found = work()
        bar.update()
        return found

    with bar:
        tables: Tables = step("days and sessions", lambda: keep_tables(engine, log, session_ms))
        counted = step("numbers", lambda: _numbers(log, tables, time_zone))
        curve: ReturnCurve = step("return times", lambda: return_curve(tables.days, log.end_day))
        twice, found = step("duplicates", lambda: duplicates(engine, log))
        ordered, backwards = step("order", lambda: order(engine, log))
        events, active = np.array(counted["daily"]["events"]), np.array(counted["daily"]["active"])
        found += backwards + impossible_rows(log) + stray_times(log, events) + days_amiss(log, events, active)
        found += hours_amiss(log, tables, active) + zone_shifts(log, tables)
        found += step("instants", lambda: crowded_instants(log, tables))
        players = engine.keep("profile_ids", players_of(tables))
        programs: list[Finding] = step("programs", lambda: bots(log, tables, players, session_ms))
        named = {player for one in programs for player in one.numbers["players"]}
        found += programs + step("shared ids", lambda: shared_ids(engine, log, tables, players, named))
        found += step("columns", lambda: leaks(engine, log, players))
    head = _head(log, tables, int(players.count().to_pyarrow().as_py()), twice, ordered)
    document = {
        "format": FORMAT, "ludocast": __version__, "log": head, **counted,
        "return_times": _returns(curve), "suggestion": _suggestion(curve, log.end_day - log.first_day),
        "warnings": [one.document() for one in found],
    }  # fmt: skip
    return Profile(tuple(found), document)


def _numbers(log: Log, tables: Tables, time_zone: str) -> dict[str, Any]:
    return {
        "daily": numbers.daily(log, tables),
        "retention": numbers.retention(log, tables),
        "sessions": numbers.sessions(tables),
        "event_types": numbers.event_types(log),
        "spending": numbers.spending(log, tables),
        "week": numbers.week(log, tables, time_zone),
        "time_zone": time_zone,
    }


def _head(log: Log, tables: Tables, players: int, twice: int, ordered: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "rows": log.left_out.get("all", log.rows), "events": log.rows, "players": players,
        "first_day": iso(log.first_day), "last_day": iso(log.end_day - 1), "days": log.end_day - log.first_day,
        "columns": log.columns.named(), "other_columns": list(log.others), "notes": list(log.notes),
        "resolution_ms": tables.resolution, "left_out": dict(log.left_out), "duplicate_rows": twice, **ordered,
    }  # fmt: skip


def _returns(curve: ReturnCurve) -> dict[str, Any]:
    gone = np.flatnonzero(curve.come_back <= 1 - GONE)
    # The curve ends at 0 in any log: what it reaches at its very end alone says nothing of players.
    is_told = len(gone) > 0 and gone[0] <= CREDIBLE * (len(curve.come_back) - 1)
    return {
        "come_back": curve.come_back.tolist(),
        "pauses": curve.watched.tolist(),
        "gone_after": int(gone[0]) if is_told else None,
    }


def _suggestion(curve: ReturnCurve, log_days: int) -> dict[str, Any]:
    try:
        found = suggest_windows(curve, log_days)
    except ValueError as error:
        return {"windows": None, "options": None, "reasons": [str(error)]}
    windows = {name: int(days) for name, days in asdict(found.windows).items()}
    return {"windows": windows, "options": found.words(), "reasons": list(found.reasons)}
