"""The best prediction of who leaves the simulated game: exact probabilities given all that a log tells.

A hidden Markov model with 1 + G states: has left, or is there with one of G engagements. Its forward algorithm
(Rabiner 1989, section III.A) runs along with the game: `Posterior.update` after each day. `no_activity` then asks on
how many ways a player stays away for some days from now on.
"""

# N players, G values of the engagement

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ludocast.datamodules.game.habits import (
    LEAVE_SLOPE,
    MOST_SESSIONS,
    PLAY_SLOPE,
    RECOVERY,
    Observed,
    leave_base,
    play_base,
    probability,
    session_rate,
)
from ludocast.datamodules.game.players import ENGAGEMENT, ENGAGEMENT_SHARES
from scipy.special import pdtr

AT_ONCE = 50_000  # players whose futures are computed together


def sessions_likelihood() -> np.ndarray:
    """Probability of 1, 2, … `MOST_SESSIONS` sessions on a day that is played, float64 [MOST_SESSIONS, G]."""
    at_most = pdtr(np.arange(MOST_SESSIONS - 1)[:, None], session_rate(ENGAGEMENT))
    last = 1 - at_most[-1:]  # what is above is cut to it
    return np.concatenate([at_most[:1], np.diff(at_most, axis=0), last])


class Posterior:
    """What an observer with the true model knows of each player.

    Args:
        players: How many there are.

    Attributes:
        there: Probability of being there with each engagement, float64 [players, G]; before the arrival the prior.
        left: Probability of having left, float64 [players].
    """

    def __init__(self, players: int) -> None:
        self.there = np.tile(ENGAGEMENT_SHARES, (players, 1))
        self.left = np.zeros(players)
        self._sessions = sessions_likelihood()

    def update(
        self, rows: np.ndarray, day: int, before: Observed, after: Observed, sessions: np.ndarray, is_new: np.ndarray
    ) -> np.ndarray:
        """Take note of a day.

        Args:
            rows: Numbers of the players who had arrived, int64 [N].
            day: Counted from the first one.
            before: At its begin.
            after: At its end.
            sessions: Of the day, int64 [N].
            is_new: Whether it is the day of arrival, on which everybody plays, bool [N].

        Returns:
            Probability of what was seen on the day, given the days before, float64 [N].
        """
        played = sessions > 0
        plays = probability(play_base(day, before)[:, None], PLAY_SLOPE, ENGAGEMENT)
        plays[is_new] = 1.0
        seen = np.where(played[:, None], plays * self._sessions[np.maximum(sessions, 1) - 1], 1 - plays)
        there = self.there[rows] * seen
        left = np.where(played, 0.0, self.left[rows])
        leaves = probability(leave_base(day, after, played)[:, None], LEAVE_SLOPE, ENGAGEMENT)
        left += (there * leaves).sum(axis=1)
        there *= 1 - leaves
        total = there.sum(axis=1) + left
        self.there[rows], self.left[rows] = there / total[:, None], left / total
        return np.asarray(total)

    def no_activity(self, rows: np.ndarray, day: int, seen: Observed, days: int) -> np.ndarray:
        """Probability that a player has no session on any of the coming days, float64 [N].

        Args:
            rows: Numbers of the players, int64 [N].
            day: The first of the days.
            seen: At its begin.
            days: How many.
        """
        parts = [slice(begin, begin + AT_ONCE) for begin in range(0, len(rows), AT_ONCE)]
        found = [self._no_activity(rows[part], day, _part(seen, part), days) for part in parts]
        return np.concatenate(found) if found else np.zeros(0)

    def _no_activity(self, rows: np.ndarray, day: int, seen: Observed, days: int) -> np.ndarray:
        there, left = self.there[rows], self.left[rows].copy()
        for ahead in range(days):
            # Nothing happens on such a way but time: a frustration fades, an absence grows.
            now = replace(
                seen, tenure=seen.tenure + ahead, absence=seen.absence + ahead,
                frustration=seen.frustration * RECOVERY**ahead,
            )  # fmt: skip
            there = there * (1 - probability(play_base(day + ahead, now)[:, None], PLAY_SLOPE, ENGAGEMENT))
            then = replace(now, frustration=now.frustration * RECOVERY)
            leaves = probability(leave_base(day + ahead, then, False)[:, None], LEAVE_SLOPE, ENGAGEMENT)
            left += (there * leaves).sum(axis=1)
            there = there * (1 - leaves)
        return np.asarray(left + there.sum(axis=1))


def _part(seen: Observed, part: slice) -> Observed:
    return Observed(*(values[part] for values in vars(seen).values()))
