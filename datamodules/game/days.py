"""The simulated game, day after day: who plays, what happens in the sessions, who leaves.

A day of all players is computed at once, so that a million of them take minutes; what is kept between days is a few
numbers a player.
"""

# P players, N of them who play on a day, S sessions, M matches

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.game.habits import (
    LEAVE_SLOPE,
    MOST_SESSIONS,
    PLAY_SLOPE,
    Observed,
    frustration_after,
    leave_base,
    level_of,
    play_base,
    probability,
    session_rate,
)
from ludocast.datamodules.game.items import Shop
from ludocast.datamodules.game.players import ENGAGEMENT, HOURS_FROM_UTC, Players
from ludocast.datamodules.game.truth import Posterior
from scipy.special import expit

DAY = 86_400_000  # ms
EVENTS = ("session_start", "match_won", "match_lost", "level_up", "purchase")
START, WON, LOST, LEVEL_UP, PURCHASE = range(5)
NO_ITEM = -1
PEAK_HOUR, SPREAD = np.array([19.5, 1.0, 14.0]), np.array([2.0, 2.0, 4.5])  # of KINDS, in the player's own hours
MATCHES = np.array([2.0, 3.0, 1.2])  # mean number of further matches of a session, of KINDS
MOST_MATCHES, MATCH, BOT_MATCH = 20, 240_000, 60_000  # the latter in ms: the mean of one, and what a bot needs
LONGEST, SHORTEST_PAUSE = 7_200_000, 2_400_000  # of a session, between two of a day, in ms
SPARE = 10_800_000  # ms by which a session that would end after midnight begins earlier, at most
BAN = 0.03  # of a bot, each day
FORGET = 8  # days after which nobody asks about a player who has left


@dataclass(frozen=True)
class Events:
    """Events of a day in the order of time.

    Attributes:
        player: Numbers of players, int64 [E].
        time: ms since the day's begin, int64.
        event: Of `EVENTS`, int64.
        level: Of the player, the new one of a level_up, int64.
        item: What was bought, −1 otherwise, int64.
    """

    player: np.ndarray
    time: np.ndarray
    event: np.ndarray
    level: np.ndarray
    item: np.ndarray


