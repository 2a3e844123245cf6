"""A simulated shop of a game: sessions of items whose true next-item probabilities are known.

No log of sessions with items can be shipped, so this one is drawn from a model that is written down here, and the best
that anyone could say of the next item is known beside it.

- Items lie in clusters, one after the other on a ring. Within a cluster popularity follows Zipf's law (1 / (rank + 3)).
  A third of the items appears in the course of the log, the others are there from its first day.
- A player has a hidden type; types have tastes, shares of the clusters. Players come with different frequency, at most
  once a day.
- A session begins in a cluster of the player's taste and has a hidden direction along the ring, which turns with a
  small probability at each step (momentum: who moved one way moves on that way).
- A step repeats an item of the session; or stays in the cluster, there mostly with one of the three successors of the
  item before (a first-order chain), else with any of the cluster by popularity; or moves to the next cluster in the
  session's direction; or jumps to a cluster of the player's taste.
- Times between steps are exponential and say nothing.

So the last item says a lot, the order before it says the direction, all of the session says something of the taste.
"""

# I items, C clusters, K types, S sessions of a day, L steps of the longest one, N sessions asked about

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

START = 1_704_067_200  # seconds since 1970 of 2024-01-01
DAY = 86_400
SUCCESSORS = np.array([0.6, 0.3, 0.1])
NAMES = {"player": pa.string(), "time": pa.timestamp("s"), "item": pa.string()}


@dataclass(frozen=True)
class SessionRules:
    """The model's numbers.

    Attributes:
        items: I.
        clusters: C, 3 or more.
        types: K.
        days: Of the log.
        players: In all.
        sessions: A day.
        more: Chance of a further step after the second one.
        longest: Steps of a session, at most.
        repeat: Chance that a step repeats an item of the session.
        stay: That it stays in the cluster.
        move: That it moves on; else it jumps.
        follow: Of a step that stays: that a successor comes.
        turn: That the direction turns before a step.
    """

    items: int = 600
    clusters: int = 30
    types: int = 8
    days: int = 40
    players: int = 5_000
    sessions: int = 500
    more: float = 0.8
    longest: int = 40
    repeat: float = 0.1
    stay: float = 0.4
    move: float = 0.35
    follow: float = 0.6
    turn: float = 0.1


