"""Events become sequences: what each player did before each snapshot, in lists, by one Ibis expression on every engine.

Engines build lists in different ways and hold whole ones in memory. Here an engine only copies, joins and sorts, which
all of them do on the disk where memory ends; the sorted rows become lists as they arrive, a batch at a time.
"""

# R rows, G snapshots of players

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ludocast.datamodules.etl.engine import Engine
from ludocast.datamodules.etl.log import Log
from ludocast.datamodules.etl.plan import Plan, SnapshotRows, Written, document_of, portions
from ludocast.datamodules.etl.rules import DAY_MS, MILLIONTHS, Rules
from ludocast.datamodules.etl.snapshots import Grid, eligible, window_copies, with_labels
from ludocast.datamodules.etl.write import write_json
from ludocast.datamodules.ragged import flat_positions, offsets_of
from ludocast.datamodules.whole_files import sync_files
from tqdm import tqdm

ROLES = ("time", "event", "amount", "level", "session")  # a list each, where the log has them
MOMENT = "now"  # as a bundle of sequences calls the moment that is asked about
ROW_GROUP = 16_384  # snapshots, each of which has many events
BATCH = 262_144  # events


def active_days(events: ir.Table) -> ir.Table:
    """`player`, `day` (days since 1970) and `rows`, the events there."""
    rows = events.mutate(day=(events.time // DAY_MS).cast("int64"))
    return rows.group_by("player", "day").aggregate(rows=rows.count())


def window_events(events: ir.Table, days: ir.Table, grid: Grid, rules: Rules, labelled: bool) -> ir.Table:
    """The events in [s − observe, s) of each player who was active in [s − active_within, s).

    Args:
        events: As of a `Log`.
        days: Of `active_days`.
        grid: Which snapshots.
        rules: Lengths of the windows.
        labelled: Whether to tell who has churned.

    Returns:
        `s`, `player`, the columns of `events`, `churned` if that is wanted; sorted by s, player, time, then all else,
        so that events at one time have one order whatever that of the log.
    """
    first, last = grid.day(grid.begin), grid.day(grid.end - 1)
    asked = eligible(days, grid, rules)
    if labelled:
        asked = with_labels(asked, days, grid, rules)
    own = [name for name in ROLES if name in events.columns]
    known = events.filter(events.time >= (first - rules.observe) * DAY_MS, events.time < last * DAY_MS)
    known = known.mutate(day=(known.time // DAY_MS).cast("int64"))
    copies = window_copies(known, grid, rules.observe).select("player", "s", *own)
    asked = asked.rename(asked_player="player", asked_s="s")
    joined = copies.inner_join(asked, [copies.player == asked.asked_player, copies.s == asked.asked_s])
    return joined.drop("asked_player", "asked_s").order_by("s", "player", *own)


class Lists(NamedTuple):
    """Some snapshots, with the newest events of each.

    Attributes:
        rows: `player`, `s` and, where it was wanted, `churned` [G].
        lists: Role to lists [G], oldest event first.
        events: Their number.
    """

    rows: pa.Table
    lists: dict[str, pa.ListArray]
    events: int


def gathered(batches: Iterable[pa.RecordBatch], newest: int) -> Iterator[Lists]:
    """Sorted rows, an event each, as rows of lists.

    Args:
        batches: Of `window_events`.
        newest: Events of a list; of more the last ones.
    """
    held: pa.Table | None = None  # of the last snapshot, more may come
    for batch in batches:
        here = pa.Table.from_batches([batch])
        table = here if held is None else pa.concat_tables([held, here]).combine_chunks()
        if not table.num_rows:
            continue
        begin = _begins(table)
        if len(begin) > 1:
            yield _lists(table.slice(0, begin[-1]), begin[:-1], newest)
        held = table.slice(max(begin[-1], table.num_rows - newest))
    if held is not None:
        yield _lists(held, np.zeros(1, np.int64), newest)


def _begins(table: pa.Table) -> np.ndarray:
    """Rows at which another snapshot begins, int64."""
    changes = np.zeros(table.num_rows, bool)
    changes[0] = True
    for name in ("s", "player"):
        values = table[name].combine_chunks()
        changes[1:] |= pc.not_equal(values[1:], values[:-1]).to_numpy(zero_copy_only=False)
    return np.flatnonzero(changes)


def _lists(table: pa.Table, begin: np.ndarray, newest: int) -> Lists:
    end = np.append(begin[1:], table.num_rows)
    kept = np.maximum(begin, end - newest)
    offsets = pa.array(offsets_of(end - kept), pa.int32())
    place = pa.array(flat_positions(kept, end))
    lists = {}
    for role in ROLES:
        if role in table.column_names:
            values = table[role].take(place).combine_chunks()
            lists[role] = pa.ListArray.from_arrays(offsets, _shown(role, values))
    rows = table.select([name for name in table.column_names if name not in ROLES])
    return Lists(rows.take(pa.array(end - 1)), lists, len(place))


def _shown(role: str, values: pa.Array) -> pa.Array:
    if role == "time":
        return values.cast(pa.int64()).cast(pa.timestamp("ms")).cast(pa.timestamp("us"))
    return pc.divide(values.cast(pa.float64()), float(MILLIONTHS)) if role == "amount" else values


def write_sequences(
    engine: Engine, log: Log, plan: Plan, folder: Path, newest: int, like: Mapping[str, Any] | None = None
) -> tuple[Written, int]:
    """Write sequences and `_schema.json` into a folder.

    Args:
        engine: Where the log is.
        log: The log.
        plan: Which snapshots.
        folder: Empty.
        newest: Events of a sequence; of more the last ones.
        like: The document of earlier ones, whose columns are to be kept; None for none.

    Returns:
        What was written, and the number of events.

    Raises:
        ValueError: If there is no snapshot, or all are alike.
    """
    names = log.columns.named()
    own = {role: names[role] for role in ROLES if role in names}
    rows = SnapshotRows(folder, log, plan, list(own.values()), MOMENT, ROW_GROUP)
    days, events = engine.keep("days", active_days(log.events)), 0
    counts = days.group_by("day").aggregate(rows=days.rows.sum())
    bar = tqdm(total=plan.grid.end, desc="sequences", unit=" times", disable=None, leave=False)
    for part in portions(engine, counts, plan):
        found = window_events(log.events, days, part, plan.rules, labelled=plan.parts is not None)
        for one in gathered(engine.batches(found, BATCH), newest):
            label = None if plan.parts is None else one.rows["churned"]
            lists = {name: one.lists[role] for role, name in own.items()}
            rows.add(one.rows["player"], one.rows["s"].to_numpy(), lists, label)
            events += one.events
        bar.update(part.end - part.begin)
    bar.close()
    written = rows.finish()
    document = document_of("sequences", log, plan, written, like)
    write_json(folder / "_schema.json", {**document, "newest": newest, "events": events})
    sync_files(folder)
    return written, events
