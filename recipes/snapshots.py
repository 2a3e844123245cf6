"""`ludocast snapshots`: from an event log to features, labels and parts."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ludocast.datamodules.etl.build import keep_days, write_snapshots
from ludocast.datamodules.etl.days import player_days
from ludocast.datamodules.etl.plan import Written, make_plan
from ludocast.datamodules.etl.returns import return_curve, suggest_windows
from ludocast.datamodules.etl.rules import Contents, Rules, contents_of_document, milliseconds, read_types
from ludocast.datamodules.etl.write import PartialFolder
from ludocast.recipes.log_options import LogOptions, SnapshotOptions, asked_for, day_asked


def snapshots(
    source: LogOptions,
    options: SnapshotOptions,
    out: Path = Path("snaps"),
    session_gap: str = "30m",
    time_zone: str = "UTC",
    vocabulary: Path | None = None,
    suggest: bool = False,
    overwrite: bool = False,
) -> None:
    """Turn an event log into snapshots of players: what was known of each at a time, and whether they then left.

    Writes a Parquet data set that pandas.read_parquet(OUT) reads whole: the player, snapshot_time, features, churned,
    and split (train, validation, test, none). A snapshot knows nothing of its own future.

    Example: ludocast snapshots --log 'logs/*.parquet' --player player_id --time timestamp --out snaps

    Args:
        source: The log.
        options: Which moments.
        out: Folder of the data set; it appears when all is done.
        session_gap: Pause after which a session has ended, where none is named.
        time_zone: Of hours and weekdays, such as Europe/Berlin; days are UTC.
        vocabulary: File of event types to count, one a line; by default those before the first snapshot.
        suggest: Only print after how many quiet days players do not come back, and windows that follow from it.
        overwrite: Replace what lies at OUT.
    """
    rules = options.rules(
        session_ms=milliseconds("--session-gap", session_gap), time_zone=time_zone,
        types=None if vocabulary is None else read_types(vocabulary),
    )  # fmt: skip
    if suggest:
        print_suggestion(source, options)
        return
    partial = PartialFolder(out, overwrite)
    with partial as folder:
        written, features = make_snapshots(source, options, rules, folder)
        partial.finish()
    tell(written, f"snapshots of {features} features", out)


def make_snapshots(source: LogOptions, options: SnapshotOptions, rules: Rules, folder: Path) -> tuple[Written, int]:
    """Write snapshots into an empty folder.

    Args:
        source: The log.
        options: Which moments.
        rules: Windows and the like; those of `--like` take their place.
        folder: Where to.

    Returns:
        What was written, and the number of features.

    Raises:
        ValueError: If the log does not serve; the sentence says why.
    """
    asked, day = asked_for("snapshots", source, options, rules), day_asked(options.at)
    contents = None if asked.like is None else contents_of_document(asked.like["contents"])
    with source.engine_in(folder / ".work") as engine:
        log = source.opened(engine, asked.columns, asked.unit, day)
        day = log.end_day if options.at == "end" else day
        plan = make_plan(engine, log, asked.rules, day, contents, apart=options.players_apart, seed=options.seed)
        print("days of players …", flush=True)
        days, plan = keep_days(engine, log, plan)
        return write_snapshots(engine, log, days, plan, folder, asked.like)


def print_suggestion(source: LogOptions, options: SnapshotOptions) -> None:
    """Print the return-time curve of a log and windows that suit it.

    Raises:
        ValueError: If the log does not serve.
    """
    with (
        tempfile.TemporaryDirectory(dir=source.spill) as name,
        source.engine_in(Path(name) / "work") as engine,
    ):
        log = source.opened(engine, source.columns | options.columns, source.time_unit)
        days = engine.keep("days", player_days(log.events, Contents(clock=False), 1))
        curve = return_curve(days, log.end_day)
        found = suggest_windows(curve, log.end_day - log.first_day)
    print("quiet days   come back later   pauses watched")
    for row in curve.rows():
        print(f"{row['quiet_days']:10d} {row['come_back']:17.1%} {row['pauses']:16,d}")
    for reason in found.reasons:
        print(f"note: {reason}")
    print(f"\nsuggested: {found.words()}", flush=True)


def tell(written: Written, what: str, out: Path) -> None:
    """Say what was written."""
    times = "1 time" if written.times == 1 else f"{written.times} times"
    print(f"{written.rows:,} {what} at {times} in {out}")
    if any(written.split.values()):
        print(
            f"  churned {written.churned / written.rows:.1%}; "
            + ", ".join(f"{n:,} {name}" for name, n in written.split.items())
        )
