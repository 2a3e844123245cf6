"""Weights of items by items at fewer bits."""

# I items

from __future__ import annotations

from typing import Literal

import numpy as np

Precision = Literal["float32", "float16", "int8"]
BYTES: dict[str, int] = {"float32": 4, "float16": 2, "int8": 1}
LEVELS = 127  # of an int8, on each side of 0


def quantised(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers int8 [I, I], and the scale float32 [I] of each column: their product is the weight.

    The scale puts the largest weight towards an item, which is a column, at 127. It has 17 significant bits, so that
    products are exact in float32, and of weights that are such products already the same numbers come out again.

    Args:
        weights: float32 [I, I].
    """
    largest = np.abs(weights).max(axis=0, initial=0.0)
    bits = np.asarray(largest / LEVELS, np.float32).view(np.uint32)
    scale = ((bits + np.uint32(0x40)) & np.uint32(0xFFFFFF80)).view(np.float32)
    whole = np.rint(np.divide(weights, scale, out=np.zeros_like(weights), where=scale > 0))
    return np.clip(whole, -LEVELS, LEVELS).astype(np.int8), scale


def rounded(weights: np.ndarray, precision: Precision) -> np.ndarray:
    """The values that are stored, float32 [I, I]."""
    if precision == "float16":
        return weights.astype(np.float16).astype(np.float32)
    if precision == "int8":
        whole, scale = quantised(weights)
        return np.asarray(whole.astype(np.float32) * scale)
    return weights
