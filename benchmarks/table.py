"""Ours beside tuned peers on nine tables, five folds each: `python -m benchmarks.table run`, then `… report`.

Ours goes through what `ludocast train table` calls, untouched defaults. Whoever searches does so for one second of
processor time of one thread for each 1,000 training rows, and for SECONDS at least, a fold; what it takes to fit the
winner, or to end what was begun, comes on top, and the seconds measured stand in the report. All folds are stratified
(numbers by tenths), shuffled, seed 0. Each result is a line of the file `--results`; what has its line is not done
again, so a run may be stopped and goes on.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ludocast.datamodules.number_label import Task, strata
from ludocast.models.fitted import FittedNumbers
from ludocast.models.table.fit import fit_table
from ludocast.models.table.frame import predict_frame, rows_of_frame
from ludocast.models.table.search import Budget, search_table
from sklearn.model_selection import StratifiedKFold

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from benchmarks.peers import DEFAULT, Predict, cross_entropy, flaml, goodness, is_number
from benchmarks.table_report import report
from benchmarks.tables import CATALOGUE, DATA, OTHERS, REAL, Table
from benchmarks.tuned_peers import Tuning, tuned

SECONDS = 10.0
TRIALS = 1_000
FOLDS = 5

Answer = tuple[np.ndarray, dict[str, float]]  # of the test rows, and what else is known
Contestant = Callable[[Table, pd.DataFrame, pd.DataFrame], Answer]


def ours(
    table: Table, train: pd.DataFrame, test: pd.DataFrame, budget: Budget | None = None, **settings: Any
) -> Answer:
    """By `fit_table`, or within a budget by `search_table`."""
    task: Task = "regression" if is_number(train[table.label].to_numpy()) else "classification"
    rows = rows_of_frame(train, table.label, table.positive or None, exclude=table.exclude, task=task)
    model = (fit_table(*rows, **settings) if budget is None else search_table(*rows, budget).found).model
    answer = predict_frame(model, test)
    if not isinstance(model, FittedNumbers):
        return answer, {}
    bounds = model.bounds(answer)
    true = test[table.label].to_numpy(np.float64)
    return answer, {
        "inside": int(((true >= bounds[:, 0]) & (true <= bounds[:, 1])).sum()),
        "width": float(np.mean(bounds[:, 1] - bounds[:, 0])),
    }


def peer(predict: Predict, table: Table, train: pd.DataFrame, test: pd.DataFrame) -> Answer:
    """What gets a label of class indices or numbers."""
    left_out = [table.label, *table.exclude]
    label, _ = labels(table, train)
    return predict(train.drop(columns=left_out), label, test.drop(columns=left_out)), {}


def labels(table: Table, rows: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Numbers as float64, or class indices as int64 with the classes; of two the positive one is the second."""
    if table.frame[table.label].dtype.kind == "f":
        return rows[table.label].to_numpy(np.float64), []
    classes = sorted(table.frame[table.label].unique(), key=lambda name: (name == table.positive, name))
    return rows[table.label].map({name: k for k, name in enumerate(classes)}).to_numpy(np.int64), classes


def contestants(seconds: float) -> dict[str, Contestant]:
    """By name; those that search come after the defaults."""
    tuning = Tuning(TRIALS, seconds, thorough=True)
    names = {"LightGBM": "lightgbm", "CatBoost": "catboost", "HistGradientBoosting": "histogram", "XGBoost": "xgboost"}
    found: dict[str, Contestant] = {
        "ludocast": ours,
        "ludocast best": partial(ours, combine="best"),
        "ludocast --budget": partial(ours, budget=Budget(seconds=seconds)),
        **{name: partial(peer, DEFAULT[name]) for name in names},
        **{f"{name} tuned": partial(peer, tuned(known_as, tuning)) for name, known_as in names.items()},
        "FLAML": partial(peer, flaml(seconds)),
        "FLAML ensemble": partial(peer, flaml(seconds, ensemble=True)),
    }
    return found


def in_order(found: np.ndarray, classes: list[str]) -> np.ndarray:
    """Our probabilities, whose columns are the classes as texts in order, with the positive one last."""
    names = sorted(classes)
    return found[:, [names.index(name) for name in classes]] if found.ndim == 2 else found


def folds(table: Table) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row numbers of training and test."""
    label, _ = labels(table, table.frame)
    yield from StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(table.frame, strata(label))


def measure(name: str, table: Table, fold: int, contestant: str, fit: Contestant) -> dict[str, Any]:
    """One line of the results."""
    train, test = list(folds(table))[fold]
    begin = time.process_time()
    answer, more = fit(table, table.frame.iloc[train].reset_index(drop=True), table.frame.iloc[test])
    seconds = time.process_time() - begin
    label, classes = labels(table, table.frame.iloc[test])
    if contestant.startswith("ludocast"):
        answer = in_order(answer, classes)
    line = {
        "table": name, "fold": fold, "contestant": contestant, "rows": len(test), "score": goodness(label, answer),
        "measure": "RMSE" if is_number(label) else "AUC" if len(classes) == 2 else "log loss",
        "seconds": round(seconds, 2), **more,
    }  # fmt: skip
    if is_number(label):
        return {**line, "rmse": -goodness(label, answer), "mae": float(np.mean(np.abs(answer - label)))}
    return {**line, "log_loss": cross_entropy(label, answer)}


def run(options: argparse.Namespace) -> None:
    """Fold by fold, in each table by table, so that what is there at any time compares like with like."""
    wanted = options.contestants or list(contestants(options.seconds))
    done = {(one["table"], one["fold"], one["contestant"]) for one in read(options.results)}
    known = {**CATALOGUE, **OTHERS}
    tables = {name: known[name]() for name in options.tables if name not in REAL or DATA.exists()}
    for name in set(options.tables) - set(tables):
        print(f"{name} skipped: its data is not part of the project and {DATA} is absent")
    for fold in options.folds:
        for name, table in tables.items():
            for contestant in wanted:
                if (name, fold, contestant) in done:
                    continue
                seconds = max(options.seconds, len(table.frame) * (1 - 1 / FOLDS) / 1_000)
                line = measure(name, table, fold, contestant, contestants(seconds)[contestant])
                with options.results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                print(f"{name} {fold} {contestant}: {line['score']:.4f} ({line['seconds']:.0f} s)", flush=True)


def read(results: Path) -> list[dict[str, Any]]:
    """All lines there are."""
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "report"])
    parser.add_argument("--results", type=Path, default=Path("table.jsonl"))
    parser.add_argument("--tables", nargs="*", default=list(CATALOGUE), choices=[*CATALOGUE, *OTHERS])
    parser.add_argument("--contestants", nargs="*", default=[], choices=list(contestants(SECONDS)))
    parser.add_argument("--folds", nargs="*", type=int, default=list(range(FOLDS)))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that a contestant searches at least, a fold")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    if options.what == "report":
        print(report([one for one in read(options.results) if one["table"] in options.tables]))
        return
    if hasattr(os, "sched_setaffinity"):  # one core for all: ours takes as many as there are
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    # Every contestant's clock counts this process's own time, so that what else runs on the machine takes none from it.
    time.time = time.monotonic = time.process_time
    run(options)


if __name__ == "__main__":
    main()
