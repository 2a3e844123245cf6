"""What each input of the re-ranker brings, on Steam purchases: `python benchmarks/recommend_inputs.py`.

Everything is measured inside the training part of `benchmarks/recommend.py`: a fifth of each user's items of it is
hidden (seed 0), the signals are fitted on the rest, networks learn from some of their inputs alone and rank the
candidates. The pairs that `benchmarks/recommend.py` hides are never looked at.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy import sparse

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.datamodules.user_item_splits import split_by_share
from ludocast.datamodules.user_items import k_core, read_user_items
from ludocast.models.recommend import module as recommend_module
from ludocast.models.recommend.metrics import user_metrics
from ludocast.models.recommend.network import CandidateNetwork
from ludocast.models.recommend.ranking import user_batches
from ludocast.models.recommend.rerank import RerankSettings, train_module, training_lists
from ludocast.models.recommend.signals import Signals
from ludocast.models.recommend.training_lists import TrainingLists
from ludocast.models.trainer import TrainerSettings
from torch import Tensor
from torch.nn import functional as F

PURCHASES = Path(__file__).parent.parent.parent / "shared" / "data" / "steam200k" / "game_purchase.csv"
ALONE = "all, but each candidate by itself"
Kept = Callable[[str], bool]


class AloneNetwork(CandidateNetwork):
    """The same without the mean over the list."""

    def forward(self, inputs_NCF: Tensor, is_real_NC: Tensor) -> Tensor:  # noqa: ARG002
        """Scores [N, C]."""
        h_NCH = F.silu(self.first((inputs_NCF - self.mean) / self.deviation))
        scores: Tensor = self.last(F.silu(self.second(h_NCH))).squeeze(-1)
        return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="networks of each kind; their mean is told")
    options = parser.parse_args()
    for noisy in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    training = split_by_share(k_core(read_user_items(PURCHASES, "User_ID", "Game_ID"), 5, 5, rounds=1), 0.2, 2024).known
    inner = split_by_share(training, 0.2, seed=0)
    known, hidden = inner.known.history, inner.hidden
    signals, settings = Signals(), RerankSettings()
    drawn = training_lists(signals, known, settings)
    signals.fit(known)
    asked = np.flatnonzero(np.diff(hidden.indptr))
    lists = [signals.lists(part) for part in user_batches(known[asked])]
    items = np.concatenate([one.items for one in lists])
    inputs = torch.from_numpy(np.concatenate([one.inputs for one in lists]))
    print("| inputs | number | NDCG@10 |\n|---|---|---|", flush=True)
    first = -np.broadcast_to(np.arange(items.shape[1], dtype=float), items.shape)
    show("first signal alone, no network", 1, [ndcg(first, items, hidden[asked])])
    for name, kept in kinds(signals):
        columns = [place for place, column in enumerate(signals.names) if kept(column)]
        names = [signals.names[place] for place in columns]
        part = TrainingLists(drawn.inputs[:, :, columns], drawn.is_hidden, drawn.is_real)
        found = []
        for seed in range(options.seeds):
            recommend_module.CandidateNetwork = AloneNetwork if name == ALONE else CandidateNetwork  # type: ignore
            one = train_module(part, names, replace(settings, seed=seed), TrainerSettings())
            with torch.inference_mode():
                scores = one(inputs[:, :, columns], torch.from_numpy(items >= 0)).numpy()
            found.append(ndcg(scores, items, hidden[asked]))
        show(name, len(columns), found)


def kinds(signals: Signals) -> list[tuple[str, Kept]]:
    """Which inputs are kept, by name."""
    found: list[tuple[str, Kept]] = [("all", lambda _: True), (ALONE, lambda _: True)]
    found.append(("no single weights", lambda column: not _is_single(column)))
    for one in signals.told:
        found.append((f"no single weights of {one}", partial(_is_kept, without=one, single=True)))
    for one in signals.models:
        found.append((f"nothing of {one}", partial(_is_kept, without=one, single=False)))
    return found


def _is_kept(column: str, *, without: str, single: bool) -> bool:
    return not (column.endswith(f" of {without}") and (_is_single(column) or not single))


def _is_single(column: str) -> bool:
    """Whether it tells single weights, not their sum."""
    return "weight" in column.split(" of ")[0]


def ndcg(scores: np.ndarray, items: np.ndarray, hidden: sparse.csr_matrix) -> float:
    order = np.argsort(np.where(items >= 0, -scores, np.inf), axis=1, kind="stable")
    return float(user_metrics(np.take_along_axis(items, order, 1), hidden, (10,))["ndcg@10"].mean())


def show(name: str, number: int, found: list[float]) -> None:
    print(f"| {name} | {number} | {np.mean(found):.4f} |", flush=True)


if __name__ == "__main__":
    main()
