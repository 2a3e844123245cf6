"""Players of known groups, with columns of every kind: what finding segments is tested on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

COUNTRIES = ("KR", "JP", "US", "DE", "BR")
DEVICES = ("phone", "tablet", "computer")
# Of each group: share, level, playing days, share of play at night, log of spending, subscribers, where, on what.
GROUPS = (
    (0.35, 8, 4, 0.10, 0.5, 0.02, (5, 1, 1, 1, 1), (8, 1, 1)),
    (0.25, 30, 18, 0.15, 2.5, 0.30, (1, 5, 1, 1, 1), (1, 1, 8)),
    (0.20, 32, 22, 0.75, 3.0, 0.50, (1, 1, 5, 2, 1), (2, 1, 7)),
    (0.12, 60, 27, 0.30, 6.5, 0.95, (2, 2, 2, 2, 1), (1, 1, 9)),
    (0.08, 12, 25, 0.50, 0.3, 0.01, (1, 1, 1, 1, 9), (1, 9, 1)),
)


def simulate_segments(rows: int, seed: int, shares: Sequence[float] | None = None) -> tuple[pa.Table, np.ndarray]:
    """A table of players, and the true group of each row, int64 [N].

    Args:
        rows: How many.
        seed: Of all draws.
        shares: Of the groups; None for those of `GROUPS`.
    """
    rng = np.random.default_rng(seed)
    share = np.array([group[0] for group in GROUPS] if shares is None else shares, float)
    truth = rng.choice(len(GROUPS), rows, p=share / share.sum())
    level, days, night, spent, subscribed = (
        np.array([group[i] for group in GROUPS], float)[truth] for i in range(1, 6)
    )
    gap = rng.random(rows) < 0.03
    played = np.clip(rng.normal(days, 2.5), 0, 30).round(1)
    table = {
        "player_id": pa.array(np.char.add("p", np.arange(rows).astype(str))),
        "level": pa.array(np.clip(rng.normal(level, 4), 1, 80).round().astype(np.int64)),
        "days_played": pa.array(np.where(gap, np.nan, played), from_pandas=True),
        "night_share": pa.array(np.clip(rng.normal(night, 0.08), 0, 1).round(3)),
        "spent": pa.array(np.exp(rng.normal(spent, 0.6)).round(2)),
        "subscribed": pa.array(rng.random(rows) < subscribed),
        "country": _drawn(rng, truth, COUNTRIES, 6),
        "device": _drawn(rng, truth, DEVICES, 7),
        "joined": pa.array(
            (np.datetime64("2026-01-01") + rng.integers(0, 300, rows).astype("timedelta64[D]")).astype("datetime64[ms]")
        ),
    }
    return pa.table(table), truth


def _drawn(rng: np.random.Generator, truth: np.ndarray, names: Sequence[str], column: int) -> pa.Array:
    odds = np.array([group[column] for group in GROUPS], float)
    ends = np.cumsum(odds / odds.sum(axis=1, keepdims=True), axis=1)[truth]
    place = np.minimum((rng.random((len(truth), 1)) > ends).sum(axis=1), len(names) - 1)
    return pa.array(np.array(names)[place])
