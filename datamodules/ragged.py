"""Segments of a flat array: their positions, and a binary search in all of them at once."""

# N segments, T entries of the flat array, S entries of all segments

from __future__ import annotations

import numpy as np


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """Where each of N segments that lie end to end begins, and where the last one ends, int64 [N + 1]."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def flat_positions(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The positions begin, …, end − 1 of each segment, one segment after the other.

    Args:
        begin: int64 [N].
        end: int64 [N], nowhere below `begin`.

    Returns:
        int64 [S].
    """
    offsets = offsets_of(end - begin)
    return np.repeat(begin - offsets[:-1], end - begin) + np.arange(offsets[-1])


def first_at_least(values: np.ndarray, begin: np.ndarray, end: np.ndarray, target: np.ndarray) -> np.ndarray:
    """In each segment the first position whose value is at least the target; `end` where there is none.

    Args:
        values: [T], ascending within each segment.
        begin: int64 [N].
        end: int64 [N].
        target: [N].

    Returns:
        int64 [N].
    """
    low, high = begin.copy(), end.copy()
    for _ in range(int(np.max(end - begin, initial=0)).bit_length()):
        open_ = low < high
        middle = (low + high) // 2
        below = open_ & (values[np.where(open_, middle, 0)] < target)
        low = np.where(below, middle + 1, low)
        high = np.where(open_ & ~below, middle, high)
    return low
