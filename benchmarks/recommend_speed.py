"""Users per CPU-second whose best 20 items are found, beside `implicit`.

`python benchmarks/recommend_speed.py --peers FOLDER`. One thread each; all take turns, five rounds, and the median of
the rounds is shown. Users are the first --users of Steam's purchases (as in `recommend.py`), or of a simulated log of
50,000 items (--simulated PART: 1 / PART of that of `recommend_scale.py`). What is owned is left out by all. Ours:
`recommend(model, history, 20)`, and the bundle's scorer, from lists of texts to lists of texts. `implicit` 0.7.3 from a
folder given with --peers: `recommend` of its cosine recommender with as many neighbours, of the same with our weights,
and of its ALS.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.datamodules.user_items import UserItems, k_core, read_user_items
from ludocast.models.recommend.item_item import EASE, CosineNeighbours, ItemItem
from ludocast.models.recommend.ranking import recommend
from ludocast.models.recommend.sparse_weights import SparseWeights
from ludocast.recipes.recommend_bundle import write_recommend_bundle
from ludocast.serve.manifest_sequences import PairColumns
from ludocast.serve.scorer import Scorer
from ludocast.serve.suggest_options import SuggestOptions

from benchmarks.recommend_inputs import PURCHASES
from benchmarks.simulated_interactions import write_interactions

NEIGHBOURS, RANKS, ROUNDS = 100, 20, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, help="folder into which pip installed implicit")
    parser.add_argument("--simulated", type=int, help="1 / PART of the simulated users")
    parser.add_argument("--users", type=int, default=3_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peers is not None:
        sys.path.insert(0, str(options.peers))
    data = simulated(options.simulated) if options.simulated else k_core(steam(), 5, 5, rounds=1)
    history = data.history
    some = sparse.csr_matrix(history[: options.users])
    print(
        f"{history.shape[0]:,} users, {history.shape[1]:,} items, {some.nnz / some.shape[0]:.0f} items a user asked\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        runs = {**ours(data, history, some, Path(folder))}
        ease = next(iter(runs.values()))[1]
        runs |= {name: (run, None) for name, run in peers(history, some, ease).items()}
        for run, _ in runs.values():
            run()
        spent: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(ROUNDS):
            for name, (run, _) in runs.items():
                begin = time.process_time()
                run()
                spent[name].append(time.process_time() - begin)
    print("| | users per CPU-second | least, most |\n| --- | --- | --- |")
    for name, seconds in spent.items():
        rates = sorted(some.shape[0] / one for one in seconds)
        print(f"| {name} | {statistics.median(rates):,.0f} | {rates[0]:,.0f}, {rates[-1]:,.0f} |")


def steam() -> UserItems:
    return read_user_items(PURCHASES, "User_ID", "Game_ID")


def simulated(part: int) -> UserItems:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.parquet"
        write_interactions(path, 1_000_000 // part, 50_000, 50_000_000 // part)
        return read_user_items(path, "user", "item")


def ours(
    data: UserItems, history: sparse.csr_matrix, some: sparse.csr_matrix, folder: Path
) -> dict[str, tuple[Callable[[], Any], ItemItem | None]]:
    models: dict[str, ItemItem] = {
        f"EASE, {NEIGHBOURS} neighbours": EASE(100, 0.5, neighbours=NEIGHBOURS).fit(history),
        f"cosine, {NEIGHBOURS} neighbours": CosineNeighbours(NEIGHBOURS).fit(history),
    }
    found: dict[str, tuple[Callable[[], Any], ItemItem | None]] = {
        f"ours: {name}": (lambda model=model: recommend(model, some, RANKS), model)  # type: ignore[misc]
        for name, model in models.items()
    }
    pairs = PairColumns("user", "item")
    first = next(iter(models.values()))
    write_recommend_bundle(
        folder / "bundle", "speed", first, data.items, np.diff(history.tocsc().indptr), pairs, {}, ""
    )
    scorer = Scorer.load(folder / "bundle")
    texts = np.array([str(one) for one in data.items.tolist()], object)
    rows = [{"history": texts[some[user].indices].tolist()} for user in range(some.shape[0])]
    columns = {"history": [row["history"] for row in rows]}
    answers = SuggestOptions(k=RANKS)
    found["ours: the bundle's scorer, EASE"] = (lambda: scorer.predict_columns(columns, options=answers), None)
    return found


def peers(history: sparse.csr_matrix, some: sparse.csr_matrix, ease: ItemItem | None) -> dict[str, Callable[[], Any]]:
    try:
        from implicit.als import AlternatingLeastSquares
        from implicit.nearest_neighbours import CosineRecommender, ItemItemRecommender, NearestNeighboursScorer
    except ImportError as error:
        print(f"implicit does not take part: {error}")
        return {}
    users, matrix = np.arange(some.shape[0]), sparse.csr_matrix(some, dtype=np.float64)
    every = sparse.csr_matrix(history, dtype=np.float32)
    cosine = CosineRecommender(K=NEIGHBOURS, num_threads=1)
    cosine.fit(every, show_progress=False)
    found = {f"implicit: cosine, {NEIGHBOURS} neighbours": lambda: cosine.recommend(users, matrix, RANKS)}
    if ease is not None:
        weights, _ = ease.fitted()
        assert isinstance(weights, SparseWeights)
        same = ItemItemRecommender(K=NEIGHBOURS, num_threads=1)
        same.similarity, same.scorer = weights.outgoing, NearestNeighboursScorer(weights.outgoing)
        found["implicit: our EASE's weights"] = lambda: same.recommend(users, matrix, RANKS)
    for factors in (64, 128):
        als = AlternatingLeastSquares(factors=factors, iterations=1, num_threads=1, random_state=0)
        als.fit(every, show_progress=False)
        found[f"implicit: ALS, {factors} factors"] = partial(als.recommend, users, matrix, RANKS)
    return found


if __name__ == "__main__":
    main()
