"""From a log to a folder of snapshots: the steps in their order."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
from ludocast.datamodules.etl.days import player_days
from ludocast.datamodules.etl.engine import Engine
from ludocast.datamodules.etl.features import Feature
from ludocast.datamodules.etl.log import PROOF, Log, contents_of
from ludocast.datamodules.etl.rules import DAY_MS, Contents, Rules, zone_offsets
from ludocast.datamodules.etl.snapshots import Grid, snapshot_features, with_labels
from ludocast.datamodules.etl.times import iso
from ludocast.datamodules.etl.write import SnapshotWriter, sync, test_players, write_json
from ludocast.datamodules.windows import TimeParts, split_times
from tqdm import tqdm

from ludocast import __version__

FORMAT = 1
NAMES = ("snapshot_time", "churned", "split")
ROWS_PER_GB = 3_000_000  # rows of windows summed up at once, for each GB of memory
PARTS = ("train", "validation", "test", "none")


@dataclass(frozen=True)
class Plan:
    """What is to be made of a log.

    Attributes:
        rules: Lengths of the windows and the like.
        contents: What the log holds.
        grid: Snapshot days.
        parts: Snapshot days of training, validation and test; None where there are no labels.
        apart: Whether the players of the test are in no other part.
        seed: Of the players of the test.
    """

    rules: Rules
    contents: Contents
    grid: Grid
    parts: TimeParts | None
    apart: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Written:
    """What was written: rows of each part, and how many left.

    Attributes:
        rows: Snapshots.
        churned: Of them.
        split: Part to number of rows.
        features: Their number.
        files: Their number.
        times: Snapshot times.
    """

    rows: int
    churned: int
    split: dict[str, int]
    features: int
    files: int
    times: int


def make_plan(
    engine: Engine, log: Log, rules: Rules, at: int | None, contents: Contents | None, **options: Any
) -> Plan:
    """Decide on snapshots and parts.

    Args:
        engine: Where the log is.
        log: The log.
        rules: Windows.
        at: The one day to take a snapshot of, without labels; None for all of them.
        contents: Of an earlier plan to follow; None to look at the log.
        options: `apart` and `seed` of the plan.

    Raises:
        ValueError: If the log is too short.
    """
    windows = rules.windows
    if at is not None:
        grid, parts = Grid(at, rules.observe, 0, 1), None
    else:
        times = windows.times(log.first_day, log.end_day)
        grid = Grid(int(times[0]), rules.step, 0, len(times))
        try:
            parts = split_times(times, windows.label)
        except ValueError as error:
            raise ValueError(
                f"the log is {log.end_day - log.first_day} days long; three parts whose labels do not overlap "
                f"need {windows.shortest():g} days with these windows: give a longer log, or shorter windows"
            ) from error
    if contents is None:
        contents = contents_of(engine, log, rules, grid.first)
    return Plan(rules, contents, grid, parts, **options)


def keep_days(engine: Engine, log: Log, plan: Plan) -> tuple[ir.Table, Plan]:
    """The days of all players, worked out once; and the plan, which now knows whether days have several events."""
    offsets = zone_offsets(plan.rules.time_zone, log.first_day, log.end_day)
    days = player_days(log.events, plan.contents, plan.rules.session_ms, offsets, engine.keep)
    days = engine.keep("days", days)
    known = days.filter(days.day < plan.grid.first)
    seen = engine.row(known.aggregate(most=known.events.max(), rows=known.count()))
    several = plan.contents.several and (seen["rows"] < PROOF or seen["most"] > 1)
    return days, replace(plan, contents=replace(plan.contents, several=several))


def write_snapshots(
    engine: Engine, log: Log, days: ir.Table, plan: Plan, folder: Path, like: Mapping[str, Any] | None = None
) -> Written:
    """Write snapshots, `_schema.json` and `_features.json` into a folder.

    Args:
        engine: Where the log is.
        log: The log.
        days: Of `keep_days`.
        plan: What is to be made.
        folder: Empty.
        like: The document of earlier snapshots, whose columns are to be kept; None for none.

    Raises:
        ValueError: If there is no snapshot, or all are alike.
    """
    writer, schema = SnapshotWriter(folder), None
    features: list[Feature] = []
    split, churned = dict.fromkeys(PARTS, 0), 0
    bar = tqdm(total=plan.grid.end, desc="snapshots", unit=" times", disable=None, leave=False)
    for part in _portions(engine, days, plan):
        found, features = snapshot_features(days, part, plan.rules, plan.contents)
        if log.columns.player in (*NAMES, *(feature.name for feature in features)):
            raise ValueError(
                f'the players\' column is called "{log.columns.player}", as one of the snapshots is; rename it'
            )
        if plan.parts is not None:
            found = with_labels(found, days, part, plan.rules)
        for batch in engine.batches(found.order_by("s", "player"), 65_536):
            table = _finished(pa.Table.from_batches([batch]), plan, log, features)
            schema = table.schema
            if plan.parts is not None:
                churned += int(np.count_nonzero(table["churned"].to_numpy()))
                for name in PARTS:
                    split[name] += int((table["split"].to_numpy() == name).sum())
            writer.add(table)
        bar.update(part.end - part.begin)
    bar.close()
    if schema is None:
        raise ValueError(_nobody(plan, log))
    writer.finish(schema)
    written = Written(writer.rows, churned, split, len(features), writer.files, plan.grid.end)
    if plan.parts is not None and churned in (0, writer.rows):
        raise ValueError(_one_class(written, plan))
    write_json(folder / "_schema.json", _document(log, plan, written, schema, like))
    write_json(folder / "_features.json", _dictionary(features))
    sync(folder)
    return written


def _portions(engine: Engine, days: ir.Table, plan: Plan) -> list[Grid]:
    """Consecutive snapshots whose windows together have about as many rows as memory holds."""
    grid, rules = plan.grid, plan.rules
    counts = days.group_by("day").aggregate(rows=days.count()).to_pyarrow().to_pydict()
    day, rows = np.array(counts["day"], np.int64), np.array(counts["rows"], np.int64)
    limit = ROWS_PER_GB * max(engine.memory / 1e9, 0.2)
    found: list[Grid] = []
    begin, total = grid.begin, 0.0
    for number in range(grid.begin, grid.end):
        s = grid.day(number)
        here = float(rows[(day >= s - rules.observe) & (day < s)].sum())
        if number > begin and total + here > limit:
            found.append(grid.part(begin, number))
            begin, total = number, 0.0
        total += here
    return [*found, grid.part(begin, grid.end)]


def _finished(table: pa.Table, plan: Plan, log: Log, features: list[Feature]) -> pa.Table:
    """Columns under their own names, in their order: player, snapshot_time, the features, churned, split."""
    s = table["s"].to_numpy()
    moment = pa.array(s * DAY_MS, pa.int64()).cast(pa.timestamp("ms")).cast(pa.timestamp("us"))
    columns = {log.columns.player: table["player"], "snapshot_time": moment}
    for feature in features:
        columns[feature.name] = table[feature.name].cast(pa.int32() if feature.whole else pa.float64())
    if plan.parts is not None:
        columns |= {"churned": table["churned"].cast(pa.bool_()), "split": pa.array(_split(table["player"], s, plan))}
    return pa.table(columns)


def _split(players: pa.ChunkedArray, s: np.ndarray, plan: Plan) -> np.ndarray:
    """Part of each snapshot, objects [N]."""
    assert plan.parts is not None
    found = np.full(len(s), "none", object)
    for name, times in zip(PARTS[:3], plan.parts, strict=True):
        found[(s >= times[0]) & (s <= times[-1])] = name
    if plan.apart:
        chosen = test_players(players, 0.5, plan.seed)
        found[np.where(found == "test", ~chosen, chosen)] = "none"
    return found


def _nobody(plan: Plan, log: Log) -> str:
    within = plan.rules.active_within
    if plan.parts is None:
        return (
            f"no player was active in the {within} days before {iso(plan.grid.first)}; the log ends on "
            f"{iso(log.end_day - 1)}: give another --at, or a longer --active-within"
        )
    return (
        f"no player was active in the {within} days before any of the {plan.grid.end} snapshot times; "
        "give a longer --active-within, or a smaller --step"
    )


def _one_class(written: Written, plan: Plan) -> str:
    what = "all" if written.churned else "none"
    change = "longer" if written.churned else "shorter"
    return (
        f"{what} of the {written.rows:,} snapshots have churned within {plan.rules.horizon} days, so there is "
        f"nothing to learn; give a {change} --horizon, or more of the log"
    )


def _document(
    log: Log, plan: Plan, written: Written, schema: pa.Schema, like: Mapping[str, Any] | None
) -> dict[str, Any]:
    grid = plan.grid
    document: dict[str, Any] = {
        "format": FORMAT,
        "ludocast": __version__,
        "log": log.columns.named(),
        "time_unit": log.unit,
        "rules": plan.rules.document(),
        "contents": asdict(plan.contents),
        "snapshots": {"first": iso(grid.first), "last": iso(grid.day(grid.end - 1)), "number": grid.end},
        "log_days": {"first": iso(log.first_day), "last": iso(log.end_day - 1)},
        "rows": written.rows,
        "columns": {field.name: str(field.type) for field in schema},
    }
    if plan.parts is not None:
        spans = {name: [iso(int(times[0])), iso(int(times[-1]))] for name, times in plan.parts._asdict().items()}
        document |= {
            "label": "churned", "split": "split", "churned": written.churned, "split_rows": written.split,
            "split_times": spans, "players_apart": plan.apart,
        }  # fmt: skip
    if like is not None:
        document["like"] = like["snapshots"]
    return document


def _dictionary(features: list[Feature]) -> list[dict[str, str]]:
    return [
        {
            "name": feature.name,
            "type": "whole number" if feature.whole else "number",
            "description": feature.description,
            "missing": feature.missing,
        }
        for feature in features
    ]


def day_of_date(option: str, text: str) -> int:
    """Days since 1970 of a date such as 2008-01-01.

    Raises:
        ValueError: If it is none.
    """
    try:
        return (dt.date.fromisoformat(text) - dt.date(1970, 1, 1)).days
    except ValueError as error:
        raise ValueError(f'{option} is a date such as 2008-01-01, or now, or end, got "{text}"') from error
