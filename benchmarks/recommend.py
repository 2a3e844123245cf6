"""Suggested items on Steam purchases: `python benchmarks/recommend.py`.

Protocol: purchases without duplicates; items of 5 users or more, then users of 5 items or more, once; a fifth of each
user's items hidden (seed 2024), everything else of them known; owned items are never ranked; means over users. Recall
is hits / min(n, k). Settings of every model, the peers' too, are the best by NDCG@10 on a fifth of each user's items
hidden of the training part (seed 0). The re-ranker's recipe has no setting to choose; three seeds.

`implicit` and `lightfm-next` take part where they can be imported, such as from a folder given with --peers.
"""

from __future__ import annotations

import argparse
import logging
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.datamodules.user_item_splits import split_by_share
from ludocast.datamodules.user_items import k_core, read_user_items
from ludocast.models.recommend.choose import FAMILIES, RANKS, best_of_families, candidates, validate
from ludocast.models.recommend.metrics import user_metrics
from ludocast.models.recommend.ranking import NOBODY, recommend
from ludocast.models.recommend.rerank import Reranker, RerankSettings

STEAM = Path(__file__).parent.parent.parent / "shared" / "data" / "steam200k"
SHOWN = ("ndcg@10", "capped_recall@10", "capped_recall@20")
Rank = Callable[[sparse.csr_matrix], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="of the re-ranker")
    parser.add_argument("--models", nargs="*", default=list(FAMILIES), help="families to run")
    parser.add_argument("--peers", type=Path, help="folder into which pip installed implicit and lightfm-next")
    parser.add_argument("--plays", action="store_true", help="games that were played, not all that were bought")
    parser.add_argument("--graph", action="store_true", help="hold the ONNX graph of the last re-ranker against it")
    parser.add_argument("--draws", type=int, default=RerankSettings.draws)
    parser.add_argument("--members", type=int, default=RerankSettings.members)
    options = parser.parse_args()
    for noisy in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    table = STEAM / ("game_play.csv" if options.plays else "game_purchase.csv")
    data = k_core(read_user_items(table, "User_ID", "Game_ID"), 5, 5, rounds=1)
    for note in data.notes:
        print(f"note: {note}")
    split = split_by_share(data, 0.2, seed=2024)
    known, hidden = split.known.history, split.hidden
    inner = split_by_share(split.known, 0.2, seed=0)
    print(f"{known.nnz:,} pairs known, {hidden.nnz:,} hidden; {split.rule}\n")
    print("| model | chosen | NDCG@10 | Recall@10 | Recall@20 | fit s | rank s |\n|---|---|---|---|---|---|---|")
    for family in (name for name in FAMILIES if name in options.models and name != "network"):
        tried = [validate(one, inner.known.history, inner.hidden) for one in candidates([family])]
        best = best_of_families(tried)[0].candidate
        show(family, best.settings, *measured(lambda: best.make().fit(known), known, hidden))  # noqa: B023
    if "network" in options.models:
        model = network(options, known, hidden)
        if options.graph:
            graph(model, data.items, known)
    if options.peers is not None:
        sys.path.insert(0, str(options.peers))
        peers(inner.known.history, inner.hidden, known, hidden)
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


def network(options: argparse.Namespace, known: sparse.csr_matrix, hidden: sparse.csr_matrix) -> Reranker:
    settings = RerankSettings(draws=options.draws, members=options.members)
    found = []
    for seed in range(options.seeds):
        one = replace(settings, seed=100 * seed)
        model = Reranker(settings=one)
        values, *seconds = measured(lambda: model.fit(known), known, hidden)  # noqa: B023
        found.append(values)
        show("re-ranker", f"seed {one.seed}", values, *seconds)
    show("re-ranker", "mean", np.mean(found, axis=0), np.nan, np.nan)
    return model


