"""Who plays the simulated game: what a studio knows of its players, and what it does not."""

# P players

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.simulate import COUNTRIES

FIRST_DAY = np.datetime64("2024-01-01")
ADVERTISING, FRIEND = 1, 2  # of CHANNELS
OWN_CHANNELS, OWN_CHANNEL_SHARES = (0, FRIEND, 3, 4, 5), (0.45, 0.22, 0.15, 0.1, 0.08)  # of who comes by himself
CAMPAIGNS = (24, 70, 116, 150)  # first days of the waves that advertising brings
COUNTRY_SHARES = (0.2, 0.12, 0.11, 0.1, 0.1, 0.08, 0.07, 0.06, 0.05, 0.04, 0.04, 0.03)
HOURS_FROM_UTC = (-6, -3, 7, 5, 9, 9, 1, 1, -6, 3, 7, 8)  # of COUNTRIES; half hours rounded
ENGAGEMENT = np.array([-1.6, -0.8, 0.0, 0.8, 1.6])  # hidden, one of these
ENGAGEMENT_SHARES = np.array([0.12, 0.24, 0.28, 0.24, 0.12])
KINDS = ("evening", "night", "all day")  # hidden: when someone plays, and how long
KIND_SHARES = (0.5, 0.2, 0.3)
PAYING = 0.3
BOTS = 0.001
TASTES = 6


@dataclass(frozen=True)
class Players:
    """All players, one an entry.

    Attributes:
        ids: Texts in no order, so that they tell nothing [P].
        arrival: Day of the first session, counted from `FIRST_DAY`, ascending, int64.
        country: Of `COUNTRIES`, int64.
        channel: Of `CHANNELS`, int64.
        engagement: Hidden; which of `ENGAGEMENT`, int64.
        kind: Hidden; of `KINDS`, int64.
        skill: Hidden; logit of winning a match against an average opponent, float64.
        shopping: Hidden; probability of a purchase at the end of a session, float64; 0 of most.
        taste: Hidden; which of `TASTES` groups of taste, int64.
        is_bot: Hidden; a program that plays day and night until it is banned.
    """

    ids: np.ndarray
    arrival: np.ndarray
    country: np.ndarray
    channel: np.ndarray
    engagement: np.ndarray
    kind: np.ndarray
    skill: np.ndarray
    shopping: np.ndarray
    taste: np.ndarray
    is_bot: np.ndarray

    def __len__(self) -> int:
        """Number of players."""
        return len(self.ids)


def draw_players(count: int, days: int, seed: int) -> Players:
    """Draw them; equal seeds give equal players.

    Args:
        count: P.
        days: Length of the game; the last ones to come come on its last day.
        seed: Of everything random.
    """
    generator = np.random.default_rng([seed, count, days])
    rate = arrival_rate(days)
    arrival = np.sort(generator.choice(days, count, p=rate.sum(axis=1) / rate.sum()))
    arrival[0] = 0
    advertised = generator.random(count) < (rate[:, 1] / rate.sum(axis=1))[arrival]
    channel = np.where(advertised, ADVERTISING, generator.choice(list(OWN_CHANNELS), count, p=OWN_CHANNEL_SHARES))
    engagement = generator.choice(len(ENGAGEMENT), count, p=ENGAGEMENT_SHARES)
    pays = generator.random(count) < PAYING
    return Players(
        ids=np.array([f"P{number:07d}" for number in generator.permutation(count)], object),
        arrival=arrival,
        country=generator.choice(len(COUNTRIES), count, p=COUNTRY_SHARES),
        channel=channel,
        engagement=engagement,
        kind=generator.choice(len(KINDS), count, p=KIND_SHARES),
        skill=generator.normal(0, 0.5, count),
        shopping=np.where(pays, generator.beta(1.5, 9, count), 0.0),
        taste=generator.integers(0, TASTES, count),
        is_bot=generator.random(count) < BOTS,
    )


def arrival_rate(days: int) -> np.ndarray:
    """Of each day, [days, 2]: by themselves, many at the launch; and by the waves of advertising."""
    day = np.arange(days)
    own = 1 + 6 * np.exp(-day / 8)
    waves = [np.where(day >= begin, 3.0 * np.exp(-(day - begin) / 4), 0.0) for begin in CAMPAIGNS]
    return np.stack([own, 0.15 + np.sum(waves, axis=0)], axis=1)
