"""`ludocast interactions`: from an event log to a table of who had what."""

from __future__ import annotations

from pathlib import Path

from ludocast.datamodules.etl.interactions import write_interactions
from ludocast.datamodules.etl.write import PartialFolder
from ludocast.recipes.log_options import LogOptions, day_of_date


def interactions(
    source: LogOptions,
    item: str | None = None,
    out: Path = Path("interactions.parquet"),
    events: list[str] | None = None,
    until: str | None = None,
    overwrite: bool = False,
) -> None:
    """Turn an event log into a table of who had what, one row a player and item.

    Writes a Parquet file: the player, the item, events (how many), value (their amounts in all, where the log has
    amounts), first_time and last_time. `ludocast train recommend --data OUT --time first_time` learns from it.

    Example: ludocast interactions --log 'logs/*.parquet' --events purchase --out interactions.parquet

    Args:
        source: The log.
        item: Column of items; found by its name. Events without one are left out.
        out: The file; it appears when all is done.
        events: Names of the events that count, all by default; comma-separated or given again.
        until: Only what was before this date, such as 2026-01-31.
        overwrite: Replace what lies at OUT.
    """
    if out.suffix.lower() not in (".parquet", ".pq") or out.is_dir():
        raise ValueError(f"--out names a file such as interactions.parquet, got {out}")
    day = None if until is None else day_of_date("--until", until)
    with PartialFolder(out, overwrite) as folder, source.engine_in(folder / ".work") as engine:
        columns = source.columns | {"level": "none", "session": "none", "item": item}
        log = source.opened(engine, columns, source.time_unit, day)
        found = write_interactions(engine, log, events if events is not None else [], folder, out)
    print(
        f"{found.pairs:,} pairs of {found.players:,} players and {found.items:,} items, of {found.events:,} events, "
        f"in {out}"
    )