def graph(model: Reranker, ids: np.ndarray, known: sparse.csr_matrix) -> None:
    """Equality of all users' rankings, size, and CPU time on one thread."""
    import onnxruntime as ort
    from ludocast.serve.recommend_export import export_recommender

    export = export_recommender(model, ids)
    content = export.model.SerializeToString()
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    session = ort.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    texts = np.array(export.items, object)
    order = np.argsort(np.diff(known.indptr), kind="stable")
    items, scores = recommend(model, known, export.answers)
    wanted = np.where(items == NOBODY, "", texts[items])
    same, furthest, spent = 0, 0.0, 0.0
    for start in range(0, len(order), 128):
        rows = order[start : start + 128]
        feeds = padded([texts[known[row].indices] for row in rows])
        begin = time.process_time()
        found, score = session.run(["items", "scores"], feeds)
        spent += time.process_time() - begin
        same += int((found == wanted[rows]).all(axis=1).sum())
        real = np.isfinite(scores[rows])
        furthest = max(furthest, float(np.abs(score - scores[rows])[real].max()))
    singles = [padded([texts[known[row].indices]]) for row in order[:: max(1, len(order) // 50)]]
    begin = time.process_time()
    for feeds in singles:
        session.run(["items", "scores"], feeds)
    alone = (time.process_time() - begin) / len(singles)
    print(
        f"\ngraph: {len(content) / 1e6:.0f} MB; {same:,} of {len(order):,} users ranked alike, "
        f"scores within {furthest:.1e}; {1e3 * spent / len(order):.2f} ms a user in batches of 128, "
        f"{1e3 * alone:.2f} ms alone; {export.answers} ranks"
    )


def padded(histories: list[np.ndarray]) -> dict[str, np.ndarray]:
    longest = max(map(len, histories))
    cells = np.full((len(histories), longest), "", object)
    for row, history in enumerate(histories):
        cells[row, : len(history)] = history
    return {"history": cells, "length": np.array(list(map(len, histories)))}


def measured(
    fit: Callable[[], Any], known: sparse.csr_matrix, hidden: sparse.csr_matrix
) -> tuple[np.ndarray, float, float]:
    """Measures of a model on the hidden pairs, and seconds of fitting and ranking."""
    begin = time.perf_counter()
    model = fit()
    fitted = time.perf_counter()
    ranked, _ = recommend(model, known, RANKS)
    done = time.perf_counter()
    return of_ranked(ranked, hidden), fitted - begin, done - fitted


def of_ranked(ranked: np.ndarray, hidden: sparse.csr_matrix) -> np.ndarray:
    values = user_metrics(ranked, hidden, (10, 20))
    return np.array([values[name].mean() for name in SHOWN])


def show(name: str, chosen: str, values: np.ndarray, fit: float, rank: float) -> None:
    numbers = " | ".join(f"{value:.4f}" for value in values)
    print(f"| {name} | {chosen} | {numbers} | {fit:.1f} | {rank:.1f} |", flush=True)


def peers(
    inner: sparse.csr_matrix, inner_hidden: sparse.csr_matrix, known: sparse.csr_matrix, hidden: sparse.csr_matrix
) -> None:
    """The best setting of each library's model by the inner split, then its figures."""
    for name, grid in (*implicit_models(), *lightfm_models()):
        scored = [(of_ranked(make(inner), inner_hidden)[0], words, make) for words, make in grid]
        _, words, make = max(scored, key=lambda one: one[0])
        begin = time.perf_counter()
        ranked = make(known)
        show(name, words, of_ranked(ranked, hidden), time.perf_counter() - begin, np.nan)


def implicit_models() -> list[tuple[str, list[tuple[str, Rank]]]]:
    try:
        from implicit.als import AlternatingLeastSquares
        from implicit.nearest_neighbours import BM25Recommender
    except ImportError as error:
        print(f"implicit does not take part: {error}")
        return []

    def ranked(make: Callable[[], Any]) -> Rank:
        def run(known: sparse.csr_matrix) -> np.ndarray:
            model = make()
            matrix = sparse.csr_matrix(known, dtype=np.float32)
            model.fit(matrix, show_progress=False)
            items, scores = model.recommend(np.arange(known.shape[0]), matrix, RANKS, filter_already_liked_items=True)
            return np.where(scores > -1e30, items, NOBODY)

        return run

    als = [
        (f"factors {f}, regularization {r:g}, alpha {a:g}",
         ranked(lambda f=f, r=r, a=a: AlternatingLeastSquares(
             factors=f, regularization=r, alpha=a, iterations=15, random_state=0)))  # type: ignore[misc]
        for f in (32, 64, 128) for r in (0.01, 1.0, 10.0) for a in (1.0, 5.0, 20.0)
    ]  # fmt: skip
    bm25 = [(f"K {k}", ranked(lambda k=k: BM25Recommender(K=k))) for k in (20, 100, 500)]  # type: ignore[misc]
    return [("implicit ALS", als), ("implicit BM25", bm25)]


def lightfm_models() -> list[tuple[str, list[tuple[str, Rank]]]]:
    try:
        from lightfm import LightFM
    except ImportError as error:
        print(f"lightfm does not take part: {error}")
        return []

    def ranked(components: int, epochs: int) -> Rank:
        def run(known: sparse.csr_matrix) -> np.ndarray:
            model = LightFM(no_components=components, loss="warp", random_state=0)
            model.fit(known.astype(np.float32), epochs=epochs)
            item_bias, item = model.get_item_representations()
            user_bias, user = model.get_user_representations()
            scores = user @ item.T + item_bias + user_bias[:, None]
            scores[known.nonzero()] = -np.inf
            return np.argsort(-scores, axis=1, kind="stable")[:, :RANKS]

        return run

    return [("LightFM WARP", [(f"{c} components, {e} epochs", ranked(c, e)) for c in (32, 64) for e in (20, 50)])]


if __name__ == "__main__":
    main()
