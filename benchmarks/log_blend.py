"""Does a network on sequences add to the default recipe on features? Both from one log, blended.

`python benchmarks/log_blend.py --log …/events.parquet --folder blend` calls `ludocast train churn --log` (into
`blend/table`), `ludocast sequences` and `ludocast train sequence` (into `blend/sequences` and `blend/network`) unless
they are there; further words, such as --gap=21d, are handed on to the first two. Both bundles score the same snapshots.
The blends are the mean of the two logits, and weights by the log loss on validation. LightGBM is of `log_churn.py`,
on the features of the same snapshots. The intervals are of differences to LightGBM, over 200 draws of players.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.models.metrics import macro_auc

from benchmarks.log_churn import lightgbm, parts_of
from ludocast.__main__ import main as ludocast

DRAWS = 200


def call(out: Path, *words: object) -> None:
    if out.exists():
        return
    code = ludocast([str(word) for word in words])
    if code:
        raise SystemExit(code)


def scored(bundle: Path, rows: Path, out: Path) -> np.ndarray:
    """Logits of all rows of a folder, in its order."""
    call(out, "score", "--bundle", bundle, "--input", rows, "--output", out, "--keep", "player_id")
    p = pd.read_parquet(out)["scored_probability"].to_numpy(np.float64)
    return np.asarray(np.log(p) - np.log1p(-p))


def log_loss(logit: np.ndarray, label: np.ndarray) -> float:
    return float(np.logaddexp(0, (1 - 2 * label) * logit).mean())


def auc(score: np.ndarray, label: np.ndarray) -> float:
    p = 1 / (1 + np.exp(-score))
    return float(macro_auc(np.stack([1 - p, p], 1), label, 1))


def difference(one: np.ndarray, other: np.ndarray, label: np.ndarray, player: np.ndarray) -> tuple[float, float]:
    """95 % interval of how far the first is ahead in AUC, over draws of players with all their snapshots."""
    generator = np.random.default_rng(0)
    code = pd.factorize(player)[0]
    order = np.argsort(code, kind="stable")
    begin = np.searchsorted(code[order], np.arange(code.max() + 2))
    found = []
    for _ in range(DRAWS):
        drawn = generator.integers(0, code.max() + 1, code.max() + 1)
        rows = order[np.concatenate([np.arange(begin[k], begin[k + 1]) for k in drawn])]
        found.append(auc(one[rows], label[rows]) - auc(other[rows], label[rows]))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    options, words = parser.parse_known_args()
    if not options.log.exists():
        print(f"skipped: its data is not part of the project and {options.log} is absent")
        return
    folder: Path = options.folder
    table, sequences, network = (folder / name for name in ("table", "sequences", "network"))
    call(table, "train", "churn", "--log", options.log, "--out", table, *words)
    call(sequences, "sequences", "--log", options.log, "--out", sequences, *words)
    call(network, "train", "sequence", "--task=churn", "--data", sequences, "--out", network)
    names = ["player_id", "churned", "split"]
    rows = pd.read_parquet(table / "snapshots", columns=[*names, "snapshot_time"])
    pd.testing.assert_frame_equal(
        rows, pd.read_parquet(sequences, columns=[*names, "now"]).rename(columns={"now": "snapshot_time"})
    )
    logits = {
        "default recipe": scored(table / "bundle", table / "snapshots", folder / "table.parquet"),
        "network": scored(network / "bundle", sequences, folder / "network.parquet"),
    }
    label = rows.churned.to_numpy(np.int64)
    validation, test = (rows.split == "validation").to_numpy(), (rows.split == "test").to_numpy()
    first, second = logits.values()
    logits["mean of both"] = (first + second) / 2
    weights = np.linspace(0, 1, 101)
    losses = [log_loss((1 - w) * first[validation] + w * second[validation], label[validation]) for w in weights]
    chosen = float(weights[int(np.argmin(losses))])
    logits[f"{chosen:.0%} network"] = (1 - chosen) * first + chosen * second
    rival, how = lightgbm(parts_of(table / "snapshots")[1])
    rival = np.log(rival) - np.log1p(-rival)
    player = rows.player_id.to_numpy()[test]
    print(f"\n{validation.sum():,} snapshots of validation, {test.sum():,} of the test")
    print(f"{'LightGBM, tuned':<16} AUC {auc(rival, label[test]):.4f}  {how}")
    for name, logit in logits.items():
        own, truth = logit[test], label[test]
        low, high = difference(own, rival, truth, player)
        print(
            f"{name:<16} AUC {auc(own, truth):.4f}  ahead by {auc(own, truth) - auc(rival, truth):+.4f} ({low:+.4f} to "
            f"{high:+.4f})  validation AUC {auc(logit[validation], label[validation]):.4f}, log loss "
            f"{log_loss(logit[validation], label[validation]):.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
