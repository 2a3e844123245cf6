"""Columns that carry the future: what was added to every row on the day of the export, not when the event happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ibis
import ibis.expr.datatypes as dts
import ibis.expr.types as ir
from ludocast.datamodules.etl.engine import Engine
from ludocast.datamodules.etl.log import Log
from ludocast.datamodules.etl.profile_finding import Finding
from ludocast.datamodules.etl.rules import DAY_MS
from ludocast.datamodules.etl.times import PER_SECOND, Unit, milliseconds_of, unit_counts

AT_ONCE = 40  # columns of one query
CONSTANT = 0.99  # of the players with several events: so many have one value alone
AFTER = 0.3  # of the rows lie more than a day before the value
EQUAL = 0.9  # of the players: the value is what the whole log counts
MOVES = 0.9  # correlation with what the whole log tells of a player
COMES_WITH = 0.5  # correlation with the first day from which on a number tells of that, as a registration's does
CENT = 0.005  # numbers that differ by less are equal
EXPLAINS, ARRIVAL = 0.5, 1.5  # part of the variance of players' last days, and how many times that of their first ones
FEWEST_PLAYERS = 20
MOST_VALUES = 50
MOST_TYPES = 8
ALMOST_ALL = 0.99


@dataclass(frozen=True)
class Other:
    """A column without a role: its name, and its values as a time (ms), a number, or a text."""

    name: str
    kind: str
    value: ir.Value


def leaks(engine: Engine, log: Log, players: ir.Table) -> list[Finding]:
    """Name each column that seems to know what came after its row.

    Args:
        engine: Where the log is.
        log: The log, with columns that have no role.
        players: Of `players_of`, kept.
    """
    others = _others(engine, log)
    parts = [others[begin : begin + AT_ONCE] for begin in range(0, len(others), AT_ONCE)]
    return [finding for place, part in enumerate(parts) for finding in _leaks(engine, log, players, part, place)]


def _leaks(engine: Engine, log: Log, players: ir.Table, others: list[Other], part: int) -> list[Finding]:
    """Of some columns, the `part`-th ones."""
    rows = log.events.mutate(**{f"value_{number}": other.value for number, other in enumerate(others)})
    found_players, told = _by_player(log, rows, others)
    active = players.select(of="player", active="active_days")
    joined = found_players.inner_join(active, found_players.player == active.of).drop("of")
    players = engine.keep(f"profile_players_{part}", joined)
    seen = engine.row(players.aggregate(**_asked(players, others, list(told))))
    times = {f"after_{k}": _after(rows, k) for k, other in enumerate(others) if other.kind == "time"}
    seen |= engine.row(rows.aggregate(**times)) if times else {}
    found = []
    for number, other in enumerate(others):
        row = {name.removesuffix(f"_{number}"): value for name, value in seen.items() if name.endswith(f"_{number}")}
        sentence = _sentence(other, row, told)
        if sentence is None and other.kind == "text" and _is_constant(row):
            sentence = _of_text(engine, players, number)
        if sentence is not None:
            advice = "it was not known when the event happened: keep it out of features, or log it as it was then"
            told_all = f'column "{other.name}" {sentence}'
            found.append(Finding("carries the future", told_all, advice, {"column": other.name}))
    return found


def _others(engine: Engine, log: Log) -> list[Other]:
    """Columns by what they hold; those of nested types are left aside.

    A text stays one on an engine that cannot try whether it is a number or a time.
    """
    candidates = [(f"other_{k}", name) for k, name in enumerate(log.others)]
    plain = [(key, name) for key, name in candidates if _is_plain(log.events[key].type())]
    asked: dict[str, ir.Value] = {}
    for key, _ in plain:
        column = log.events[key]
        if column.type().is_string() and engine.can_try:
            asked[f"{key}_known"] = column.count()
            asked[f"{key}_number"] = column.try_cast("float64").count()
            asked[f"{key}_time"] = column.try_cast(dts.Timestamp("UTC")).count()
        elif column.type().is_numeric():
            asked |= {f"{key}_{name}": value for name, value in unit_counts(column).items()}
    seen = engine.row(log.events.aggregate(**asked)) if asked else {}
    return [_other(log.events[key], key, name, seen) for key, name in plain]


def _is_plain(kind: dts.DataType) -> bool:
    return bool(kind.is_string() or kind.is_numeric() or kind.is_boolean() or kind.is_timestamp() or kind.is_date())


def _other(column: ir.Value, key: str, name: str, seen: Mapping[str, int]) -> Other:
    kind = column.type()
    if kind.is_timestamp() or kind.is_date():
        return Other(name, "time", milliseconds_of(column, None))
    if kind.is_boolean():
        return Other(name, "text", column.cast("string"))
    known = seen.get(f"{key}_known", 0)
    if kind.is_numeric():
        units: list[Unit] = [unit for unit in PER_SECOND if known and seen[f"{key}_{unit}"] >= ALMOST_ALL * known]
        if units:
            return Other(name, "time", milliseconds_of(column, units[0]))
        return Other(name, "number", column.cast("float64"))
    if known and seen[f"{key}_number"] >= ALMOST_ALL * known:
        return Other(name, "number", column.try_cast("float64"))
    if known and seen[f"{key}_time"] >= ALMOST_ALL * known:
        return Other(name, "time", milliseconds_of(column.try_cast(dts.Timestamp("UTC")), None))
    return Other(name, "text", column)


def _by_player(log: Log, rows: ir.Table, others: list[Other]) -> tuple[ir.Table, dict[str, str]]:
    """What the whole log counts of each player, with its words; and the range of each column."""
    sums: dict[str, ir.Value] = {"events": rows.count(), "first": rows.time.min(), "last": rows.time.max()}
    told = {"events": "the number of the player's events", "active": "the number of the player's active days"}
    if log.columns.amount is not None:
        sums |= {"spent": rows.amount.sum() / 1e6, "payments": (rows.amount > 0).sum()}
        told |= {"spent": "all that the player paid", "payments": "the number of the player's payments"}
    if log.columns.level is not None:
        sums["level"] = rows.level.max()
        told["level"] = "the player's highest level"
    if log.columns.event is not None:
        types = rows.group_by("event").aggregate(number=ibis._.count())
        top = types.filter(types.event.notnull()).order_by(types.number.desc(), types.event).limit(MOST_TYPES)
        for number, name in enumerate(top.to_pyarrow()["event"].to_pylist()):
            sums[f"type_{number}"] = (rows.event == name).sum()
            told[f"type_{number}"] = f'the number of the player\'s events "{name}"'
    for number in range(len(others)):
        value = rows[f"value_{number}"]
        sums |= {f"low_{number}": value.min(), f"high_{number}": value.max(), f"known_{number}": value.count()}
    return rows.group_by("player").aggregate(**sums), told


def _asked(players: ir.Table, others: list[Other], counted: list[str]) -> dict[str, ir.Value]:
    """What is to be known of each column over all players, its number behind each name."""
    asked: dict[str, ir.Value] = {}
    lifetime, arrival = (players["last"] - players["first"]).cast("float64"), players["first"].cast("float64")
    for k, other in enumerate(others):
        low = players[f"low_{k}"]
        several = players[f"known_{k}"] >= 2
        same = several & (low == players[f"high_{k}"])
        asked |= {f"several_{k}": several.sum(), f"same_{k}": same.sum()}
        if other.kind == "time":
            asked[f"last_day_{k}"] = (same & ((low - players["last"]).abs() <= DAY_MS)).sum()
        if other.kind != "number":
            continue
        asked |= {f"lowest_{k}": low.min(where=same), f"highest_{k}": low.max(where=same)}
        for name in counted:
            enough = same & (players[name] >= 2)
            asked[f"of_{name}_{k}"] = enough.sum()
            asked[f"equal_{name}_{k}"] = (enough & ((low - players[name]).abs() < CENT)).sum()
        for name, value in (
            ("with_events", players.events.cast("float64")), ("with_lifetime", lifetime), ("with_arrival", arrival),
        ):  # fmt: skip
            asked[f"{name}_{k}"] = low.corr(value, where=same, how="pop")
    return asked


def _after(rows: ir.Table, number: int) -> ir.Value:
    """Share of the rows, of those with a value, whose value lies more than a day after their own time."""
    is_after = rows[f"value_{number}"] > rows.time + DAY_MS
    return is_after.sum() / is_after.count()


def _is_constant(row: Mapping[str, Any]) -> bool:
    several = row["several"] or 0
    return several >= FEWEST_PLAYERS and row["same"] >= CONSTANT * several


def _sentence(other: Other, row: Mapping[str, Any], told: Mapping[str, str]) -> str | None:
    if other.kind == "time":
        after = row["after"] or 0.0
        if _is_constant(row) and row["last_day"] >= EQUAL * row["same"]:
            return "is the day of the player's last event in the whole log, told in every row"
        if after >= AFTER:
            constant = "has one value a player, which " if _is_constant(row) else ""
            return f"{constant}lies more than a day after the row's own time in {after:.0%} of the rows"
        return None
    if other.kind != "number" or not _is_constant(row) or row["lowest"] == row["highest"]:
        return None
    for name, words in told.items():
        of = row[f"of_{name}"] or 0
        if of >= FEWEST_PLAYERS and row[f"equal_{name}"] >= EQUAL * of:
            return f"is {words} in the whole log, told in every row"
    arrival = abs(row["with_arrival"] or 0.0)
    for name, words in (("with_events", "number of events"), ("with_lifetime", "time from first to last event")):
        moves = abs(row[name] or 0.0)
        if moves >= MOVES and arrival < COMES_WITH:
            return f"has one value a player, which moves with the {words} in the whole log (correlation {moves:.2f})"
    return None


def _of_text(engine: Engine, players: ir.Table, number: int) -> str | None:
    """Whether values tell when players were seen last, though not when they came."""
    value, known = players[f"low_{number}"], players.filter(players[f"known_{number}"] >= 2)
    rows = known.select(value=value, last=players["last"].cast("float64"), first=players["first"].cast("float64"))
    groups = rows.group_by("value").aggregate(number=rows.count(), last=rows["last"].mean(), first=rows["first"].mean())
    if not 2 <= engine.row(groups.aggregate(values=groups.count()))["values"] <= MOST_VALUES:
        return None
    whole = engine.row(
        rows.aggregate(
            last=rows["last"].mean(), first=rows["first"].mean(), of_last=rows["last"].var(how="pop"),
            of_first=rows["first"].var(how="pop"), number=rows.count(),
        )
    )  # fmt: skip
    parts = groups.to_pyarrow().to_pylist()
    share = {}
    for name in ("last", "first"):
        between = sum(part["number"] * (part[name] - whole[name]) ** 2 for part in parts) / whole["number"]
        share[name] = between / whole[f"of_{name}"] if whole[f"of_{name}"] else 0.0
    if share["last"] < max(EXPLAINS, ARRIVAL * share["first"]):
        return None
    return f"has one value a player, which tells when the player was seen last ({share['last']:.0%} of the variance)"
