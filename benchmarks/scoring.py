"""Rows per CPU-second of `ludocast score` beside a bare `session.run` loop: `python -m benchmarks.scoring`.

Makes a table of a million rows (the players repeated; a simulated game where the players' table is absent), as CSV and
as Parquet, and trains the bundles: default, one member, networks alone, and a logistic model of the same columns. Then
runs alternate, each in a process of its own on one thread: `ludocast score` of the CSV file and of the Parquet file
(CPU time and peak memory of the whole process, start included), and a loop of `session.run` over arrays that were
prepared before. Figures are medians; a ratio is the median of the rounds' ratios. Table and bundles stay in --work.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

PLAYERS = Path(__file__).parent.parent.parent / "shared" / "data" / "game_churn" / "players_en.csv"
TRAINED: dict[str, list[str]] = {"default": [], "one member": ["--members", "1"], "networks": ["--model", "network"]}
BUNDLES = [*TRAINED, "logistic"]
FORMATS = ("csv", "parquet")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def fresh(function: Callable[..., Any], *arguments: object) -> Any:
    """Call in a new process: the memory of this one, which starts the others, would count as theirs."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def ludocast(*words: str | Path) -> tuple[float, float]:
    """Run a command; its CPU-seconds and peak memory in MB."""
    command = [sys.executable, "-m", "ludocast", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def write_tables(source: Path, rows: int, folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.csv as pacsv
    import pyarrow.parquet as pq
    from ludocast.datamodules.read import read_table

    table = read_table(source)
    repeated = pa.concat_tables([table] * math.ceil(rows / table.num_rows)).slice(0, rows)
    pacsv.write_csv(repeated, folder / "table.csv", pacsv.WriteOptions(quoting_style="needed"))
    pq.write_table(pacsv.read_csv(folder / "table.csv"), folder / "table.parquet")  # numbers as numbers


def write_logistic(source: Path, left_out: list[str], folder: Path) -> None:
    """Each column's own effect, roughly: how fast is what counts here."""
    import pandas as pd
    from ludocast.serve.manifest import Input

    from tests.serve import logistic

    frame = pd.read_csv(source, keep_default_na=False).drop(columns=left_out)
    terms = []
    for i, (name, column) in enumerate(frame.items()):
        if column.dtype.kind in "iuf":
            item = Input(str(name), f"x{i}", "number", None, (float(column.min()), float(column.max())))
            terms.append(logistic.Term(item, weight=0.1 / float(column.std()), missing=0.1))
        else:
            values = {str(value): math.log1p(count) for value, count in column.value_counts().items()}
            terms.append(logistic.Term(Input(str(name), f"x{i}", "category", tuple(values)[:50]), values=values))
    logistic.write_logistic(folder, terms=tuple(terms))


def bare(bundle: Path, table: Path) -> float:
    """CPU-seconds of the model alone over all rows, in the scorer's batches."""
    from ludocast.datamodules.read import read_table
    from ludocast.serve.scorer import Scorer
    from ludocast.serve.tasks import OUTPUTS

    read = read_table(table)
    scorer = Scorer.load(bundle)
    feeds = scorer.bundle.reader.from_columns(dict(zip(read.column_names, read.columns, strict=True)))
    batches = [tensors for _, tensors in feeds.batches()]
    run = scorer.bundle.session.run
    begin = time.process_time()
    for batch in batches:
        run(list(OUTPUTS), batch)
    return time.process_time() - begin


def prepare(options: argparse.Namespace) -> dict[str, Path]:
    """The table's files in --work, and the bundles by name."""
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    source, left_out = options.input, options.exclude
    if not source.exists():
        source, options.label, options.positive, left_out = work / "game" / "players.csv", "churned", "yes", "player_id"
        if not source.exists():
            ludocast("simulate", "--players", "30000", "--out", work / "game")
    if not (work / "table.parquet").exists():
        fresh(write_tables, source, options.rows, work)
    found = {}
    for name in options.bundles:
        folder = work / name.replace(" ", "_")
        found[name] = folder / "bundle"
        if found[name].exists():
            continue
        print(f"making the bundle: {name}", flush=True)
        if name == "logistic":
            fresh(write_logistic, source, [options.label, *left_out.split(",")], found[name])
            continue
        words = ["--label", options.label, "--positive", options.positive, "--exclude", left_out, *TRAINED[name]]
        ludocast("train", "churn", "--data", source, "--out", folder, "--overwrite", *words)
    return found


def measure(bundle: Path, work: Path, rounds: int) -> None:
    import csv

    with (work / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = sum(1 for _ in csv.reader(file)) - 1
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in FORMATS}
    alone = []
    for _ in range(rounds):
        for name in FORMATS:
            output = work / f"scored.{name}"
            table = work / f"table.{name}"
            runs[name].append(
                ludocast("score", "--bundle", bundle, "--input", table, "--output", output, "--overwrite")
            )
        alone.append(fresh(bare, bundle, work / "table.csv"))
    micro = 1e6 / rows
    print(f"  session.run alone: {median(alone) * micro:.2f} µs a row")
    for name, found in runs.items():
        seconds = median(cpu for cpu, _ in found)
        ratio = median(least / cpu for least, (cpu, _) in zip(alone, found, strict=True))
        print(
            f"  score of {name}: {rows / seconds:,.0f} rows per CPU-second, {seconds * micro:.2f} µs a row, "
            f"{ratio:.0%} of the bare loop's speed, peak memory {max(peak for _, peak in found):.0f} MB",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, default=PLAYERS, help="a CSV table to repeat and to train on")
    parser.add_argument("--label", default="churn_YN")
    parser.add_argument("--positive", default="Y")
    parser.add_argument("--exclude", default="idx", help="comma-separated")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--bundles", nargs="*", default=BUNDLES, choices=BUNDLES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("runs/scoring"))
    options = parser.parse_args()
    for name, bundle in prepare(options).items():
        print(name)
        measure(bundle, options.work, options.rounds)


if __name__ == "__main__":
    main()
