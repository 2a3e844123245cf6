"""What a data scientist makes of daily activity for a table: 40 numbers a snapshot."""

from __future__ import annotations

import numpy as np


def day_features(bits: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Counts, recency, pauses, streaks, weeks and trends.

    Args:
        bits: Activity of each day, the last one yesterday, uint8 [N, 56].

    Returns:
        Names, and float32 [N, 40].
    """
    on = bits.astype(np.float32)
    newest = on[:, ::-1]
    found: dict[str, np.ndarray] = {}
    for days in (1, 2, 3, 5, 7, 10, 14, 21, 28, 42, 56):
        found[f"days active of {days}"] = newest[:, :days].sum(1)
    for week in range(8):
        found[f"week −{week + 1}"] = newest[:, 7 * week : 7 * week + 7].sum(1)
    for day in range(7):
        found[f"day −{day + 1}"] = newest[:, day]
    found["days since last"] = newest.argmax(1)
    found["days since first"] = 55 - on.argmax(1)
    found |= _pauses(bits)
    found["weeks active"] = sum((found[f"week −{k + 1}"] > 0).astype(np.float32) for k in range(8))  # type: ignore[assignment]
    found["trend of two weeks"] = found["days active of 7"] * 2 - found["days active of 14"]
    found["trend of four weeks"] = found["days active of 14"] * 2 - found["days active of 28"]
    found["trend of eight weeks"] = found["days active of 28"] * 2 - found["days active of 56"]
    lag7 = (on[:, 7:] * on[:, :-7]).sum(1)
    found["same weekday again"] = lag7 / np.maximum(on[:, 7:].sum(1), 1)
    found["deviation of weeks"] = np.stack([found[f"week −{k + 1}"] for k in range(8)]).std(0)
    return list(found), np.stack(list(found.values()), 1).astype(np.float32)


def _pauses(bits: np.ndarray) -> dict[str, np.ndarray]:
    """Lengths of the pauses between active days, and of the streaks of them."""
    N, L = bits.shape
    since, streak = np.full(N, -1), np.zeros(N)
    longest_streak, count = np.zeros(N), np.zeros(N)
    total, squares, longest = np.zeros(N), np.zeros(N), np.zeros(N)
    for day in range(L):
        on = bits[:, day] > 0
        pause = np.where(on & (since > 0), since, 0)
        count, total, squares = count + (pause > 0), total + pause, squares + pause**2
        longest = np.maximum(longest, pause)
        since = np.where(on, 0, np.where(since >= 0, since + 1, -1))
        streak = np.where(on, streak + 1, 0)
        longest_streak = np.maximum(longest_streak, streak)
    mean = total / np.maximum(count, 1)
    deviation = np.sqrt(np.maximum(squares / np.maximum(count, 1) - mean**2, 0))
    return {
        "pauses": count, "mean pause": mean, "deviation of pauses": deviation, "longest pause": longest,
        "streak": streak, "longest streak": longest_streak,
    }  # fmt: skip
