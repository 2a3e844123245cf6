"""Whether all users are ranked alike by training and by the bundle's graphs: `python benchmarks/recommend_equality.py`.

Steam purchases, the split of benchmarks/recommend.py; the default re-ranker is fitted on what is known, and all users
are ranked from it by training, by the bundle's graph in onnxruntime, and by the core graph (numbers of items in) in
onnxruntime and, where it is installed, in OpenVINO. With the weights of items by items at each precision: what the
bundle weighs, what NDCG@10 on the hidden pairs is, and how many users' first 20 items are those of float32. In a list
that differs, the gap is the largest difference of training's scores of two items that stand at one rank.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.datamodules.user_item_splits import UserItemSplit, split_by_share
from ludocast.datamodules.user_items import k_core, read_user_items
from ludocast.models.recommend.choose import FAMILIES, candidates
from ludocast.models.recommend.metrics import user_metrics
from ludocast.models.recommend.precision import Precision
from ludocast.models.recommend.ranking import NOBODY, Recommender, recommend
from ludocast.models.recommend.rerank import RerankSettings
from ludocast.models.recommend.stored_weights import store_at
from ludocast.serve.core_recommend import cut_recommender
from ludocast.serve.recommend_export import RecommendExport, export_recommender
from scipy import sparse

from benchmarks.recommend import STEAM, padded

BATCH = 128
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "int8")
Ranked = tuple[np.ndarray, np.ndarray]
Run = Callable[[list[np.ndarray]], Ranked]


def session(content: bytes) -> ort.InferenceSession:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3  # it warns of inputs that have a default
    return ort.InferenceSession(content, settings, providers=["CPUExecutionProvider"])


def core_feeds(rows: list[np.ndarray], items: int, answers: int) -> dict[str, np.ndarray]:
    codes = np.full((len(rows), max(map(len, rows))), items, np.int64)
    for row, own in enumerate(rows):
        codes[row, : len(own)] = own
    return {
        "codes": codes, "length": np.array(list(map(len, rows))), "allowed": np.ones((1, items), bool),
        "exclude_owned": np.ones((1, 1), bool), "k": np.array([answers]),
    }  # fmt: skip


def runtimes(export: RecommendExport) -> dict[str, Run]:
    """Each takes numbers of items of some histories, and gives ranked items and scores."""
    items, answers = len(export.items), export.answers
    number = {text: place for place, text in enumerate(export.items)} | {"": NOBODY}
    texts = np.array(export.items, object)
    core = cut_recommender(export.model, items).SerializeToString()
    whole, cut = session(export.model.SerializeToString()), session(core)

    def by_bundle(rows: list[np.ndarray]) -> Ranked:
        names, scores = whole.run(["items", "scores"], padded([texts[own] for own in rows]))
        return np.vectorize(number.__getitem__, otypes=[np.int64])(names), scores

    def by_core(rows: list[np.ndarray]) -> Ranked:
        found, scores = cut.run(["items", "scores"], core_feeds(rows, items, answers))
        return found, scores

    every: dict[str, Run] = {"bundle, onnxruntime": by_bundle, "core, onnxruntime": by_core}
    try:
        openvino = importlib.import_module("openvino")
    except ImportError as error:
        print(f"OpenVINO does not take part: {error}")
        return every
    runtime = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = runtime.compile_model(runtime.read_model(core, b""), "CPU", settings)

    def by_openvino(rows: list[np.ndarray]) -> Ranked:
        found = compiled(core_feeds(rows, items, answers))
        return found["items"], found["scores"]

    return every | {"core, OpenVINO": by_openvino}


def compare(name: str, run: Run, known: sparse.csr_matrix, wanted: Ranked) -> None:
    order = np.argsort(np.diff(known.indptr), kind="stable")
    same, same_20, furthest, gap, spent = 0, 0, 0.0, 0.0, 0.0
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        begin = time.process_time()
        items, scores = run([known[row].indices for row in rows])
        spent += time.process_time() - begin
        target, target_scores = wanted[0][rows], wanted[1][rows]
        same += int((items == target).all(axis=1).sum())
        same_20 += int((items[:, :20] == target[:, :20]).all(axis=1).sum())
        real = np.isfinite(target_scores)
        furthest = max(furthest, float(np.abs(scores - target_scores)[real].max()))
        for row in np.flatnonzero((items != target).any(axis=1)):
            of = dict(zip(target[row].tolist(), target_scores[row].tolist(), strict=True))
            other = np.array([of.get(item, np.nan) for item in items[row].tolist()])
            gap = max(gap, float(np.nanmax(np.abs(other - target_scores[row])[real[row]])))
    users = f"{len(order):,}"
    print(
        f"| {name} | {same:,} of {users} | {same_20:,} of {users} | {furthest:.1e} | {gap:.1e} | "
        f"{1e3 * spent / len(order):.2f} ms |", flush=True,
    )  # fmt: skip


def measure(model: Recommender, split: UserItemSplit, ids: np.ndarray, precision: Precision) -> np.ndarray:
    """First 20 items of all users."""
    store_at(model, precision)
    known, hidden = split.known.history, split.hidden
    export = export_recommender(model, ids)
    wanted = recommend(model, known, export.answers)
    asked = split.asked
    ndcg = user_metrics(wanted[0][asked], hidden[asked], (10,))["ndcg@10"].mean()
    size = len(export.model.SerializeToString()) / 1e6
    print(f"\n{precision}: {size:.1f} MB, NDCG@10 {ndcg:.4f}; {export.answers} ranks\n")
    print("| graph | all ranks alike | first 20 alike | scores within | gap | CPU time a user |")
    print("|---|---|---|---|---|---|")
    for name, run in runtimes(export).items():
        compare(name, run, known, wanted)
    return wanted[0][:, :20]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="network", choices=[name for name in FAMILIES if name != "als"])
    parser.add_argument("--setting", help='of a family that has several, such as "penalty 20"; the first by default')
    parser.add_argument("--precisions", nargs="*", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--draws", type=int, default=RerankSettings.draws, help="of the network's hidden pairs")
    options = parser.parse_args()
    for noisy in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    data = k_core(read_user_items(STEAM / "game_purchase.csv", "User_ID", "Game_ID"), 5, 5, rounds=1)
    split = split_by_share(data, 0.2, seed=2024)
    every = candidates([options.model], RerankSettings(draws=options.draws))
    one = next((one for one in every if options.setting in (None, one.settings)), None)
    if one is None:
        parser.error(f"--setting is one of {', '.join(one.settings for one in every)}")
    model = one.make().fit(split.known.history)
    print(f"{options.model} ({one.settings}), {len(data.users):,} users, {len(data.items):,} items")
    first: np.ndarray | None = None
    for precision in options.precisions:
        top = measure(copy.deepcopy(model), split, data.items, precision)
        if first is None:
            first = top
        else:
            alike, set_alike = (
                (top == first).all(axis=1).mean(),
                np.mean([len(set(a) & set(b)) / 20 for a, b in zip(top.tolist(), first.tolist(), strict=True)]),
            )
            print(f"\nfirst 20 as of {options.precisions[0]}: {alike:.1%} of users in order, {set_alike:.2%} of items")


if __name__ == "__main__":
    main()
