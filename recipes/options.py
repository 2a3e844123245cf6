"""Checks of options that several recipes have."""

from __future__ import annotations


def check_seed(seed: int) -> None:
    """Refuse what NumPy would.

    Raises:
        ValueError: In a sentence.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"--seed is a number from 0 to {2**32 - 1}, got {seed}")
