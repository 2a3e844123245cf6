"""Small logs for the tests of the profile: written to a file, opened, and what pandas makes of them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from ludocast.datamodules.etl.engine import Engine, connect
from ludocast.datamodules.etl.log import Log, open_log
from ludocast.datamodules.etl.profile import open_whole
from ludocast.datamodules.etl.sources import find_source

DAY = 86_400_000


@contextlib.contextmanager
def opened(frame: pd.DataFrame, folder: Path, others: bool = False) -> Iterator[tuple[Engine, Log]]:
    """A log of a frame's rows, on DuckDB; as the profile opens it where all columns are wanted."""
    path = folder / "log.parquet"
    frame.to_parquet(path, index=False)
    engine = connect("duckdb", 500_000_000, Path(tempfile.mkdtemp(dir=folder)), threads=1)
    try:
        source = find_source(engine, [str(path)], None)
        yield engine, open_whole(engine, source, {}, None) if others else open_log(engine, source, {})
    finally:
        engine.close()


def days_log(days: dict[str, list[int]], first: str = "2024-01-01") -> pd.DataFrame:
    """A log of players' active days, counted from the first one; at noon."""
    rows = [(player, day) for player, active in days.items() for day in active]
    frame = pd.DataFrame(rows, columns=["player_id", "day"])
    frame["time"] = pd.Timestamp(first, tz="UTC") + pd.to_timedelta(frame.pop("day") * 24 + 12, unit="h")
    return frame
