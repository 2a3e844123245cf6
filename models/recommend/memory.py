"""How many items a matrix of items by items may have on this machine."""

from __future__ import annotations

import os
from math import isqrt
from pathlib import Path

MOST_ITEMS = 12_000  # beyond, solving takes minutes a matrix: its time grows with the cube
BYTES_OF_PAIR = 3 * 8 + 6 * 4  # three float64 matrices while one is solved, beside six solved ones of float32
SHARE = 0.5  # of the memory
CGROUP = Path("/sys/fs/cgroup/memory.max")


def dense_items() -> int:
    """Most items for which all pairs have a weight; above, an item has weights from its nearest ones alone."""
    return min(MOST_ITEMS, isqrt(int(SHARE * memory_bytes() / BYTES_OF_PAIR)))


def memory_bytes() -> int:
    """Physical memory, or what this control group may use of it; not what is free now: that changes from run to run."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = CGROUP.read_text().strip() if CGROUP.is_file() else "max"
    return min(physical, int(limit)) if limit.isdigit() else physical
