"""Segments of a simulated table with known groups: are they found again, how fast, in how much memory?

    python benchmarks/segments.py --rows 1000000

Prints, by method, the adjusted Rand index of the scored rows with the true groups, seconds and peak memory of
`ludocast segment`, and seconds of `ludocast score`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
from ludocast.datamodules.simulate_segments import simulate_segments
from sklearn.metrics import adjusted_rand_score

METHODS = ("auto", "kmeans", "mixture", "hierarchical")


def run(*words: str) -> tuple[float, float]:
    """Seconds and peak memory in GB of a command."""
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "ludocast", *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)  # of this process alone, not the most of all so far
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"ludocast {words[0]} ended with {process.returncode}")
    return time.perf_counter() - begin, used.ru_maxrss / 1e6


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        table, truth = simulate_segments(asked.rows, asked.seed)
        pq.write_table(table, folder / "players.parquet")
        print("| --method | chosen | k | stability | adjusted Rand | segment, s | peak memory, GB | score, s |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for method in asked.methods:
            out = folder / method
            data = str(folder / "players.parquet")
            asked_of = ("--exclude", "player_id", "--method", method, "--out", str(out))
            seconds, memory = run("segment", "--data", data, *asked_of)
            scored = folder / "scored.parquet"
            words = ("score", "--bundle", str(out / "bundle"), "--input", data, "--output", str(scored))
            scoring, _ = run(*words, "--keep", "player_id")
            segment = pq.read_table(scored, columns=["scored_segment"])["scored_segment"].to_numpy()
            scored.unlink()
            told = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
            print(
                f"| {method} | {told['method']} | {len(told['segments'])} | {told['metrics']['stability']:.3f} "
                f"| {adjusted_rand_score(truth, segment):.4f} | {seconds:.0f} | {memory:.1f} | {scoring:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
