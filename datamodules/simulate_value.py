"""Players in their first week, and what they spend in the 90 days after it: most nothing, a few a lot.

The mean of each player's spending is known, and depends on the table's columns alone, so it is the best prediction that
there can be. Whether somebody pays is drawn first; the amounts of those who do are log-normal, as a zero-inflated
log-normal model has it, or gamma with the same mean and deviation, as it has not.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa

COUNTRIES = ("US", "KR", "JP", "DE", "BR", "IN", "ID", "TR")
WEALTH = np.array([0.6, 0.5, 0.8, 0.3, -0.3, -0.8, -0.7, -0.4])
CHANNELS = ("organic", "advertising", "friend", "influencer")
STORES = ("phone", "tablet", "computer")
BASE = -3.3  # set so that about one in five pays


def simulate_value(
    rows: int, seed: int, amounts: Literal["log_normal", "gamma"] = "log_normal"
) -> tuple[pa.Table, np.ndarray]:
    """A table of players with `spent_next_90d`, and the mean of each one's, float64 [N].

    Args:
        rows: How many.
        seed: Of all draws.
        amounts: Their distribution among those who pay.
    """
    rng = np.random.default_rng(seed)
    eager = rng.normal(size=rows)
    days = rng.binomial(7, 1 / (1 + np.exp(-0.3 - eager)))
    sessions = days + rng.poisson(days * np.exp(0.3 * eager))
    minutes = np.round(sessions * rng.gamma(4, 5, rows), 1)
    level = 1 + rng.poisson(np.sqrt(minutes) * 0.8)
    country, channel = rng.integers(0, len(COUNTRIES), rows), rng.choice(4, rows, p=[0.4, 0.3, 0.2, 0.1])
    store, friends = rng.choice(3, rows, p=[0.7, 0.1, 0.2]), rng.poisson(1.5, rows)
    began = rng.random(rows) < 1 / (1 + np.exp(2.8 - 0.5 * eager - 0.6 * WEALTH[country]))
    spent = np.where(began, np.round(rng.lognormal(1.5 + 0.5 * WEALTH[country], 0.9), 2), 0.0)
    age = np.where(rng.random(rows) < 0.2, np.nan, rng.integers(13, 60, rows))

    # Friends hold those who come by advertising; the level counts for those who play often alone.
    odds = BASE + 0.25 * days + 2.0 * began + 0.8 * WEALTH[country] + 0.04 * level * (days >= 4)
    odds += np.where(channel == 1, 0.35 * np.minimum(friends, 3) - 0.9, 0.3 * (channel == 2))
    log_mean = 1.6 + 0.6 * np.log1p(spent) + 0.5 * WEALTH[country] + 0.3 * (store == 2) + 0.015 * level
    log_mean += 0.4 * np.nan_to_num((age > 30) * 1.0)
    deviation = 0.8 + 0.3 * (store == 2) + 0.25 * began
    pays = 1 / (1 + np.exp(-odds))
    mean = np.exp(log_mean + deviation**2 / 2)
    if amounts == "log_normal":
        drawn = rng.lognormal(log_mean, deviation)
    else:
        shape = 1 / np.expm1(deviation**2)
        drawn = rng.gamma(shape, mean / shape)
    spends = rng.random(rows) < pays
    table = {
        "player_id": pa.array(np.char.add("p", np.arange(rows).astype(str))),
        "days_played": days,
        "sessions": sessions,
        "minutes": minutes,
        "level": level,
        "friends": friends,
        "spent_first_week": spent,
        "age": pa.array(age, from_pandas=True),
        "country": pa.array(np.array(COUNTRIES)[country]),
        "channel": pa.array(np.array(CHANNELS)[channel]),
        "store": pa.array(np.array(STORES)[store]),
        "spent_next_90d": np.where(spends, np.maximum(np.round(drawn, 2), 0.01), 0.0),
    }
    return pa.table(table), pays * mean
