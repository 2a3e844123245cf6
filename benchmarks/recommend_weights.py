"""Whether hours played say more than that a game was played: `python benchmarks/recommend_weights.py`.

Steam plays; items of 5 users or more, then users of 5 items or more, once; a fifth of each user's items hidden (seed
2024), owned items never ranked. A pair weighs 1, or log(1 + hours) scaled to a mean of 1; EASE learns from these
weights, and answers from them or from pairs of 1. The penalty of each is the best by NDCG@10 on a fifth hidden of the
training part (seed 0).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scipy import sparse

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.datamodules.user_item_splits import UserItemSplit, split_by_share
from ludocast.datamodules.user_items import k_core, read_user_items
from ludocast.models.recommend.item_item import EASE
from ludocast.models.recommend.metrics import user_metrics
from ludocast.models.recommend.ranking import top_items

PLAYS = Path(__file__).parent.parent.parent / "shared" / "data" / "steam200k" / "game_play.csv"
PENALTIES = (10.0, 20.0, 50.0, 100.0, 200.0, 400.0)
KINDS = ("pairs of 1", "hours in learning", "hours in learning and in the history")


def weighed(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """log(1 + weight) of each pair, scaled to a mean of 1."""
    found = sparse.csr_matrix(matrix, copy=True)
    found.data = np.log1p(found.data)
    found.data /= found.data.mean()
    return found


def ndcg(split: UserItemSplit, kind: str, penalty: float) -> np.ndarray:
    """NDCG@10 of each user."""
    ones, hours = split.known.history, weighed(split.known.matrix)
    model = EASE(penalty, 0.5)
    weights = model._fitted(ones if kind == KINDS[0] else hours)  # fit counts each pair as 1
    asked = split.asked
    scores = (hours if kind == KINDS[2] else ones)[asked] @ weights
    ranked, _ = top_items(np.asarray(scores), 10, ones[asked])
    return user_metrics(ranked, split.hidden[asked], (10,))["ndcg@10"]


def main() -> None:
    data = k_core(read_user_items(PLAYS, "User_ID", "Game_ID", "Hours"), 5, 5, rounds=1)
    split = split_by_share(data, 0.2, seed=2024)
    inner = split_by_share(split.known, 0.2, seed=0)
    print(f"{len(data.users):,} users, {len(data.items):,} items, {data.matrix.nnz:,} pairs\n")
    print("| EASE, users weighted | penalty | NDCG@10 | less that of pairs of 1 (95 %) |\n|---|---|---|---|")
    first: np.ndarray | None = None
    for kind in KINDS:
        best = max(PENALTIES, key=lambda penalty: ndcg(inner, kind, penalty).mean())
        found = ndcg(split, kind, best)
        first = found if first is None else first
        difference = found - first
        half = 1.96 * difference.std() / len(difference) ** 0.5
        print(f"| {kind} | {best:g} | {found.mean():.4f} | {difference.mean():+.4f} ± {half:.4f} |", flush=True)


if __name__ == "__main__":
    main()
