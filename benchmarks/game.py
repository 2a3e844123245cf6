"""Ours beside the best possible on the simulated game: `python benchmarks/game.py churn --players 20000 --out FOLDER`.

`churn` simulates a log, calls `ludocast train churn --log … --truth …` (further words, such as --step=7d, are handed
on) and sets the AUC of its test part beside that of exact probabilities of the same snapshots, by what is known:

- the log alone, where players came from being unknown, as of our snapshots;
- the log and the channel each player came by, as in OUT/truth.parquet and the report;
- what nobody can know, the player's engagement and whether he has left: what is above is chance.

With --with-channel ours is given the channel too, as a column that is added to the snapshots. What lies in FOLDER from
before is not made again.

`shop` calls `ludocast train recommend --repeats auto` on the purchases, and ranks the same hidden ones by the true
probabilities to be bought next, given all purchases before the split: `Shop.best_scores`. No order is better by much:
it is exact for who buys one thing more; of several ones it is the order of the first.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, its own folder alone is on the path

from ludocast.datamodules.game.days import Game
from ludocast.datamodules.game.habits import Observed
from ludocast.datamodules.game.items import Shop, open_shop
from ludocast.datamodules.game.log import true_probabilities
from ludocast.datamodules.game.players import (
    ADVERTISING,
    FIRST_DAY,
    FRIEND,
    OWN_CHANNEL_SHARES,
    OWN_CHANNELS,
    Players,
    arrival_rate,
    draw_players,
)
from ludocast.datamodules.game.truth import Posterior
from ludocast.datamodules.user_item_splits import UserItemSplit, split_by_time
from ludocast.datamodules.user_items import read_user_items
from ludocast.models.recommend.metrics import mean_metrics
from ludocast.models.recommend.ranking import top_items

from benchmarks.log_churn import lightgbm, parts_of
from ludocast.__main__ import main as ludocast

DAYS, SEED = 180, 0  # those of `ludocast simulate log`
ORIGINS = (ADVERTISING, FRIEND, OWN_CHANNELS[0])  # the channels that differ in how long players stay


class WithoutChannel(Posterior):
    """What an observer knows who has the log and the true model, but not where players came from.

    Args:
        players: Their days of arrival are what a log tells first.
    """

    def __init__(self, players: Players) -> None:
        super().__init__(len(players))
        self._each = [Posterior(len(players)) for _ in ORIGINS]
        rate = arrival_rate(DAYS)
        advertised = (rate[:, 1] / rate.sum(axis=1))[players.arrival]
        friend = (1 - advertised) * OWN_CHANNEL_SHARES[OWN_CHANNELS.index(FRIEND)]
        self._weight = np.stack([advertised, friend, 1 - advertised - friend], axis=1)

    def update(
        self, rows: np.ndarray, day: int, before: Observed, after: Observed, sessions: np.ndarray, is_new: np.ndarray
    ) -> np.ndarray:
        """Bayes' rule over where a player came from."""
        likelihood = [
            posterior.update(rows, day, _from(before, origin), _from(after, origin), sessions, is_new)
            for posterior, origin in zip(self._each, ORIGINS, strict=True)
        ]
        weight = self._weight[rows] * np.stack(likelihood, axis=1)
        total = weight.sum(axis=1)
        self._weight[rows] = weight / total[:, None]
        return np.asarray(total)

    def no_activity(self, rows: np.ndarray, day: int, seen: Observed, days: int) -> np.ndarray:
        """The mean over where a player came from."""
        each = [
            posterior.no_activity(rows, day, _from(seen, origin), days)
            for posterior, origin in zip(self._each, ORIGINS, strict=True)
        ]
        return np.asarray((self._weight[rows] * np.stack(each, axis=1)).sum(axis=1))


def _from(seen: Observed, origin: int) -> Observed:
    return replace(seen, channel=np.full(len(seen.channel), float(origin)))


def all_knowing(game: Game, day: int) -> Posterior:
    """Each player's engagement, and whether he has left."""
    known = Posterior(len(game.players))
    left = game.left_on < day
    known.there = np.eye(known.there.shape[1])[game.players.engagement] * ~left[:, None]
    known.left = left.astype(float)
    return known


def best_probabilities(count: int, wanted: set[int]) -> pd.DataFrame:
    """Exact probabilities at some days, a column an observer; the game of the log is played again."""
    players = draw_players(count, DAYS, SEED)
    game = Game(players, open_shop(SEED), SEED)
    game.posterior = blind = WithoutChannel(players)
    found = []
    for played, _ in enumerate(game.days(DAYS), 1):
        if played in wanted:
            rows, log_alone = true_probabilities(game, played)
            game.posterior = all_knowing(game, played)
            at = pd.Timestamp(FIRST_DAY + played)
            frame = {"player_id": players.ids[rows], "snapshot_time": at, "log": log_alone}
            found.append(pd.DataFrame({**frame, "hidden": true_probabilities(game, played)[1]}))
            game.posterior = blind
    return pd.concat(found)


def run(*words: object) -> None:
    if ludocast([str(word) for word in words]):
        raise SystemExit(1)


