"""Snapshots of an event log: ours on DuckDB beside pandas and polars written by hand: `python benchmarks/etl.py`.

Each contestant reads `events.parquet` of `ludocast simulate log` in a process of its own and writes one Parquet file or
folder. Ours makes all of its features; those written by hand the 37 below, snapshot by snapshot, as a data scientist
would: counts in nested windows, active days, recency, sessions, spending, types, and the label. What all have in common
is compared, exactly. Runs are interleaved; the figures are medians of seconds and the largest peak of memory.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

OBSERVE, HORIZON, WITHIN, STEP = 56, 28, 7, 14
NESTED = (1, 3, 7, 14, 28, 56)
PAUSE_MS, DAY_MS = 1_800_000, 86_400_000
TYPES = ("match_won", "match_lost", "session_start", "level_up", "purchase")


def ours(log: Path, out: Path, memory: str) -> None:
    from ludocast.__main__ import main

    if main(["snapshots", "--log", str(log), "--out", str(out), "--memory", memory]):
        raise SystemExit(1)


def by_pandas(log: Path, out: Path, _memory: str) -> None:
    import pandas as pd

    events = pd.read_parquet(log, columns=["player_id", "time", "event", "amount"])
    ms = events.time.astype("datetime64[ms, UTC]").astype("int64")
    events = events.assign(ms=ms, day=ms // DAY_MS).sort_values(["player_id", "ms"], ignore_index=True)
    quiet = events.groupby("player_id").ms.diff()
    events["goes_on"] = quiet <= PAUSE_MS
    events["played"] = quiet.where(events.goes_on, 0)
    events["paid"] = events.amount > 0
    begin, end = events.day.min(), events.day.max() + 1
    tables = []
    for s in range(begin + OBSERVE, end - HORIZON + 1, STEP):
        known = events[(events.day >= s - OBSERVE) & (events.day < s)]
        players = known.groupby("player_id")
        last = players.day.max()
        eligible = last.index[last >= s - WITHIN]
        known = known[known.player_id.isin(eligible)]
        # The first event of a window goes on with nothing.
        first = ~known.player_id.duplicated()
        known = known.assign(begins=first | ~known.goes_on, played=known.played.where(~first, 0))
        players = known.groupby("player_id")
        found: dict[str, Any] = {
            "days_since_last": s - players.day.max(), "days_since_first": s - players.day.min(),
            "hours_since_last": (s * DAY_MS - players.ms.max()) / 3_600_000,
            "hours_played_56d": players.played.sum() / 3_600_000,
        }  # fmt: skip
        for days in NESTED:
            recent = known[known.day >= s - days]
            groups = recent.groupby("player_id")
            found[f"events_{days}d"] = groups.size()
            if days > 1:
                found[f"active_days_{days}d"] = groups.day.nunique()
            found[f"sessions_{days}d"] = groups.begins.sum()
            paid = recent[recent.paid].groupby("player_id").amount
            found[f"payments_{days}d"], found[f"spent_{days}d"] = paid.size(), paid.sum()
        counts = pd.crosstab(known.player_id, known.event)
        for name in TYPES:
            found[name] = counts.get(name, 0)
        table = pd.DataFrame(found, index=eligible).fillna(0)
        back = events.player_id[(events.day >= s) & (events.day < s + HORIZON)].unique()
        table["churned"] = ~table.index.isin(back)
        tables.append(table.reset_index(names="player_id").assign(s=s))
    pd.concat(tables).to_parquet(out)


def by_polars(log: Path, out: Path, _memory: str) -> None:
    import polars as pl

    events = pl.read_parquet(log, columns=["player_id", "time", "event", "amount"])
    events = events.with_columns(ms=pl.col("time").dt.timestamp("ms")).drop("time")
    events = events.with_columns(day=pl.col("ms") // DAY_MS).sort("player_id", "ms")
    quiet = pl.col("ms").diff().over("player_id")
    events = events.with_columns(goes_on=(quiet <= PAUSE_MS).fill_null(False), quiet=quiet.fill_null(0))
    begin, end = int(events["day"].min()), int(events["day"].max()) + 1  # type: ignore[arg-type]
    tables = []
    for s in range(begin + OBSERVE, end - HORIZON + 1, STEP):
        known = events.lazy().filter(pl.col("day") >= s - OBSERVE, pl.col("day") < s)
        first = pl.col("player_id") != pl.col("player_id").shift(1, fill_value="")
        known = known.with_columns(begins=first | ~pl.col("goes_on"), plays=pl.col("goes_on") & ~first)
        values = [
            (s - pl.col("day").max()).alias("days_since_last"), (s - pl.col("day").min()).alias("days_since_first"),
            ((s * DAY_MS - pl.col("ms").max()) / 3_600_000).alias("hours_since_last"),
            (pl.col("quiet").filter(pl.col("plays")).sum() / 3_600_000).alias("hours_played_56d"),
        ]  # fmt: skip
        for days in NESTED:
            recent = pl.col("day") >= s - days
            paid = recent & (pl.col("amount") > 0)
            values += [
                recent.sum().alias(f"events_{days}d"), (recent & pl.col("begins")).sum().alias(f"sessions_{days}d"),
                paid.sum().alias(f"payments_{days}d"), pl.col("amount").filter(paid).sum().alias(f"spent_{days}d"),
            ]  # fmt: skip
            if days > 1:
                values.append(pl.col("day").filter(recent).n_unique().alias(f"active_days_{days}d"))
        values += [(pl.col("event") == name).sum().alias(name) for name in TYPES]
        table = known.group_by("player_id").agg(values).filter(pl.col("days_since_last") <= WITHIN)
        back = events.lazy().filter(pl.col("day") >= s, pl.col("day") < s + HORIZON).select("player_id").unique()
        joined = table.join(back.with_columns(back=True), on="player_id", how="left")
        churned = pl.col("back").is_null().alias("churned")
        tables.append(joined.with_columns(churned, s=pl.lit(s)).drop("back").collect())
    pl.concat(tables).write_parquet(out)


CONTESTANTS = {"ludocast": ours, "pandas": by_pandas, "polars": by_polars}


def digest(out: Path) -> dict[str, float]:
    """Sums of what all contestants make."""
    import pandas as pd

    frame = pd.read_parquet(out)
    names = [name for name in frame.columns if name.startswith(("events_", "active_days_", "sessions_", "payments_"))]
    kept = [name for name in names if name.endswith("d") and "trend" not in name and "week" not in name]
    kept += ["days_since_last", "days_since_first", "churned"]
    found = {name: float(frame[name].sum()) for name in sorted(kept) if name != "events_busiest_day"}
    found |= {f"spent_{days}d": round(float(frame[f"spent_{days}d"].sum()), 3) for days in NESTED}
    return found | {"hours_played_56d": round(float(frame.hours_played_56d.sum()), 3), "rows": len(frame)}


def measure(name: str, log: Path, memory: str, folder: Path) -> tuple[float, float, dict[str, float]]:
    """Seconds, peak of memory in GB, and the digest of one run in a process of its own."""
    out = folder / name
    command = [sys.executable, __file__, "--run", name, "--log", str(log), "--out", str(out), "--memory", memory]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-800:]}")
    found = digest(out)
    shutil.rmtree(out) if out.is_dir() else out.unlink()
    return seconds, float(done.stdout.split()[-1]) / 1e6, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--players", type=int, nargs="*", default=[6_400, 64_000])
    parser.add_argument("--contestants", nargs="*", default=list(CONTESTANTS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--memory", default="4GB")
    parser.add_argument("--folder", type=Path, help="keeps the simulated logs")
    for hidden in ("--run", "--log", "--out"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run is not None:
        CONTESTANTS[options.run](Path(options.log), Path(options.out), options.memory)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    from ludocast.datamodules.game.log import simulate_log

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) if options.folder is None else options.folder
        for players in options.players:
            game = folder / f"game{players}"
            if not game.exists():
                simulate_log(players, 180, game)
            runs: dict[str, list[Any]] = {name: [] for name in options.contestants}
            for _ in range(options.rounds):
                for name, kept in runs.items():
                    kept.append(measure(name, game / "events.parquet", options.memory, folder))
            first = next(iter(runs.values()))[0][2]
            for name, kept in runs.items():
                seconds = statistics.median(run[0] for run in kept)
                differs = [key for key in first if any(run[2][key] != first[key] for run in kept)]
                told = "equal" if not differs else f"differs in {', '.join(differs)}"
                print(
                    f"{players:,} players  {name:<9} {seconds:7.1f} s  {max(r[1] for r in kept):5.2f} GB  {told}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
