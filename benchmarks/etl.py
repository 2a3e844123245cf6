"""Snapshots of an event log: ours on DuckDB beside pandas and polars written by hand: `python benchmarks/etl.py`.

Each contestant reads `events.parquet` of `ludocast simulate log` in a process of its own and writes the same 112
features and the label of the same snapshots as Parquet; every value is compared with ours, whole numbers exactly,
others to 1e-9. Runs are interleaved; the figures are medians of seconds and of processor seconds, and the largest peak
of memory.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from benchmarks.etl_by_hand import by_pandas, by_polars


def ours(log: Path, out: Path, memory: str) -> None:
    from ludocast.__main__ import main

    if main(["snapshots", "--log", str(log), "--out", str(out), "--memory", memory]):
        raise SystemExit(1)


CONTESTANTS: dict[str, Callable[[Path, Path, str], None]] = {
    "ludocast": ours,
    "pandas": lambda log, out, _memory: by_pandas(log, out, coded=False),
    "pandas-coded": lambda log, out, _memory: by_pandas(log, out, coded=True),
    "polars": lambda log, out, _memory: by_polars(log, out),
}


class Run(NamedTuple):
    """Seconds, processor seconds, peak of memory in GB."""

    seconds: float
    processor: float
    memory: float


def measure(name: str, log: Path, memory: str, out: Path) -> Run:
    """One run in a process of its own."""
    command = [sys.executable, __file__, "--run", name, "--log", str(log), "--out", str(out), "--memory", memory]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-800:]}")
    processor, peak = done.stdout.split()[-2:]
    return Run(seconds, float(processor), float(peak) / 1e6)


def differing(found: Path, wanted: Path) -> list[str]:
    """Columns of the snapshots that are not equal."""
    import numpy as np
    import pandas as pd

    frames = []
    for path in (found, wanted):
        frame = pd.read_parquet(path)
        if "snapshot_time" in frame:
            frame["s"] = frame.snapshot_time.astype("datetime64[s]").astype("int64") // 86_400
        frames.append(frame.sort_values(["s", "player_id"], ignore_index=True))
    got, want = frames
    if got.player_id.tolist() != want.player_id.tolist() or got.s.tolist() != want.s.tolist():
        return ["rows"]
    names = []
    for name in want.columns.difference(["player_id", "snapshot_time", "split", "s"]):
        one, other = (frame[name].to_numpy(float, na_value=np.nan) for frame in (got, want))
        near = 0 if pd.api.types.is_integer_dtype(want[name]) else 1e-9
        if not np.allclose(one, other, rtol=near, atol=near, equal_nan=True):
            names.append(name)
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--players", type=int, nargs="*", default=[6_400, 64_000])
    parser.add_argument("--contestants", nargs="*", default=list(CONTESTANTS), choices=list(CONTESTANTS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--memory", default="4GB")
    parser.add_argument("--folder", type=Path, help="keeps the simulated logs")
    for hidden in ("--run", "--log", "--out"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run is not None:
        CONTESTANTS[options.run](Path(options.log), Path(options.out), options.memory)
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(used.ru_utime + used.ru_stime, used.ru_maxrss)
        return
    with tempfile.TemporaryDirectory() as name:
        for players in options.players:
            compare(players, Path(name) if options.folder is None else options.folder, Path(name), options)


def compare(players: int, games: Path, work: Path, options: argparse.Namespace) -> None:
    """Run all contestants on one log, and print what they took."""
    from ludocast.datamodules.game.log import simulate_log

    game = games / f"game{players}"
    if not game.exists():
        simulate_log(players, 180, game)
    runs: dict[str, list[Run]] = {name: [] for name in options.contestants}
    differs: dict[str, Any] = {}
    for _ in range(options.rounds):
        for name, kept in runs.items():
            out = work / name
            kept.append(measure(name, game / "events.parquet", options.memory, out))
            if name != options.contestants[0]:
                differs[name] = differing(out, work / options.contestants[0])
                out.unlink()
        first = work / options.contestants[0]
        shutil.rmtree(first) if first.is_dir() else first.unlink()
    for name, kept in runs.items():
        seconds, processor = (
            statistics.median(getattr(run, what) for run in kept) for what in ("seconds", "processor")
        )
        told = "" if name not in differs else f"differs in {differs[name]}" if differs[name] else "equal"
        print(
            f"{players:,} players  {name:<12} {seconds:7.1f} s  {processor:7.1f} processor s  "
            f"{max(run.memory for run in kept):5.2f} GB  {told}",
            flush=True,
        )


if __name__ == "__main__":
    main()
