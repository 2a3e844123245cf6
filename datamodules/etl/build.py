"""From a log to a folder of snapshots: the steps in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa
from ludocast.datamodules.etl.days import player_days
from ludocast.datamodules.etl.engine import Engine
from ludocast.datamodules.etl.features import Feature
from ludocast.datamodules.etl.log import PROOF, Log
from ludocast.datamodules.etl.plan import Plan, SnapshotRows, Written, document_of, portions
from ludocast.datamodules.etl.rules import zone_offsets
from ludocast.datamodules.etl.snapshots import snapshot_features, with_labels
from ludocast.datamodules.etl.write import write_json
from ludocast.datamodules.whole_files import sync_files
from tqdm import tqdm


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
) -> tuple[Written, int]:
    """Write snapshots, `_schema.json` and `_features.json` into a folder.

    Args:
        engine: Where the log is.
        log: The log.
        days: Of `keep_days`.
        plan: What is to be made.
        folder: Empty.
        like: The document of earlier snapshots, whose columns are to be kept; None for none.

    Returns:
        What was written, and the number of features.

    Raises:
        ValueError: If there is no snapshot, or all are alike.
    """
    _, features = snapshot_features(days, plan.grid, plan.rules, plan.contents)
    rows = SnapshotRows(folder, log, plan, [feature.name for feature in features], "snapshot_time")
    bar = tqdm(total=plan.grid.end, desc="snapshots", unit=" times", disable=None, leave=False)
    for part in portions(engine, days.group_by("day").aggregate(rows=days.count()), plan):
        found, _ = snapshot_features(days, part, plan.rules, plan.contents)
        if plan.parts is not None:
            found = with_labels(found, days, part, plan.rules)
        for batch in engine.batches(found.order_by("s", "player"), 65_536):
            table = pa.Table.from_batches([batch])
            own = {f.name: table[f.name].cast(pa.int32() if f.whole else pa.float64()) for f in features}
            label = None if plan.parts is None else table["churned"]
            rows.add(table["player"], table["s"].to_numpy(), own, label)
        bar.update(part.end - part.begin)
    bar.close()
    written = rows.finish()
    document = document_of("snapshots", log, plan, written, like)
    write_json(folder / "_schema.json", {**document, "contents": asdict(plan.contents)})
    write_json(folder / "_features.json", _dictionary(features))
    sync_files(folder)
    return written, len(features)


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
