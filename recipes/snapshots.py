"""`ludocast snapshots`: from an event log to features, labels and parts."""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ludocast.datamodules.etl.build import Written, day_of_date, keep_days, make_plan, write_snapshots
from ludocast.datamodules.etl.days import player_days
from ludocast.datamodules.etl.engine import Engine, connect, parse_memory, telling_of_engines
from ludocast.datamodules.etl.log import Log, open_log
from ludocast.datamodules.etl.returns import return_curve, suggest_windows
from ludocast.datamodules.etl.rules import (
    Contents,
    Rules,
    contents_of_document,
    milliseconds,
    read_document,
    read_types,
    rules_of,
    whole_days,
)
from ludocast.datamodules.etl.sources import find_source
from ludocast.datamodules.etl.write import PartialFolder


@dataclass(frozen=True)
class LogOptions:
    """Where a log is and how it is read, as the command line has it."""

    log: tuple[str, ...]
    columns: dict[str, str | None]
    time_unit: Literal["s", "ms", "us", "ns"] | None = None
    dedupe: bool = False
    table: str | None = None
    engine: str = "duckdb"
    memory: str = "4GB"
    spill: Path | None = None


def snapshots(
    log: list[str],
    out: Path = Path("snaps"),
    player: str | None = None,
    time: str | None = None,
    event: str | None = None,
    amount: str | None = None,
    level: str | None = None,
    session: str | None = None,
    observe: str = "56d",
    gap: str = "0d",
    horizon: str = "28d",
    active_within: str = "7d",
    step: str = "14d",
    at: str | None = None,
    like: Path | None = None,
    session_gap: str = "30m",
    time_zone: str = "UTC",
    time_unit: Literal["s", "ms", "us", "ns"] | None = None,
    vocabulary: Path | None = None,
    dedupe: bool = False,
    players_apart: bool = False,
    seed: int = 0,
    engine: str = "duckdb",
    table: str | None = None,
    memory: str = "4GB",
    spill: Path | None = None,
    suggest: bool = False,
    overwrite: bool = False,
) -> None:
    """Turn an event log into snapshots of players: what was known of each at a time, and whether they then left.

    Writes a Parquet data set that pandas.read_parquet(OUT) reads whole: the player, snapshot_time, features, churned,
    and split (train, validation, test, none). A snapshot knows nothing of its own future.

    Example: ludocast snapshots --log 'logs/*.parquet' --player player_id --time timestamp --out snaps

    Args:
        log: Files, folders and globs (Parquet, CSV, JSON lines), a DuckDB file, or a table of the engine.
        out: Folder of the data set; it appears when all is done.
        player: Column of the player; found by its name.
        time: Column of the time; found by its name.
        event: Column of the event's type, none to leave it aside; found by its name.
        amount: Column of money, the same.
        level: Column of the player's level, the same.
        session: Column that names the session; the same. Without it pauses tell sessions apart.
        observe: How much of the past is known.
        gap: Time between a snapshot and its label.
        horizon: How long a player who left is not seen.
        active_within: A player seen last before this is not asked about.
        step: From one snapshot to the next.
        at: One snapshot without labels, for scoring: a date such as 2026-01-31, now, or end for the log's.
        like: Earlier snapshots; columns, windows and features are theirs.
        session_gap: Pause after which a session has ended.
        time_zone: Of hours and weekdays, such as Europe/Berlin; days are UTC.
        time_unit: Of times that are numbers; found by itself.
        vocabulary: File of event types to count, one a line; by default those before the first snapshot.
        dedupe: Count rows that are equal in every column once.
        players_apart: Players of the test are in no other part.
        seed: Of the players of the test.
        engine: duckdb, spark, spark://HOST:PORT or postgres://USER:PASSWORD@HOST/DATABASE.
        table: Table of a DuckDB file.
        memory: What DuckDB may use.
        spill: Folder for what does not fit into memory.
        suggest: Only print after how many quiet days players do not come back, and windows that follow from it.
        overwrite: Replace what lies at OUT.
    """
    columns = {
        "player": player, "time": time, "event": event, "amount": amount, "level": level, "session": session,
    }  # fmt: skip
    options = LogOptions(tuple(log), columns, time_unit, dedupe, table, engine, memory, spill)
    rules = Rules(
        whole_days("--observe", observe), whole_days("--gap", gap), whole_days("--horizon", horizon),
        whole_days("--active-within", active_within), whole_days("--step", step),
        milliseconds("--session-gap", session_gap), time_zone, None if vocabulary is None else read_types(vocabulary),
    )  # fmt: skip
    if suggest:
        print_suggestion(options)
        return
    partial = PartialFolder(out, overwrite)
    with partial as folder:
        written = make_snapshots(options, rules, folder, at, like, players_apart, seed)
        partial.finish()
    tell(written, out)


