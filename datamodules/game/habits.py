"""How likely a player of the simulated game plays on a day, and leaves for good after it.

Both depend on what a log tells (`Observed`) and on the hidden engagement e alone:

    P(plays)  = σ(play_base + 1.0 e)        sessions of a day that is played: 1 + Poisson(exp(0.1 + 0.4 e)), 6 at most
    P(leaves) = σ(leave_base − 0.8 e)       after the day, whether it was played or not

so that the exact probability of coming back, given all of a log, can be computed (`truth.py`).
"""

# N players, G values of the engagement

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.game.players import ADVERTISING, FIRST_DAY, FRIEND
from scipy.special import expit

PLAY_SLOPE, LEAVE_SLOPE = 1.0, -0.8
MOST_SESSIONS = 6
HOLIDAYS = ((0, 2), (88, 92), (120, 121))  # days from, to: New Year, spring, the first of May
PATCHES = (45, 105, 165)  # days of new content
LAST_LEVEL = 60
RECOVERY = 0.75  # what is left of a frustration after a day


@dataclass(frozen=True)
class Observed:
    """What a log tells of some players on a day, float64 [N] each, or one for all.

    Attributes:
        tenure: Days since the arrival.
        absence: Days in a row without a session until now.
        frustration: Lost matches, the recent ones foremost; 0 of who wins as often as not.
        level: 1 to `LAST_LEVEL`.
        channel: Of `CHANNELS`.
    """

    tenure: np.ndarray
    absence: np.ndarray
    frustration: np.ndarray
    level: np.ndarray
    channel: np.ndarray


def play_base(day: int, seen: Observed) -> np.ndarray:
    """Logit of playing on a day without the engagement's part, float64 [N].

    Args:
        day: Counted from `FIRST_DAY`.
        seen: At the day's begin.
    """
    weekday = (int(FIRST_DAY.astype("datetime64[D]").astype(int)) + 3 + day) % 7  # 0 is Monday
    calendar = 0.35 * (weekday >= 5) + 0.6 * any(begin <= day <= end for begin, end in HOLIDAYS)
    patch = sum(0.5 * np.exp(-(day - begin) / 5) for begin in PATCHES if day >= begin)
    habit = 1.2 * np.exp(-seen.tenure / 6) - 0.17 * np.minimum(seen.absence, 14)
    return np.asarray(-0.35 + calendar + patch + habit - 0.7 * seen.frustration)


def leave_base(day: int, seen: Observed, played: np.ndarray | bool) -> np.ndarray:
    """Logit of leaving after a day without the engagement's part, float64 [N].

    Args:
        day: Counted from `FIRST_DAY`.
        seen: At the day's end.
        played: Whether on this day, bool [N].
    """
    young = 1.7 * np.exp(-seen.tenure / 7)
    origin = 0.6 * (seen.channel == ADVERTISING) - 0.4 * (seen.channel == FRIEND)
    # Who is at the end of the content leaves, unless a patch has brought some.
    content = 0.9 * (seen.level >= LAST_LEVEL) * (not any(0 <= day - begin < 10 for begin in PATCHES))
    return np.asarray(-3.9 + young + origin + content + 1.2 * seen.frustration - 0.8 * ~np.asarray(played))


def probability(base: np.ndarray, slope: float, engagement: np.ndarray) -> np.ndarray:
    """σ(base + slope · engagement); the two broadcast."""
    return np.asarray(expit(base + slope * engagement))


def session_rate(engagement: np.ndarray) -> np.ndarray:
    """Mean of the Poisson number of further sessions, before it is cut at `MOST_SESSIONS` in all."""
    return np.asarray(np.exp(0.1 + 0.4 * engagement))


def frustration_after(before: np.ndarray, won: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """At the end of a day, float64 [N].

    Args:
        before: At its begin.
        won: Matches of the day.
        lost: The same.
    """
    matches = np.maximum(won + lost, 1)
    return np.asarray(RECOVERY * before + 0.8 * np.maximum(lost - won, 0) / matches)


def level_of(experience: np.ndarray) -> np.ndarray:
    """A match gives 1 point, a won one 2; int64."""
    return np.asarray(np.minimum(LAST_LEVEL, 1 + np.floor((experience / 2) ** 0.6)), np.int64)
