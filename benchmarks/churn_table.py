"""Five-fold AUC of ludocast beside its peers: `python benchmarks/churn_table.py --tables players_en --tuned`.

Five stratified folds, shuffle, seed 0; ours through `fit_frame`, the shipped code path, untouched defaults. Results go
to a JSON-lines file as they come, so a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from benchmarks.peers import DEFAULT
from benchmarks.tables import DATA, REAL, TABLES, Table
from benchmarks.tuned_peers import Tuning, tuned

RIVALS = ("LightGBM", "CatBoost", "logistic")
TUNING = Tuning(trials=30, seconds=120, thorough=False)
TUNED = {f"{name} tuned": tuned(name.lower(), TUNING) for name in ("LightGBM", "CatBoost", "XGBoost")}


def ours(table: Table, model: str, members: int, train: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    from ludocast.models.table.deep import Training
    from ludocast.models.table.frame import fit_frame, predict_frame
    from ludocast.recipes.churn import CANDIDATES

    fitted = fit_frame(
        train, table.label, table.positive, exclude=table.exclude, task="classification",
        names=CANDIDATES[model], combine="blend", training=Training(members),  # type: ignore[index]
    ).model  # fmt: skip
    return predict_frame(fitted, test)[:, fitted.schema.classes.index(table.positive)]


def candidates(table: Table, tuned: bool) -> dict[str, Callable[[pd.DataFrame, pd.DataFrame], np.ndarray]]:
    found: dict[str, Callable[[pd.DataFrame, pd.DataFrame], np.ndarray]] = {
        "ludocast auto": partial(ours, table, "auto", 5),
        "ludocast network": partial(ours, table, "network", 5),
        "ludocast one network": partial(ours, table, "network", 1),
    }
    for name, peer in {**DEFAULT, **(TUNED if tuned else {})}.items():

        def fit(train: pd.DataFrame, test: pd.DataFrame, peer: Callable[..., np.ndarray] = peer) -> np.ndarray:
            label = (train[table.label] == table.positive).to_numpy().astype(int)
            left_out = [table.label, *table.exclude]
            return peer(train.drop(columns=left_out), label, test.drop(columns=left_out))[:, 1]

        found[name] = fit
    return found


def measure(name: str, table: Table, options: argparse.Namespace, done: dict[tuple[str, str, int], dict]) -> None:
    y = (table.frame[table.label] == table.positive).to_numpy().astype(int)
    folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(table.frame, y))[: options.folds]
    for fold, (train, test) in enumerate(folds):
        for model, fit in candidates(table, options.tuned).items():
            if (name, model, fold) in done or (options.models and model not in options.models):
                continue
            begin = time.process_time()
            p = fit(table.frame.iloc[train], table.frame.iloc[test])
            best = None if table.best is None else roc_auc_score(y[test], table.best[test])
            entry = {
                "table": name, "model": model, "fold": fold, "auc": roc_auc_score(y[test], p),
                "log_loss": log_loss(y[test], np.clip(p, 1e-7, 1 - 1e-7)), "seconds": time.process_time() - begin,
                "best": best,
            }  # fmt: skip
            done[(name, model, fold)] = entry
            with options.cache.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            print(f"{name} {model} fold {fold}: {entry['auc']:.4f} ({entry['seconds']:.0f} CPU s)", flush=True)


def report(done: dict[tuple[str, str, int], dict]) -> None:
    rows = pd.DataFrame(done.values())
    auc = rows.groupby(["table", "model"])["auc"].mean().unstack("model")
    for figure in ("auc", "log_loss", "seconds"):
        shown = rows.groupby(["table", "model"])[figure].mean().unstack("table")
        print(f"\nmean {figure}\n{shown.round(4 if figure != 'seconds' else 1).to_string(na_rep='')}")
    if "ludocast auto" in auc and set(RIVALS) <= set(auc.columns):
        ahead = (auc["ludocast auto"] - auc[list(RIVALS)].max(axis=1)).dropna()
        print(f"\nludocast auto minus the best of {', '.join(RIVALS)}\n{ahead.round(4).to_string()}")
        print(f"mean {ahead.mean():+.4f}, worst {ahead.min():+.4f} over {len(ahead)} tables")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", nargs="*", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--models", nargs="*", default=[])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--tuned", action="store_true", help="also the peers tuned: 30 trials or 120 s a fold")
    parser.add_argument("--cache", type=Path, default=Path("churn_table.jsonl"))
    options = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    done: dict[tuple[str, str, int], dict] = {}
    if options.cache.exists():
        for line in options.cache.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            done[(entry["table"], entry["model"], entry["fold"])] = entry
    for name in options.tables:
        if name in REAL and not DATA.exists():
            print(f"{name} skipped: its data is not part of the project and {DATA} is absent")
            continue
        measure(name, TABLES[name](), options, done)
    report({key: entry for key, entry in done.items() if key[0] in options.tables})


if __name__ == "__main__":
    main()