def make_snapshots(
    options: LogOptions,
    rules: Rules,
    folder: Path,
    at: str | None = None,
    like: Path | None = None,
    apart: bool = False,
    seed: int = 0,
) -> Written:
    """Write snapshots into an empty folder.

    Args:
        options: The log.
        rules: Windows and the like; those of `like` take their place.
        folder: Where to.
        at: See `snapshots`.
        like: The same.
        apart: The same.
        seed: The same.

    Raises:
        ValueError: If the log does not serve; the sentence says why.
    """
    contents, document, columns, unit = None, None, options.columns, options.time_unit
    if like is not None:
        document = read_document(like)
        rules, contents = rules_of(document["rules"]), contents_of_document(document["contents"])
        columns = {role: document["log"].get(role, "none") for role in columns}
        unit = document["time_unit"]
    rules.windows  # noqa: B018 — checks them before anything is read
    work = folder / ".work"
    work.mkdir()
    with telling_of_engines():
        engine = connect(options.engine, parse_memory(options.memory), work, options.spill)
        try:
            day = None if at is None else _at(at)
            log = _open(engine, options, columns, unit, day)
            if at == "end":
                day = log.end_day
            plan = make_plan(engine, log, rules, day, contents, apart=apart, seed=seed)
            print("days of players …", flush=True)
            days, plan = keep_days(engine, log, plan)
            written = write_snapshots(engine, log, days, plan, folder, document)
        finally:
            engine.close()
            shutil.rmtree(work, ignore_errors=True)
    return written


def print_suggestion(options: LogOptions) -> None:
    """Print the return-time curve of a log and windows that suit it.

    Raises:
        ValueError: If the log does not serve.
    """
    with tempfile.TemporaryDirectory(dir=options.spill) as name, telling_of_engines():
        engine = connect(options.engine, parse_memory(options.memory), Path(name), None)
        try:
            log = _open(engine, options, options.columns, options.time_unit, None)
            days = engine.keep("days", player_days(log.events, Contents(clock=False), 1))
            curve = return_curve(days, log.end_day)
            found = suggest_windows(curve, log.end_day - log.first_day)
        finally:
            engine.close()
    print("quiet days   come back later   pauses watched")
    for row in curve.rows():
        print(f"{row['quiet_days']:10d} {row['come_back']:17.1%} {row['pauses']:16,d}")
    for reason in found.reasons:
        print(f"note: {reason}")
    print(f"\nsuggested: {found.words()}", flush=True)


def _open(engine: Engine, options: LogOptions, columns: dict[str, str | None], unit: Any, until: int | None) -> Log:
    source = find_source(engine, options.log, options.table)
    log = open_log(engine, source, columns, unit, options.dedupe, until)
    for note in log.notes:
        print(f"note: {note}", flush=True)
    return log


def _at(text: str) -> int | None:
    if text == "end":
        return None
    return (
        dt.datetime.now(dt.UTC).toordinal() - dt.date(1970, 1, 1).toordinal()
        if text == "now"
        else day_of_date("--at", text)
    )


def tell(written: Written, out: Path) -> None:
    """Say what was written."""
    times = "1 time" if written.times == 1 else f"{written.times} times"
    print(f"{written.rows:,} snapshots of {written.features} features at {times} in {out}")
    if any(written.split.values()):
        print(
            f"  churned {written.churned / written.rows:.1%}; "
            + ", ".join(f"{n:,} {name}" for name, n in written.split.items())
        )
