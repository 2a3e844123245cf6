"""Who leaves, from an event log by one command, beside tuned LightGBM and logistic regression on the same snapshots.

`python benchmarks/log_churn.py --log …/events.parquet --out run` calls `ludocast train churn --log … --out run`
(further words, such as --gap=21d, are handed on) unless `run` is there, and then fits the rivals on `run/snapshots`:
the same rows, features, and split by time. LightGBM's size and rounds are chosen on validation, from the sizes and
settings of `wow_churn.py`; missing numbers are the median to logistic regression.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.models.metrics import macro_auc

from benchmarks.wow_churn import Rows, tuned_lightgbm
from ludocast.__main__ import main as ludocast

Parts = dict[str, Rows]


def parts_of(folder: Path) -> tuple[list[str], Parts]:
    """Names of the features; and features and labels of each part."""
    frame = pd.read_parquet(folder)
    log = json.loads((folder / "_schema.json").read_text(encoding="utf-8"))["log"]
    names = [name for name in frame.columns if name not in (log["player"], "snapshot_time", "churned", "split")]
    found = {}
    for part in ("train", "validation", "test"):
        rows = frame[frame.split == part]
        found[part] = rows[names].to_numpy(np.float32), rows.churned.to_numpy(np.int64)
    return names, found


def lightgbm(parts: Parts) -> tuple[np.ndarray, str]:
    model, leaves = tuned_lightgbm(parts["train"], parts["validation"], 0)
    return np.asarray(model.predict(parts["test"][0])), f"{leaves} leaves, {model.best_iteration} rounds"


def logistic(parts: Parts) -> tuple[np.ndarray, str]:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(max_iter=2_000))
    model.fit(*parts["train"])
    return model.predict_proba(parts["test"][0])[:, 1], ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options, words = parser.parse_known_args()
    if not options.log.exists():
        print(f"skipped: its data is not part of the project and {options.log} is absent")
        return
    if not options.out.exists():
        begin = time.perf_counter()
        code = ludocast(["train", "churn", "--log", str(options.log), "--out", str(options.out), *words])
        if code:
            raise SystemExit(code)
        print(f"log to bundle: {time.perf_counter() - begin:.0f} s", flush=True)
    names, parts = parts_of(options.out / "snapshots")
    said = ", ".join(f"{len(label):,} {part}" for part, (_, label) in parts.items())
    print(f"\n{len(names)} features; {said}; {parts['test'][1].mean():.1%} of the test leave")
    metrics = json.loads((options.out / "metrics.json").read_text(encoding="utf-8"))["metrics"]["auc"]
    print(f"{'ludocast':<20} AUC {metrics['value']:.4f} ({metrics['low']:.4f} to {metrics['high']:.4f})")
    for name, fit in (("LightGBM, tuned", lightgbm), ("logistic regression", logistic)):
        begin = time.perf_counter()
        p, how = fit(parts)
        auc = macro_auc(np.stack([1 - p, p], 1), parts["test"][1], 1)
        print(f"{name:<20} AUC {auc:.4f}  {how}, {time.perf_counter() - begin:.0f} s".replace("  ,", ","), flush=True)


if __name__ == "__main__":
    main()
