"""Time as inputs of a network: gaps between events on a log scale, hours and weekdays on circles."""

# T events of all sequences, N sequences

from __future__ import annotations

import numpy as np

DAY = 86_400.0
HOUR = 3_600.0
MONDAY = 4 * DAY  # 1970-01-01 was a Thursday


def log_gaps(times: np.ndarray, offsets: np.ndarray, unit: float = HOUR) -> np.ndarray:
    """log(1 + gap / unit) of each event since the one before it in its sequence; 0 for the first.

    Args:
        times: Seconds [T], ascending within each sequence.
        offsets: int64 [N + 1].
        unit: Seconds, where the scale turns from linear to logarithmic.

    Returns:
        float32 [T].
    """
    gaps = np.diff(times, prepend=times[:1])
    first = offsets[:-1]
    gaps[first[first < offsets[1:]]] = 0.0
    return np.log1p(gaps / unit).astype(np.float32)


def log_ages(times: np.ndarray, now: np.ndarray | float, unit: float = HOUR) -> np.ndarray:
    """log(1 + age / unit) of events at the moment of the question, float32 [T].

    Args:
        times: Seconds [T].
        now: Seconds, [T] or one for all; nowhere before the event.
        unit: Seconds, where the scale turns from linear to logarithmic.
    """
    return np.log1p((now - times) / unit).astype(np.float32)


def periodic(times: np.ndarray) -> np.ndarray:
    """Sine and cosine of the hour of the day and of the day of the week, in UTC.

    Args:
        times: Seconds since 1970 [T].

    Returns:
        float32 [T, 4]: sine and cosine of the day from midnight, of the week from Monday's midnight.
    """
    day = 2 * np.pi * (times % DAY) / DAY
    week = 2 * np.pi * ((times - MONDAY) % (7 * DAY)) / (7 * DAY)
    return np.stack([np.sin(day), np.cos(day), np.sin(week), np.cos(week)], axis=-1).astype(np.float32)