class Game:
    """Players and their state.

    Args:
        players: Of `draw_players`.
        shop: Of `open_shop`.
        seed: Of everything that happens.

    Attributes:
        posterior: What an observer with the true model knows of who has left.
    """

    def __init__(self, players: Players, shop: Shop, seed: int = 0) -> None:
        self.players, self.shop, self.seed = players, shop, seed
        count = len(players)
        self.left_on = np.full(count, np.iinfo(np.int64).max)  # the day after which a player has left
        self.last_day = np.full(count, -1)  # with a session
        self.frustration, self.experience = np.zeros(count), np.zeros(count, np.int64)
        self._place = np.cumsum(players.shopping > 0) - 1  # of who buys at all in `_owned`
        self._owned = np.zeros((int((players.shopping > 0).sum()), len(shop.ids)), bool)
        self.posterior = Posterior(count)

    def observed(self, rows: np.ndarray, day: int) -> Observed:
        """What a log tells of some players at a day's begin."""
        return Observed(
            tenure=(day - self.players.arrival[rows]).astype(np.float64),
            absence=np.maximum(day - 1 - self.last_day[rows], 0).astype(np.float64),
            frustration=self.frustration[rows],
            level=level_of(self.experience[rows]).astype(np.float64),
            channel=self.players.channel[rows].astype(np.float64),
        )

    def days(self, count: int) -> Iterator[Events]:
        """Play the first days, one after another."""
        for day in range(count):
            yield self._play(day, np.random.default_rng([self.seed, day]))

    def _play(self, day: int, generator: np.random.Generator) -> Events:
        players = self.players
        arrived = int(np.searchsorted(players.arrival, day, side="right"))
        # Who left long ago has no further say; leaving them out changes nothing that is asked for.
        rows = np.flatnonzero((self.left_on[:arrived] >= day) | (self.last_day[:arrived] > day - FORGET))
        is_there, is_new, is_bot = self.left_on[rows] >= day, players.arrival[rows] == day, players.is_bot[rows]
        before = self.observed(rows, day)
        engagement = ENGAGEMENT[players.engagement[rows]]
        plays = generator.random(len(rows)) < probability(play_base(day, before), PLAY_SLOPE, engagement)
        more = np.minimum(1 + generator.poisson(session_rate(engagement)), MOST_SESSIONS)
        sessions = np.where(is_there & (plays | is_new | is_bot), np.where(is_bot, MOST_SESSIONS, more), 0)
        events, won, lost = self._sessions(rows, sessions, generator)
        played = sessions > 0
        self.last_day[rows[played]] = day
        self.frustration[rows] = frustration_after(before.frustration, won, lost)
        self.experience[rows] += 2 * won + lost
        after = Observed(
            before.tenure, before.absence, self.frustration[rows],
            level_of(self.experience[rows]).astype(np.float64), before.channel,
        )  # fmt: skip
        leaves = probability(leave_base(day, after, played), LEAVE_SLOPE, engagement)
        leaving = is_there & (generator.random(len(rows)) < np.where(is_bot, BAN, leaves))
        self.left_on[rows[leaving]] = day
        self.posterior.update(rows, day, before, after, sessions, is_new)
        return events

    def _sessions(
        self, rows: np.ndarray, sessions: np.ndarray, generator: np.random.Generator
    ) -> tuple[Events, np.ndarray, np.ndarray]:
        """Events of a day, and matches won and lost by each of the rows."""
        owner = np.repeat(np.arange(len(rows)), sessions)  # a place in rows, [S]
        number = rows[owner]
        session, end = self._matches(number, generator)
        last = np.cumsum(np.bincount(session, minlength=len(number))) - 1  # match of each session
        length = end[last]
        start = self._starts(number, owner, sessions, length, generator)
        strength = 0.15 + self.players.skill[number] - 0.01 * level_of(self.experience[number])
        won = generator.random(len(session)) < expit(strength)[session]
        won |= self.players.is_bot[number][session]
        before, after = self._levels(number[session], won)
        time, risen = start[session] + end, after > before
        item = self._purchases(number, generator)
        buys = item >= 0
        parts = (
            (number, start, START, before[np.append(0, last[:-1] + 1)[: len(last)]], NO_ITEM),
            (number[session], time, np.where(won, WON, LOST), before, NO_ITEM),
            (number[session][risen], time[risen] + 1, LEVEL_UP, after[risen], NO_ITEM),
            (number[buys], (start + length)[buys] + 1_000, PURCHASE, after[last][buys], item[buys]),
        )
        columns = [np.concatenate(c) for c in zip(*(np.broadcast_arrays(*part) for part in parts), strict=True)]
        order = np.lexsort((columns[0], columns[1]))
        wins, losses = (np.bincount(owner[session][which], minlength=len(rows)) for which in (won, ~won))
        return Events(*(column[order] for column in columns)), wins, losses

    def _matches(self, number: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Which session each match belongs to, and when it ends, in ms since the session's begin; int64 [M] both."""
        kind, is_bot = self.players.kind[number], self.players.is_bot[number]
        count = np.minimum(1 + generator.poisson(MATCHES[kind]), MOST_MATCHES)
        count = np.where(is_bot, MOST_MATCHES, count)
        session = np.repeat(np.arange(len(number)), count)
        lasts = np.where(is_bot[session], BOT_MATCH, generator.gamma(6, MATCH / 6, len(session)))
        until = np.cumsum(lasts)
        begin = (until - lasts)[np.cumsum(count) - count]
        end = until - begin[session]
        length = end[np.cumsum(count) - 1]
        shrink = np.minimum(1, LONGEST / length)
        return session, np.ceil(end * shrink[session]).astype(np.int64)

    def _starts(
        self,
        number: np.ndarray,
        owner: np.ndarray,
        sessions: np.ndarray,
        length: np.ndarray,
        generator: np.random.Generator,
    ) -> np.ndarray:
        """When each session begins, in ms; those of a player one after another with a pause, all within the day."""
        kind = self.players.kind[number]
        zone = np.array(HOURS_FROM_UTC)[self.players.country[number]]
        hour = (PEAK_HOUR[kind] + SPREAD[kind] * generator.normal(0, 1, len(number)) - zone) % 24
        wait = generator.beta(1, 2.5, len(number))
        which = np.arange(len(owner)) - np.repeat(np.cumsum(sessions) - sessions, sessions)
        room = LONGEST + SHORTEST_PAUSE  # that each later session of the day may need
        start = np.zeros(len(owner), np.int64)
        for place in range(MOST_SESSIONS):
            here = np.flatnonzero(which == place)
            last = DAY - LONGEST - 10_000 - (sessions[owner[here]] - 1 - place) * room
            if place == 0:
                # Who would begin too late to end on this day begins before, at some time: not all at the same instant.
                late = last - wait[here] * SPARE
                start[here] = np.where(hour[here] * 3_600_000 <= last, hour[here] * 3_600_000, late).astype(np.int64)
            else:
                least = start[here - 1] + length[here - 1] + SHORTEST_PAUSE
                start[here] = (least + wait[here] * np.maximum(last - least, 0)).astype(np.int64)
        return start

    def _levels(self, number: np.ndarray, won: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Level before and after each match; the matches of a player stand together, in their order."""
        gained = np.where(won, 2, 1)
        total = np.cumsum(gained)
        is_first = np.append(True, number[1:] != number[:-1])[: len(number)]
        before_all = np.maximum.accumulate(np.where(is_first, total - gained, 0)) if len(number) else total
        points = self.experience[number] + total - before_all
        return level_of(points - gained), level_of(points)

    def _purchases(self, number: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """What each session ends with: an item, or −1; of two equal lasting ones on a day the first."""
        item = np.full(len(number), NO_ITEM)
        buys = np.flatnonzero(generator.random(len(number)) < self.players.shopping[number])
        if not len(buys):
            return item
        share, lasting = self.shop.share, ~self.shop.is_consumable
        place = self._place[number[buys]]
        wanted = np.where(self._owned[place], 0.0, share[self.players.taste[number[buys]]])
        reached = np.cumsum(wanted, axis=1)
        drawn = (reached < generator.random(len(buys))[:, None] * reached[:, -1:]).sum(axis=1)
        taken = np.minimum(drawn, share.shape[1] - 1)
        _, first = np.unique(place * share.shape[1] + taken, return_index=True)
        is_again = np.ones(len(buys), bool)
        is_again[first] = False
        item[buys] = np.where(is_again & lasting[taken], NO_ITEM, taken)
        owns = lasting[taken]
        self._owned[place[owns], taken[owns]] = True
        return item