def churn(count: int, out: Path, with_channel: bool, words: list[str]) -> None:
    game, log = out / "game", out / "game" / "events.parquet"
    data: list[object] = ["--log", log, *words]
    snapshots = out / "churn" / "snapshots"
    if with_channel:
        snapshots = out / "snapshots"
        data = ["--data", snapshots]
        if not snapshots.exists():
            run("snapshots", "--log", log, "--out", snapshots, *words)
            add_channel(snapshots, game / "players.csv")
    if not (out / "churn").exists():
        run("train", "churn", *data, "--truth", game / "truth.parquet", "--out", out / "churn")
    tell_churn(count, out, snapshots, "ours, given the channel" if with_channel else "ours")


def tell_churn(count: int, out: Path, snapshots: Path, name: str) -> None:
    frame = pd.read_parquet(snapshots)
    test = frame[frame.split == "test"]
    days = {(at - pd.Timestamp(FIRST_DAY)).days for at in pd.to_datetime(test.snapshot_time.unique())}
    keys = ["player_id", "snapshot_time"]
    known = pd.read_parquet(out / "game" / "truth.parquet").rename(columns={"true_probability": "channel"})
    known = known.assign(snapshot_time=known.snapshot_time.dt.tz_localize(None))
    best = best_probabilities(count, days).merge(known, on=keys, validate="one_to_one")
    asked = test[[*keys, "churned"]].merge(best, on=keys, how="left", validate="one_to_one")
    metrics = json.loads((out / "churn" / "metrics.json").read_text(encoding="utf-8"))
    auc = metrics["metrics"]["auc"]
    sizes = ", ".join(f"{number:,} {part}" for part, number in frame.split.value_counts().items())
    print(f"\n{count:,} players, snapshots: {sizes}; {test.churned.mean():.1%} of the test leave")
    print(f"{name:<36} {auc['value']:.4f} ({auc['low']:.4f} to {auc['high']:.4f})")
    for entry in metrics["leaderboard"]:
        print(f"  {entry['name']:<34} {entry['auc']['value']:.4f}")
    if "channel" not in frame.columns:  # as a text
        p, how = lightgbm(parts_of(snapshots)[1])
        print(f"  {'LightGBM, tuned by validation':<34} {roc_auc_score(test.churned, p):.4f}  {how}")
    for name, what in (("log", "log alone"), ("channel", "log and channel"), ("hidden", "hidden state")):
        print(f"{'best possible, ' + what:<36} {roc_auc_score(asked.churned, asked[name]):.4f}")


def add_channel(snapshots: Path, players: Path) -> None:
    """A column more in each file of the snapshots."""
    channel = pd.read_csv(players).set_index("player_id").channel
    for file in snapshots.glob("*.parquet"):
        frame = pd.read_parquet(file)
        frame.assign(channel=channel[frame.player_id].to_numpy()).to_parquet(file, index=False)


def suggestions(out: Path) -> None:
    log = out / "game" / "events.parquet"
    columns = ["--user", "player_id", "--item", "item", "--time", "time"]
    if not (out / "shop").exists():
        run("train", "recommend", "--data", log, *columns, "--repeats", "auto", "--out", out / "shop")
    data = read_user_items(log, "player_id", "item", time="time")
    split = split_by_time(data)
    known, hidden = split.known.history[split.asked], split.hidden[split.asked]
    metrics = json.loads((out / "shop" / "metrics.json").read_text(encoding="utf-8"))
    print(f"\n{split.rule}: {hidden.nnz:,} pairs of {len(split.asked):,} players, {known.nnz:,} known of them")
    for entry in metrics["leaderboard"]:
        name = f"{entry['model']} {entry['settings']}"
        print(f"  {name:<60} NDCG@10 {entry['ndcg@10']:.4f}")
    shop = open_shop(SEED)
    best = mean_metrics(top_items(best_scores(shop, log, split), 20, known)[0], hidden)
    ndcg = best["ndcg@10"]
    print(f"{'best possible':<62} NDCG@10 {ndcg.value:.4f} ({ndcg.low:.4f} to {ndcg.high:.4f})")


def best_scores(shop: Shop, log: Path, split: UserItemSplit) -> np.ndarray:
    """Of the players asked, by all they bought before the split; float64 [users, items]."""
    table = pd.read_parquet(log, columns=["player_id", "time", "item"], filters=[("event", "=", "purchase")])
    assert split.known.time is not None
    until = pd.Timestamp(split.known.time.max() + 1, unit="s", tz="UTC")  # times of pairs are whole seconds
    place = {name: number for number, name in enumerate(shop.ids.tolist())}
    before = table[table.time < until].assign(number=lambda frame: frame["item"].map(place))
    bought = before.groupby("player_id", sort=False).number.agg(list)
    columns = [place[name] for name in split.known.items.tolist()]
    users = split.known.users[split.asked].tolist()
    return np.stack([shop.best_scores(bought.get(user, []))[columns] for user in users])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("churn", "shop"))
    parser.add_argument("--players", type=int, default=20_000)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--with-channel", action="store_true")
    options, words = parser.parse_known_args()
    game = options.out / "game"
    if not game.exists():
        run("simulate", "log", "--players", options.players, "--days", DAYS, "--seed", SEED, "--out", game)
    if options.what == "churn":
        churn(options.players, options.out, options.with_channel, words)
    else:
        suggestions(options.out)


if __name__ == "__main__":
    main()