class SessionGame:
    """The drawn items, tastes and players; days are drawn one at a time.

    Args:
        rules: The model's numbers.
        seed: Of everything random.

    Raises:
        ValueError: If there are too few clusters, or items for them.
    """

    def __init__(self, rules: SessionRules | None = None, seed: int = 0) -> None:
        self.rules = rules if rules is not None else SessionRules()
        self.seed = seed
        items, clusters = self.rules.items, self.rules.clusters
        if clusters < 3 or items < 4 * clusters:
            raise ValueError(f"3 clusters or more have 4 items each or more, got {items} items in {clusters} clusters")
        generator = np.random.default_rng([seed, 0])
        self.cluster = np.sort(np.arange(items) % clusters)
        self.first = np.searchsorted(self.cluster, np.arange(clusters + 1))
        size = np.diff(self.first)
        rank = np.concatenate([generator.permutation(n) for n in size])
        launch = np.where(generator.random(items) < 1 / 3, generator.integers(0, self.rules.days, items), 0)
        launch[rank == 0] = 0  # no cluster is ever empty
        self.launch, self.weight = launch, 1 / (rank + 4.0)
        drawn = [generator.permuted(np.tile(np.arange(n), (n, 1)), axis=1) for n in size]
        own = [np.array([row[row != k][:3] for k, row in enumerate(order)]) for order in drawn]
        self.successors = np.concatenate([found + first for found, first in zip(own, self.first[:-1], strict=True)])
        self.taste = generator.dirichlet(np.full(clusters, 0.3), self.rules.types)
        self.type_share = generator.dirichlet(np.full(self.rules.types, 5.0))
        self.type = generator.choice(self.rules.types, self.rules.players, p=self.type_share)
        frequency = generator.gamma(1.0, 1.0, self.rules.players) + 0.05
        self.frequency = frequency / frequency.sum()

    def popularity(self, day: int) -> np.ndarray:
        """Share of each item within its cluster, 0 of those that are not there yet, float64 [I]."""
        weight = np.where(self.launch <= day, self.weight, 0.0)
        return np.asarray(weight / np.add.reduceat(weight, self.first[:-1])[self.cluster])

    def following(self, day: int) -> np.ndarray:
        """Chance of each of an item's successors at a step that stays, [I, 3]; of those not there yet 0."""
        weight = np.where(self.launch[self.successors] <= day, SUCCESSORS, 0.0)
        total = weight.sum(1, keepdims=True)
        return np.asarray(self.rules.follow * weight / np.where(total > 0, total, 1.0))

    def draw(self, day: int) -> tuple[np.ndarray, np.ndarray]:
        """The sessions of a day: players, int64 [S], and their items, int64 [S, L], −1 after the last."""
        rules, generator = self.rules, np.random.default_rng([self.seed, 1, day])
        player = generator.choice(rules.players, min(rules.sessions, rules.players), replace=False, p=self.frequency)
        length = np.minimum(1 + generator.geometric(1 - rules.more, len(player)), rules.longest)
        taste, direction = self.taste[self.type[player]].cumsum(1), generator.choice([-1, 1], len(player))
        popularity, following = self.popularity(day).cumsum(), self.following(day).cumsum(1)
        item = np.full((len(player), int(length.max())), -1)
        rows = np.arange(len(player))
        item[:, 0] = self._popular(_drawn(taste, generator), popularity, generator)
        for step in range(1, item.shape[1]):
            direction = np.where(generator.random(len(player)) < rules.turn, -direction, direction)
            kind, before = generator.random(len(player)), item[:, step - 1]
            cluster = self.cluster[before]
            moved = (cluster + direction) % rules.clusters
            to = np.where(kind < rules.repeat + rules.stay, cluster, moved)
            to = np.where(kind < rules.repeat + rules.stay + rules.move, to, _drawn(taste, generator))
            came = self._popular(to, popularity, generator)
            drawn = generator.random(len(player))
            place = (drawn[:, None] >= following[before]).sum(1)
            is_following = (kind >= rules.repeat) & (kind < rules.repeat + rules.stay) & (place < len(SUCCESSORS))
            came = np.where(is_following, self.successors[before, np.minimum(place, len(SUCCESSORS) - 1)], came)
            again = item[rows, generator.integers(0, step, len(player))]
            item[:, step] = np.where(kind < rules.repeat, again, came)
        item[np.arange(item.shape[1]) >= length[:, None]] = -1
        return player, item

    def _popular(self, cluster: np.ndarray, popularity: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """An item of each cluster; `popularity` is cumulative over all items, 1 a cluster."""
        found = np.searchsorted(popularity, cluster + generator.random(len(cluster)), side="right")
        return np.clip(found, self.first[cluster], self.first[cluster + 1] - 1)

    def tables(self) -> Iterator[pa.Table]:
        """The log, day by day: player, time and item; the steps of a session less than half an hour apart."""
        for day in range(self.rules.days):
            player, item = self.draw(day)
            generator = np.random.default_rng([self.seed, 2, day])
            begin = START + day * DAY + generator.integers(0, DAY // 4, len(player))
            gaps = np.minimum(1 + generator.exponential(60, item.shape), 1_700).astype(np.int64)
            gaps[:, 0] = 0
            row, place = np.nonzero(item >= 0)
            seconds = begin[row] + gaps.cumsum(1)[row, place]
            columns = [[f"p{k}" for k in player[row]], seconds, [f"i{k}" for k in item[row, place]]]
            yield pa.table([pa.array(c, t) for c, t in zip(columns, NAMES.values(), strict=True)], list(NAMES))

    def write(self, path: Path) -> None:
        """Write the log as Parquet, a day in memory at a time."""
        with pq.ParquetWriter(path, pa.schema(NAMES)) as file:
            for table in self.tables():
                file.write_table(table)

    def next_scores(self, item: np.ndarray, day: np.ndarray) -> Iterator[np.ndarray]:
        """The true probabilities of the next item after each step, for one who knows all but types and directions.

        Args:
            item: Sessions, int64 [N, L], −1 after the last item.
            day: Of each session, int64 [N].

        Yields:
            After step 0, 1, …, L − 2: float64 [N, I]; of sessions that have ended meaningless.
        """
        rules, rows = self.rules, np.arange(len(item))
        days, of_day = np.unique(day, return_inverse=True)
        popularity = np.stack([self.popularity(one) for one in days])[of_day]
        following = np.stack([self.following(one) for one in days])[of_day]
        jump = 1 - rules.repeat - rules.stay - rules.move
        # Joint belief of type and direction (0 back, 1 on), [N, K, 2].
        belief = np.repeat((self.type_share * self.taste[:, self.cluster[item[:, 0]]].T)[:, :, None] / 2, 2, axis=2)
        had = np.zeros((len(item), rules.items))
        for step in range(item.shape[1] - 1):
            last = np.maximum(item[:, step], 0)
            cluster, n = self.cluster[last], step + 1
            had[rows, last] += 1
            belief = (1 - rules.turn) * belief + rules.turn * belief[:, :, ::-1]
            belief = belief / np.maximum(belief.sum((1, 2), keepdims=True), np.finfo(float).tiny)
            ends = (cluster - 1) % rules.clusters, (cluster + 1) % rules.clusters
            mass = jump * np.einsum("nkd,kc->nc", belief, self.taste)
            follow = following[rows, last]
            mass[rows, cluster] += rules.stay * (1 - follow.sum(1))
            for way, end in enumerate(ends):
                mass[rows, end] += rules.move * belief[:, :, way].sum(1)
            scores = mass[:, self.cluster] * popularity + rules.repeat * had / n
            np.add.at(scores, (rows[:, None], self.successors[last]), rules.stay * follow)
            yield scores
            came = np.maximum(item[:, step + 1], 0)
            popular, to = popularity[rows, came], self.cluster[came]
            follows = (follow * (self.successors[last] == came[:, None])).sum(1)
            common = rules.stay * (follows + (1 - follow.sum(1)) * (to == cluster) * popular)
            common += rules.repeat * had[rows, came] / n
            moves = rules.move * np.stack([to == end for end in ends], 1) * popular[:, None]
            jumps = jump * self.taste[:, to].T * popular[:, None]
            belief = belief * (common[:, None, None] + moves[:, None, :] + jumps[:, :, None])


def _drawn(cumulative: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A cluster for each row of cumulative shares."""
    drawn = generator.random(len(cumulative))[:, None] * cumulative[:, -1:]
    return np.asarray((drawn >= cumulative).sum(1))
