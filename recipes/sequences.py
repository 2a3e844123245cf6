"""`ludocast sequences`: from an event log to what each player did before each snapshot."""

from __future__ import annotations

from pathlib import Path

from ludocast.datamodules.etl.plan import Written, make_plan
from ludocast.datamodules.etl.rules import Contents, Rules
from ludocast.datamodules.etl.sequences import write_sequences
from ludocast.datamodules.etl.write import PartialFolder
from ludocast.recipes.log_options import LogOptions, SnapshotOptions, asked_for, day_asked
from ludocast.recipes.snapshots import tell


def sequences(
    source: LogOptions,
    options: SnapshotOptions,
    out: Path = Path("seqs"),
    newest: int | None = None,
    overwrite: bool = False,
) -> None:
    """Turn an event log into sequences: what each player did before each snapshot, and whether they then left.

    Writes a Parquet data set of the snapshots of `ludocast snapshots`, with a list for each column of the log instead
    of features: the player, now (the time of the snapshot), times, events, amounts and so on, oldest first, churned,
    and split. A sequence knows nothing of its own future. `ludocast train sequence --data OUT` learns from it.

    Example: ludocast sequences --log 'logs/*.parquet' --player player_id --time timestamp --out seqs

    Args:
        source: The log.
        options: Which moments.
        out: Folder of the data set; it appears when all is done.
        newest: Events of a sequence, 512 by default; of more the last ones.
        overwrite: Replace what lies at OUT.
    """
    if newest is not None and newest < 1:
        raise ValueError(f"--newest is 1 event or more, got {newest}")
    rules = options.rules()
    partial = PartialFolder(out, overwrite)
    with partial as folder:
        written, events = make_sequences(source, options, rules, folder, newest)
        partial.finish()
    tell(written, f"sequences of {events:,} events", out)


def make_sequences(
    source: LogOptions, options: SnapshotOptions, rules: Rules, folder: Path, newest: int | None
) -> tuple[Written, int]:
    """Write sequences into an empty folder.

    Args:
        source: The log.
        options: Which moments.
        rules: Windows; those of `--like` take their place.
        folder: Where to.
        newest: Events of a sequence; None for that of `--like`, or 512.

    Returns:
        What was written, and the number of events.

    Raises:
        ValueError: If the log does not serve; the sentence says why.
    """
    asked, day = asked_for("sequences", source, options, rules), day_asked(options.at)
    if newest is None:
        newest = 512 if asked.like is None else asked.like["newest"]
    with source.engine_in(folder / ".work") as engine:
        log = source.opened(engine, asked.columns, asked.unit, day)
        day = log.end_day if options.at == "end" else day
        plan = make_plan(engine, log, asked.rules, day, Contents(), apart=options.players_apart, seed=options.seed)
        return write_sequences(engine, log, plan, folder, newest, asked.like)
