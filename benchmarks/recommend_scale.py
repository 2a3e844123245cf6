"""Suggestions at a studio's size, on simulated data: `python benchmarks/recommend_scale.py`.

1,000,000 users, 50,000 items, about 50,000,000 rows by default, written to a Parquet file in --folder (kept there for
the next run). Prints seconds and the peak of memory so far of each step that `ludocast train recommend` takes at that
size; --part 10 is a tenth of the users and rows. NDCG is of the simulation, which has no more
structure than its clusters.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.datamodules.user_item_splits import split_by_share
from ludocast.datamodules.user_items import UserItems, read_user_items
from ludocast.models.recommend.choose import FAMILIES, RANKS, Candidate, best_of_families, candidates, fitted, measured
from ludocast.models.recommend.item_item import EASE, ItemItem
from ludocast.models.recommend.ranking import Recommender, recommend
from ludocast.models.recommend.rerank import RerankSettings
from ludocast.models.recommend.scale import fewer_draws, is_large, notes_of_size, of_some_users
from ludocast.models.trainer import TrainerSettings
from ludocast.serve.recommend_export import export_recommender

from benchmarks.simulated_interactions import write_interactions

USERS, ITEMS, ROWS = 1_000_000, 50_000, 50_000_000
SCORED = 20_000  # users whose suggestions by the network are timed


class Steps:
    """Prints a row a step."""

    def __init__(self) -> None:
        self.begin, self.cpu = time.perf_counter(), time.process_time()
        print("| step | s | CPU s | peak GB | |\n| --- | --- | --- | --- | --- |", flush=True)

    def done(self, name: str, words: str = "", seconds: float | None = None) -> None:
        """A step took so many seconds; by default all since the last one."""
        took = time.perf_counter() - self.begin if seconds is None else seconds
        spent = time.process_time() - self.cpu
        print(f"| {name} | {took:.1f} | {spent:.1f} | {peak_gb():.2f} | {words} |", flush=True)
        self.begin, self.cpu = time.perf_counter(), time.process_time()


def peak_gb() -> float:
    """VmHWM of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=int, default=1, help="1 / PART of the users and rows")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--families", nargs="*", default=list(FAMILIES))
    parser.add_argument("--fit-only", action="store_true", help="the last setting of the families, without choosing")
    parser.add_argument("--scored", type=int, default=100_000, help="users whose suggestions by EASE are timed")
    parser.add_argument("--epochs", type=int, default=RerankSettings.epochs)
    options = parser.parse_args()
    for noisy in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    torch.set_num_threads(max(1, min(2, torch.get_num_threads())))
    users, rows = USERS // options.part, ROWS // options.part
    path = options.folder / f"simulated_{users}_{ITEMS}_{rows}.parquet"
    if not path.exists():
        write_interactions(path, users, ITEMS, rows)
    steps = Steps()
    data = read_user_items(path, "user", "item")
    history = data.history
    steps.done("reading", f"{len(data.users):,} users, {len(data.items):,} items, {history.nnz:,} pairs")
    for note in notes_of_size(history):
        print(f"note: {note}", file=sys.stderr)
    if options.fit_only:
        best = candidates(options.families, is_large=True)[-1]
    else:
        best = chosen(data, options, steps)
    shipped = best.make().fit(history)
    steps.done(f"fitting the shipped model on all pairs: {best.family} {best.settings}")
    serve(shipped, history, data.items, steps)
    linear = shipped if isinstance(shipped, ItemItem) else EASE(100, 0.5).fit(history)
    steps.done("fitting EASE, users weighted, on all pairs")
    recommend(linear, history[: options.scored], RANKS)
    steps.done("EASE: 20 suggestions in process", f"{min(options.scored, history.shape[0]):,} users")
    print(f"\npeak memory {peak_gb():.2f} GB; {torch.get_num_threads()} threads")


def chosen(data: UserItems, options: argparse.Namespace, steps: Steps) -> Candidate:
    """The best candidate, by the steps of the recipe."""
    test = split_by_share(data, 0.2)
    inner = split_by_share(test.known, 0.2)
    known, hidden = inner.known.history, of_some_users(inner.hidden, 0)
    asked, sought = test.known.history, of_some_users(test.hidden, 0)
    del inner
    steps.done("splitting twice")
    settings = fewer_draws(RerankSettings(epochs=options.epochs), data.history)
    tried = candidates(options.families, settings, TrainerSettings(progress=False), is_large(known))
    found = []
    for candidate, model, begin in fitted(tried, known):
        found.append(measured(candidate, model, known, hidden, begin))
        words = f"{candidate.family} {candidate.settings}".strip()
        steps.done(f"choosing: {words}", f"NDCG@10 {found[-1].ndcg:.4f}", found[-1].seconds)
    best = best_of_families(found)
    del known, hidden
    for candidate, model, begin in fitted([one.candidate for one in best], asked):
        one = measured(candidate, model, asked, sought, begin)
        steps.done(f"report: {candidate.family}", f"NDCG@10 {one.ndcg:.4f}", one.seconds)
    del asked, sought, test
    return best[0].candidate


def serve(model: Recommender, history, items: np.ndarray, steps: Steps) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Suggest in process and by the graph, and hold them against each other."""
    some = np.random.default_rng(0).choice(history.shape[0], min(SCORED, history.shape[0]), replace=False)
    ranked, scores = recommend(model, history[some], RANKS)
    steps.done("20 suggestions in process", f"{len(some):,} users")
    export = export_recommender(model, items)
    content = export.model.SerializeToString()
    steps.done("exporting", f"{len(content) / 1e6:.0f} MB")
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    steps.done("loading the graph")
    texts, same, furthest = np.array(export.items, object), 0, 0.0
    part = some[: len(some) // 10]
    for begin in range(0, len(part), 64):
        rows = [texts[history[user].indices] for user in part[begin : begin + 64]]
        length = np.array([len(row) for row in rows])
        cells = np.full((len(rows), length.max()), "", object)
        for place, row in enumerate(rows):
            cells[place, : len(row)] = row
        feeds = {"history": cells, "length": length, "k": np.array([RANKS])}
        answer, score = session.run(["items", "scores"], feeds)
        same += int((answer == texts[ranked[begin : begin + len(rows)]]).all(axis=1).sum())
        furthest = max(furthest, float(np.abs(score - scores[begin : begin + len(rows)]).max()))
    words = f"{len(part):,} users, {same:,} of them ranked as in process; scores within {furthest:.1e}"
    steps.done("20 suggestions by the graph", words)


if __name__ == "__main__":
    main()
