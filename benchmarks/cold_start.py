"""New players and new items: `python benchmarks/cold_start.py`.

Players: those of the game-churn table with their attributes (the label and the row number left out). The items are
simulated, for no table at hand has both. Stated model: a player has 8 tastes t, an item 8 weights w ~ N(0, 1), its
logit for the player is 0.7 t · w - log(1 + i / 10) for item i, and the player draws 1 + Poisson(5) different items by
these logits (Gumbel top-n). Two kinds of tastes: "smooth" ones are tanh(z A), z the attributes (numbers as normal
scores, categories one-hot, columns of mean 0 and deviation 1), A ~ N(0, 2.25 / D); "steps" are what trees are made
for: for each taste 3 attributes are drawn, each parted in two (a number at its median, a category by coin for each
value), and each of the 8 cells has a taste of its own, N(0, 1). 20 % of the players are held out whole, 20 % of the
rest choose settings and epochs. "Known tastes" ranks by the logits themselves: no model can be expected to do better.
The multiclass forest (the item is the class, one row a pair) has leaf size and features a split chosen on the same
players.

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
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.datamodules.attributes import (
    UserColumns,
    attributes_of_frame,
    fit_user_columns,
    read_attributes,
    user_schema,
)
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.item_features import item_features
from ludocast.datamodules.user_items import k_core, read_user_items
from ludocast.models.recommend.cold_start import NAMES, ColdData, try_cold
from ludocast.models.recommend.item_item import EASE
from ludocast.models.recommend.metrics import mean_metrics, user_metrics
from ludocast.models.recommend.new_item_choice import NAMES as ITEM_WAYS
from ludocast.models.recommend.new_item_choice import Features, NewItemsTried, join_new_items, try_new_items
from ludocast.models.recommend.new_items import shares_of
from ludocast.models.recommend.products import owners
from ludocast.models.recommend.ranking import recommend, top_items
from ludocast.models.recommend.tower_network import TowerSettings
from ludocast.models.trainer import TrainerSettings
from sklearn.ensemble import RandomForestClassifier

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
ITEMS, TASTES, TASTE_WIDTH, STRENGTH = 150, 8, 1.5, 0.7
KINDS = ("smooth", "steps")
SHOWN = ("ndcg@10", "recall@10", "hit@10")
FORESTS: tuple[tuple[int, Any], ...] = ((10, "sqrt"), (30, "sqrt"), (100, "sqrt"), (30, 0.5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="*", default=["players", "items"], choices=["players", "items"])
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS, help="tastes of the players")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--trees", type=int, default=60)
    options = parser.parse_args()
    for noisy in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    if "players" in options.parts:
        for kind in options.kinds:
            for seed in options.seeds:
                new_players(kind, seed, options.trees)
    if "items" in options.parts:
        for seed in options.seeds:
            new_items(seed)


def new_players(kind: str, seed: int, trees: int) -> None:
    frame = pd.read_csv(DATA / "game_churn" / "players_en.csv").drop(columns="churn_YN")
    schema, raw, _ = user_schema(attributes_of_frame(frame, "idx"))
    everyone = np.arange(len(frame))
    columns = fit_user_columns(schema, raw, everyone)
    logits, history = simulated(tastes(kind, columns, raw, seed), seed)
    data = ColdData(schema, raw, history)
    print(f"\nplayers, {kind} tastes, seed {seed}: {len(frame):,} with {len(schema.inputs)} attributes, {ITEMS} items, "
          f"{history.nnz:,} pairs", flush=True)  # fmt: skip
    print("| way | chosen | validation NDCG@10 | NDCG@10 | recall@10 | hit@10 | seconds |")
    begin = time.perf_counter()
    tried, _ = try_cold(data, TowerSettings(seed=seed), TrainerSettings())
    seconds = time.perf_counter() - begin
    for one in tried:
        assert one.test is not None
        cells = " | ".join(f"{one.test[name].value:.4f}" for name in SHOWN)
        print(f"| {NAMES[one.kind]} | {one.settings} | {one.validation:.4f} | {cells} | |", flush=True)
    print(f"all four, their choice and the fit on everyone: {seconds:.0f} s")
    order = np.random.default_rng(seed).permutation(len(frame))  # as `try_cold` parts them
    test, rest = np.sort(order[: len(frame) // 5]), order[len(frame) // 5 :]
    held, train = np.sort(rest[: len(rest) // 5]), np.sort(rest[len(rest) // 5 :])
    forest(columns.preprocessing.encode(raw).trees, history, train, held, np.sort(rest), test, trees)
    show("known tastes", "", np.nan, logits[test], history[test], 0.0)


def tastes(kind: str, columns: UserColumns, raw: RawColumns, seed: int) -> np.ndarray:
    """Of each player, [U, 8]; the model above."""
    generator = np.random.default_rng(seed)
    if kind == "smooth":
        z = columns.vectors(raw).astype(np.float64)
        z = z[:, z.std(axis=0) > 0]
        z = (z - z.mean(axis=0)) / z.std(axis=0)
        return np.tanh(z @ (generator.normal(size=(z.shape[1], TASTES)) * TASTE_WIDTH / np.sqrt(z.shape[1])))
    names = list(raw)
    found = []
    for _ in range(TASTES):
        cell = np.zeros(len(next(iter(raw.values()))), np.int64)
        for k in generator.choice(len(names), 3, replace=False):
            values = raw[names[k]]
            if values.dtype == object:
                known, code = np.unique(values.astype(str), return_inverse=True)
                side = generator.integers(0, 2, len(known))[code]
            else:
                side = (values > np.nanmedian(values)).astype(int)
            cell = cell * 2 + side
        found.append(generator.normal(size=8)[cell])
    return np.stack(found, axis=1)


def simulated(taste: np.ndarray, seed: int) -> tuple[np.ndarray, sparse.csr_matrix]:
    """Logits [U, I] and who has what."""
    generator = np.random.default_rng(1_000 + seed)
    logits = taste @ generator.normal(size=(TASTES, ITEMS)) * STRENGTH - np.log1p(np.arange(ITEMS) / 10)
    count = 1 + generator.poisson(5, len(taste))
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

    def scores(chosen: tuple[int, Any], learnt: np.ndarray, asked: np.ndarray) -> np.ndarray:
        pairs = history[learnt].tocoo()
        leaf, features = chosen
        model = RandomForestClassifier(
            trees, min_samples_leaf=leaf, max_features=features, max_samples=0.25, random_state=0
        )
        model.fit(x[learnt][pairs.row], pairs.col)
        found = np.zeros((len(asked), history.shape[1]))
        found[:, model.classes_] = model.predict_proba(x[asked])
        return found

    tried = [(ndcg(scores(one, train, held), history[held]), one) for one in FORESTS]
    best, chosen = max(tried, key=lambda one: one[0])
    words = f"{trees} trees, leaves of {chosen[0]}, {chosen[1]} of the features a split"
    show("multiclass forest", words, best, scores(chosen, rest, test), history[test], time.perf_counter() - begin)


def new_items(seed: int) -> None:
    data = k_core(read_user_items(DATA / "steam200k" / "game_purchase.csv", "User_ID", "Game_ID"), 5, 5, rounds=1)
    names = read_attributes(DATA / "steam200k" / "item_info.csv", "Game_ID", "--items")
    order = np.random.default_rng(seed).permutation(len(data.items))
    history = sparse.csr_matrix(data.history[:, order])
    history.sort_indices()
    rows = names.rows_of(data.items[order])
    print(f"\nitems, seed {seed}: {len(order):,} of {history.shape[0]:,} users", flush=True)

    def features(known: np.ndarray) -> sparse.csr_matrix:
        return item_features(names, rows[known])[0][rows]

    print("| way | penalty, own | validation NDCG@10 | NDCG@10 | recall@10 | hit@10 |")
    begin = time.perf_counter()
    tried = try_new_items(lambda: EASE(20.0, 0.5), history, features, seed)
    seconds = time.perf_counter() - begin
    for one in tried:
        assert one.test is not None
        cells = " | ".join(f"{one.test[name].value:.4f}" for name in SHOWN)
        chosen = "" if one.kind == "nothing" else f"{one.settings.penalty:g}, {one.settings.own:g}"
        print(f"| {ITEM_WAYS[one.kind]} | {chosen} | {one.validation:.4f} | {cells} |", flush=True)
    print(f"all three: {seconds:.0f} s")
    beside_others(tried[0], history, features, seed)


def beside_others(way: NewItemsTried, history: sparse.csr_matrix, features: Features, seed: int) -> None:
    """The test items new beside the others, a fifth of whose pairs is hidden: what they win and cost in one list."""
    generator = np.random.default_rng(100 + seed)
    items = history.shape[1]
    is_new = np.zeros(items, bool)
    is_new[np.random.default_rng(seed).permutation(items)[: items // 5]] = True  # as `try_new_items` parts them
    old = np.flatnonzero(~is_new)
    pairs = sparse.csr_matrix(history[:, old]).tocoo()
    is_hidden = generator.random(pairs.nnz) < 0.2
    shape = pairs.shape
    known, hidden = (
        sparse.csr_matrix((np.ones(int(kept.sum())), (pairs.row[kept], pairs.col[kept])), shape)
        for kept in (~is_hidden, is_hidden)
    )
    model = EASE(20.0, 0.5).fit(known)
    found = features(old)
    shares = shares_of(found[is_new], found[old], owners(known), way.settings.penalty)
    joined = join_new_items(model, way, known, shares, seed)
    bought = sparse.csr_matrix(history[:, np.flatnonzero(is_new)])
    sought = sparse.csr_matrix(sparse.hstack([hidden, bought]))
    asked = np.flatnonzero((np.diff(sought.indptr) > 0) & (np.diff(known.indptr) > 0))
    wide = sparse.csr_matrix((known.data, known.indices, known.indptr), sought.shape)
    shown = f"expected {joined.expected:.3f}, true {bought.nnz / history.nnz:.3f}, of the first 10 {joined.shown:.3f}"
    print(f"{int(is_new.sum())} new items beside the others, scale {joined.scale:.2f}; share of the pairs {shown}")
    for words, recommender, rows in (("off", model, known), ("on", joined.model, wide)):
        ranked, _ = recommend(recommender, rows[asked], 10)
        print(f"new items {words}: NDCG@10 over all hidden pairs "
              f"{user_metrics(ranked, sought[asked], (10,))['ndcg@10'].mean():.4f}", flush=True)  # fmt: skip


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
