"""Processes that end with the one that started them, however it ends."""

from __future__ import annotations

import ctypes
import signal
import sys

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux


def end_with_parent(number: signal.Signals) -> None:
    """Have the kernel send this process a signal once its parent is gone; only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, number)
