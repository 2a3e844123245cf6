"""New players and new items: `python benchmarks/cold_start.py`.

Players: those of the game-churn table with their attributes (the label and the row number left out). The items are
simulated, for no table at hand has both. Stated model: with z the attributes of a player (numbers as normal scores,
categories one-hot, columns of mean 0 and deviation 1), the taste is t = tanh(z A) of 8 numbers, A ~ N(0, 1 / D) times
TASTE_WIDTH; the logit of item i is -log(1 + i / 10) + t · w_i, w_i ~ N(0, 1) times STRENGTH; a player draws
1 + Poisson(5) different items by these logits (Gumbel top-n). 20 % of the players are held out whole, 20 % of the rest
choose settings and epochs. "Known tastes" ranks by the logits themselves: no model can be expected to do better.
The multiclass forest (the item is the class, one row a pair) has its leaf size chosen on the same players.

Items: Steam's purchases (5 users an item or more, 5 items a user or more, once), described by the words of their names
alone; a fifth of the items is held out whole, a fifth of the rest chooses the settings, and each user with a held-out
item is asked to rank the held-out ones among themselves. A multiclass forest has no class for a new item.
Game numbers were given by first appearance and tell of popularity, so items are put into random order first.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.datamodules.attributes import attributes_of_frame, fit_user_columns, user_schema
from ludocast.models.recommend.cold_start import NAMES, ColdData, try_cold
from ludocast.models.recommend.metrics import mean_metrics, user_metrics
from ludocast.models.recommend.ranking import top_items
from ludocast.models.recommend.tower_network import TowerSettings
from ludocast.models.trainer import TrainerSettings
from sklearn.ensemble import RandomForestClassifier

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
ITEMS, TASTES, TASTE_WIDTH, STRENGTH = 150, 8, 1.5, 0.7
SHOWN = ("ndcg@10", "recall@10", "hit@10")
LEAVES = (50, 200, 800)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="*", default=["players", "items"], choices=["players", "items"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trees", type=int, default=60)
    options = parser.parse_args()
    for noisy in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    if "players" in options.parts:
        for seed in range(options.seeds):
            new_players(seed, options.trees)


def new_players(seed: int, trees: int) -> None:
    frame = pd.read_csv(DATA / "game_churn" / "players_en.csv").drop(columns="churn_YN")
    schema, raw, _ = user_schema(attributes_of_frame(frame, "idx"))
    everyone = np.arange(len(frame))
    columns = fit_user_columns(schema, raw, everyone)
    logits, history = simulated(columns.vectors(raw), seed)
    data = ColdData(schema, raw, history)
    print(f"\nplayers, seed {seed}: {len(frame):,} with {len(schema.inputs)} attributes, {ITEMS} items, "
          f"{history.nnz:,} pairs", flush=True)  # fmt: skip
    print("| way | chosen | validation NDCG@10 | NDCG@10 | recall@10 | hit@10 | seconds |")
    begin = time.perf_counter()
    tried, _ = try_cold(data, TowerSettings(seed=seed), TrainerSettings())
    seconds = time.perf_counter() - begin
    for one in tried:
        assert one.test is not None
        cells = " | ".join(f"{one.test[name].value:.4f}" for name in SHOWN)
        print(f"| {NAMES[one.kind]} | {one.settings} | {one.validation:.4f} | {cells} | |", flush=True)
    print(f"all three, their choice and the fit on everyone: {seconds:.0f} s")
    order = np.random.default_rng(seed).permutation(len(frame))  # as `try_cold` parts them
    test, rest = np.sort(order[: len(frame) // 5]), order[len(frame) // 5 :]
    held, train = np.sort(rest[: len(rest) // 5]), np.sort(rest[len(rest) // 5 :])
    forest(columns.preprocessing.encode(raw).trees, history, train, held, np.sort(rest), test, trees)
    show("known tastes", "", np.nan, logits[test], history[test], 0.0)


def simulated(z: np.ndarray, seed: int) -> tuple[np.ndarray, sparse.csr_matrix]:
    """Logits [U, I] and who has what; the model above."""
    generator = np.random.default_rng(seed)
    z = z[:, z.std(axis=0) > 0].astype(np.float64)
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    mix = generator.normal(size=(z.shape[1], TASTES)) * TASTE_WIDTH / np.sqrt(z.shape[1])
    logits = np.tanh(z @ mix) @ generator.normal(size=(TASTES, ITEMS)) * STRENGTH - np.log1p(np.arange(ITEMS) / 10)
    count = 1 + generator.poisson(5, len(z))
    drawn = np.argsort(-(logits + generator.gumbel(size=logits.shape)), axis=1)
    has = np.zeros(logits.shape)
    np.put_along_axis(has, drawn, np.arange(ITEMS) < count[:, None], 1)
    return logits, sparse.csr_matrix(has)


def forest(
    x: np.ndarray, history: sparse.csr_matrix, train: np.ndarray, held: np.ndarray, rest: np.ndarray,
    test: np.ndarray, trees: int,
) -> None:  # fmt: skip
    """The talk's own way."""
    begin = time.perf_counter()
    x = np.nan_to_num(x, nan=-1.0)

    def scores(leaf: int, learnt: np.ndarray, asked: np.ndarray) -> np.ndarray:
        pairs = history[learnt].tocoo()
        model = RandomForestClassifier(trees, min_samples_leaf=leaf, max_samples=0.25, random_state=0)
        model.fit(x[learnt][pairs.row], pairs.col)
        found = np.zeros((len(asked), history.shape[1]))
        found[:, model.classes_] = model.predict_proba(x[asked])
        return found

    tried = [(ndcg(scores(leaf, train, held), history[held]), leaf) for leaf in LEAVES]
    best, leaf = max(tried)
    show("multiclass forest", f"{trees} trees, leaves of {leaf}", best, scores(leaf, rest, test), history[test],
         time.perf_counter() - begin)  # fmt: skip


def ndcg(scores: np.ndarray, hidden: sparse.csr_matrix) -> float:
    ranked, _ = top_items(scores, 10)
    return float(user_metrics(ranked, hidden, (10,))["ndcg@10"].mean())


def show(
    way: str, chosen: str, validation: float, scores: np.ndarray, hidden: sparse.csr_matrix, seconds: float
) -> None:
    ranked, _ = top_items(scores, 20)
    found = mean_metrics(ranked, hidden)
    cells = " | ".join(f"{found[name].value:.4f}" for name in SHOWN)
    print(f"| {way} | {chosen} | {validation:.4f} | {cells} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
