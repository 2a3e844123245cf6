"""Events become pairs: who had what, how often, for how much, since when; one Ibis expression on every engine."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute as pc
from ludocast.datamodules.etl.engine import Engine
from ludocast.datamodules.etl.log import Log
from ludocast.datamodules.etl.rules import MILLIONTHS
from ludocast.datamodules.etl.write import DataSetWriter
from ludocast.datamodules.whole_files import put_file

COUNT, VALUE, FIRST, LAST = "events", "value", "first_time", "last_time"


class Pairs(NamedTuple):
    """What was written.

    Attributes:
        pairs: Of a player and an item.
        events: Of which they were made.
        players: Their number.
        items: Their number.
    """

    pairs: int
    events: int
    players: int
    items: int


def player_items(events: ir.Table) -> ir.Table:
    """A row for each player and item of theirs, sorted by both.

    Args:
        events: `player`, `item`, `time` (milliseconds) and, where there is one, `amount` (millionths).

    Returns:
        `player`, `item`, `events` (their number), `value` (the sum of amounts, missing where none is known), and the
        `first_time` and `last_time`.
    """
    values: dict[str, ir.Value] = {COUNT: events.count()}
    if "amount" in events.columns:
        values[VALUE] = events.amount.sum().cast("int64")
    values |= {FIRST: events.time.min(), LAST: events.time.max()}
    return events.group_by("player", "item").aggregate(**values).order_by("player", "item")


def item_events(engine: Engine, log: Log, names: Sequence[str]) -> ir.Table:
    """The events that have an item and, if names are given, one of these.

    Raises:
        ValueError: If there is none, or a name is none of the log's.
    """
    known = log.events.filter(log.events.item.notnull())
    if names:
        if log.columns.event is None:
            raise ValueError("--events are names of events, and the log has no column of them; name it with --event")
        counts = known.group_by("event").aggregate(rows=known.count()).to_pyarrow().to_pydict()
        there = [name for name in counts["event"] if name is not None]
        for name in names:
            if name not in there:
                raise ValueError(f'no event "{name}" of the log has an item; {_near(name, there)}')
        known = known.filter(known.event.isin(list(names)))
    if not engine.row(known.aggregate(rows=known.count()))["rows"]:
        raise ValueError(f'no event of the log has a "{log.columns.item}"; is it the right column (--item)?')
    return known


def _near(name: str, there: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, there, n=1, cutoff=0.4)
    if near:
        return f'did you mean "{near[0]}"?'
    return f"these have: {', '.join(sorted(there)[:12])}" if there else "none has"


def write_interactions(engine: Engine, log: Log, names: Sequence[str], folder: Path, out: Path) -> Pairs:
    """Write the pairs of a log as one Parquet file.

    Args:
        engine: Where the log is.
        log: With items.
        names: Of the events that count; none for all.
        folder: For the file until it is whole.
        out: The file.

    Raises:
        ValueError: If there are none, or a column of the log has the name of one that is written.
    """
    player, item = log.columns.player, log.columns.item
    assert item is not None
    for name in (player, item):
        if name in (COUNT, VALUE, FIRST, LAST):
            raise ValueError(f'the log\'s column "{name}" has the name of one that is written; rename it')
    events = item_events(engine, log, names)
    writer = DataSetWriter(folder, file_groups=None)
    schema, count, items = None, 0, set[object]()
    players, last = 0, None
    for batch in engine.batches(player_items(events), 131_072):
        table = pa.Table.from_batches([batch])
        if not table.num_rows:
            continue
        columns = {player: table["player"], item: table["item"], COUNT: table[COUNT].cast(pa.int64())}
        if VALUE in table.column_names:
            columns[VALUE] = pc.divide(table[VALUE].cast(pa.float64()), float(MILLIONTHS))
        columns |= {name: _moment(table[name]) for name in (FIRST, LAST)}
        found = pa.table(columns)
        schema = found.schema
        writer.add(found)
        own = table["player"].unique().to_pylist()
        players, last = players + len(own) - (own[0] == last), own[-1]
        count += int(pc.sum(table[COUNT]).as_py())
        items |= set(table["item"].unique().to_pylist())
    assert schema is not None  # of one event there is one pair
    writer.finish(schema)
    put_file(folder / "part-00000.parquet", out)
    return Pairs(writer.rows, count, players, len(items))


def _moment(milliseconds: pa.ChunkedArray) -> pa.ChunkedArray:
    return milliseconds.cast(pa.int64()).cast(pa.timestamp("ms")).cast(pa.timestamp("us"))
