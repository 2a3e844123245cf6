"""What diversity costs and brings: `python benchmarks/recommend_diversity.py`.

Steam purchases, the split of benchmarks/recommend.py; EASE with users weighted, penalty 20, fitted on what is known.
The likeness of a list is the mean cosine of two of its first 10 items: by whole columns of who has them, and by the 32
numbers an item that the bundle holds and the order goes by.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.datamodules.user_item_splits import split_by_share
from ludocast.datamodules.user_items import k_core, read_user_items
from ludocast.models.recommend.item_item import EASE, CosineNeighbours
from ludocast.models.recommend.item_vectors import item_vectors
from ludocast.models.recommend.metrics import catalogue_metrics, user_metrics
from ludocast.models.recommend.ranking import NOBODY, recommend
from ludocast.serve.diversity import diverse_order
from ludocast.serve.suggest import DIVERSE_OF

from benchmarks.recommend import STEAM

BATCH = 128
RANKS = 10


def likeness(ranked: np.ndarray, cosine: np.ndarray) -> float:
    """Mean over users and pairs of two items of a list."""
    pairs = np.triu_indices(RANKS, 1)
    return float(np.mean([cosine[np.ix_(row, row)][pairs].mean() for row in ranked]))


def main() -> None:
    data = k_core(read_user_items(STEAM / "game_purchase.csv", "User_ID", "Game_ID"), 5, 5, rounds=1)
    split = split_by_share(data, 0.2, seed=2024)
    known, hidden = split.known.history, split.hidden
    model = EASE(20, user_power=0.5).fit(known)
    vectors = item_vectors(known)
    whole, _ = CosineNeighbours(len(data.items)).fit(known).fitted()
    whole = whole if isinstance(whole, np.ndarray) else whole.outgoing.toarray()
    items, scores = recommend(model, known, DIVERSE_OF)
    print("| diversity | NDCG@10 | Recall@10 | coverage@10 | likeness | by 32 numbers |\n|---|---|---|---|---|---|")
    for diversity in (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0):
        parts = []
        for start in range(0, len(items), BATCH):
            rows = slice(start, start + BATCH)
            is_real = items[rows] != NOBODY
            order = diverse_order(scores[rows], vectors[items[rows]], is_real, diversity, RANKS)
            parts.append(np.take_along_axis(items[rows], order, 1))
        ranked = np.concatenate(parts)
        found = user_metrics(ranked, hidden, (RANKS,))
        print(
            f"| {diversity:g} | {found['ndcg@10'].mean():.4f} | {found['capped_recall@10'].mean():.4f} | "
            f"{catalogue_metrics(ranked, known)['coverage@10']:.3f} | {likeness(ranked, whole):.3f} | "
            f"{likeness(ranked, vectors @ vectors.T):.3f} |", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
