"""Random logs for the tests of snapshots, and the chain from a file to a table."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from ludocast.datamodules.etl.build import keep_days
from ludocast.datamodules.etl.engine import Engine, connect
from ludocast.datamodules.etl.interactions import item_events, player_items
from ludocast.datamodules.etl.log import open_log
from ludocast.datamodules.etl.plan import make_plan
from ludocast.datamodules.etl.rules import Contents, Rules
from ludocast.datamodules.etl.sequences import ROLES as SEQUENCE_ROLES
from ludocast.datamodules.etl.sequences import active_days, gathered, window_events
from ludocast.datamodules.etl.snapshots import snapshot_features, with_labels
from ludocast.datamodules.etl.sources import find_source

from tests.datamodules.etl.reference import DAY, Event

START = 19_700  # days since 1970: 2023-12-09
ROLES: dict[str, str | None] = {
    "player": "player",
    "time": "time",
    "event": "event",
    "amount": "amount",
    "level": "level",
    "session": None,
}
TYPES = ("fight", "login", "shop", "trade")
DAYS = 90
FUTURES = ("deleted", "rewritten", "added", "thinned")
RULES = st.builds(
    Rules, observe=st.integers(6, 30), gap=st.integers(0, 3), horizon=st.integers(3, 8),
    active_within=st.integers(1, 6), step=st.integers(3, 7),
)  # fmt: skip
# Smaller cases of a failing one would be looked for by thousands of queries.
PHASES = (Phase.explicit, Phase.generate)
FAST = settings(max_examples=3, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)


def random_events(seed: int, players: int, days: int, busy: float = 0.35) -> list[Event]:
    """Players with habits; evenings run over midnight, and times fall together now and then."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(players):
        first, last = sorted(generator.integers(0, days, 2))
        level = int(generator.integers(1, 5))
        for day in range(first, last + 1):
            if generator.random() > busy:
                continue
            time = int(generator.integers(0, DAY)) // 1000 * 1000
            for _ in range(int(generator.integers(1, 7))):
                amount = float(np.round(generator.gamma(1.0, 4.0), 2)) if generator.random() < 0.2 else None
                level += int(generator.random() < 0.1)
                kind = str(generator.choice(TYPES, p=[0.4, 0.4, 0.15, 0.05]))
                shown = level if generator.random() < 0.7 else None
                found.append(Event(f"p{number}", (START + day) * DAY + time, kind, amount, shown))
                time += int(generator.choice([0, 1_500, 600_000, 1_800_000, 1_800_001, 9_000_000]))
    end = (START + days) * DAY
    kept = [event for event in found if event.time < end]
    # The first and last day are there, so that every log of a size has the same snapshots.
    return [Event("early", START * DAY + 5, "login", None, None), *kept, Event("late", end - 7, "login", None, None)]


def with_future(events: list[Event], s: int, future: str, seed: int) -> list[Event]:
    """Other events at or after midnight of day s; the last one stays, as the end of the log does."""
    cut = s * DAY
    past = [event for event in events if event.time < cut]
    later = [event for event in events[:-1] if event.time >= cut]
    generator = np.random.default_rng(seed)
    other = [event for event in random_events(seed + 1, 25, DAYS) if event.time >= cut]
    strange = [Event(event.player, event.time, f"new {event.event}", 1e6, 99) for event in other]
    at_midnight = [Event(f"p{number}", cut, "login", 5.0, 1) for number in range(10)]
    thinned = [event for event in later if generator.random() < 0.5]
    futures = {"deleted": [], "rewritten": strange, "added": later + other + at_midnight, "thinned": thinned}
    return [*past, *futures[future], events[-1]]


def write_log(events: Sequence[Event], path: Path) -> Path:
    table = pa.table(
        {
            "player": [event.player for event in events],
            "time": pa.array([event.time for event in events], pa.timestamp("ms")),
            "event": [event.event for event in events],
            "amount": pa.array([event.amount for event in events], pa.float64()),
            "level": pa.array([event.level for event in events], pa.int32()),
        }
    )
    pq.write_table(table, path)
    return path


def table_of(engine: Engine, log: Sequence[str], rules: Rules, **options: Any) -> tuple[pd.DataFrame, Any]:
    """Player, s, features and label of a log, by s, then player; and the plan."""
    opened = open_log(engine, find_source(engine, log, None), ROLES, **options)
    plan = make_plan(engine, opened, rules, None, None)
    days, plan = keep_days(engine, opened, plan)
    found, _ = snapshot_features(days, plan.grid, plan.rules, plan.contents)
    found = with_labels(found, days, plan.grid, plan.rules)
    frame = found.to_pyarrow().to_pandas()
    # Whole numbers are floats to pandas where one of them is missing.
    frame = frame.astype({name: "float64" for name in frame.columns if name not in ("player", "s", "churned")})
    return frame.sort_values(["s", "player"], ignore_index=True), plan


def sequences_of_engine(
    engine: Engine, log: Sequence[str], rules: Rules, newest: int = 512, batch: int = 1_000, **options: Any
) -> pd.DataFrame:
    """Player, s, label and lists of a log, as they are written."""
    opened = open_log(engine, find_source(engine, log, None), ROLES, **options)
    plan = make_plan(engine, opened, rules, None, Contents())
    days = engine.keep("days", active_days(opened.events))
    found = window_events(opened.events, days, plan.grid, rules, labelled=True)
    roles = [role for role in SEQUENCE_ROLES if role in opened.columns.named()]
    rows: list[tuple[Any, ...]] = []
    for one in gathered(engine.batches(found, batch), newest):
        columns = [one.rows[name].to_pylist() for name in ("player", "s", "churned")]
        columns += [[tuple(values) for values in one.lists[role].to_pylist()] for role in roles]
        rows += zip(*columns, strict=True)
    table = pd.DataFrame(rows, columns=["player", "s", "churned", *roles])
    return table.astype({"player": "str", "s": "int64", "churned": "bool"})


def pairs_of_engine(engine: Engine, log: Sequence[str], until: int | None, **options: Any) -> pd.DataFrame:
    """Who had what, with the kinds of events as items."""
    roles = {**ROLES, "event": "none", "item": "event"}
    opened = open_log(engine, find_source(engine, log, None), roles, until=until, **options)
    table: pd.DataFrame = player_items(item_events(engine, opened, ())).to_pyarrow().to_pandas()
    return table


@contextmanager
def duckdb_with(events: Sequence[Event], files: int = 1) -> Iterator[tuple[Engine, list[str]]]:
    """An engine, and the files of a log."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [str(write_log(events[i::files], folder / f"{i}.parquet")) for i in range(files) if events[i::files]]
        engine = connect("duckdb", 500_000_000, folder, threads=1)
        try:
            yield engine, paths
        finally:
            engine.close()


def snapshots_of(events: Sequence[Event], rules: Rules, files: int = 1, **options: Any) -> tuple[pd.DataFrame, Any]:
    """The same on DuckDB, of events."""
    with duckdb_with(events, files) as (engine, paths):
        return table_of(engine, paths, rules, **options)


def sequences_of(events: Sequence[Event], rules: Rules, files: int = 1, **options: Any) -> pd.DataFrame:
    """The same of sequences."""
    with duckdb_with(events, files) as (engine, paths):
        return sequences_of_engine(engine, paths, rules, **options)


def pairs_of(events: Sequence[Event], until: int | None = None, files: int = 1, **options: Any) -> pd.DataFrame:
    """The same of pairs."""
    with duckdb_with(events, files) as (engine, paths):
        return pairs_of_engine(engine, paths, until, **options)


def disordered(events: list[Event], seed: int) -> tuple[list[Event], list[Event], list[Event]]:
    """The events in another order; those that differ in some column; and these, each of them twice.

    Rows that are equal in every column are one with `dedupe`, hence the second.
    """
    shuffled = [events[i] for i in np.random.default_rng(seed).permutation(len(events))]
    single = list(dict.fromkeys(events))
    return shuffled, single, [*single, *(event for event in shuffled if event in set(single))]
