"""One binary tree, as all of ours are exported."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tree:
    """One binary tree over float32 inputs: go left where x ≤ threshold, missing as told.

    Attributes:
        feature: int [nodes], −1 at a leaf.
        threshold: float32 [nodes], rounded down, so that float32 inputs go where float64 thresholds send them.
        left, right: int [nodes].
        missing_left: bool [nodes].
        value: float64 [nodes], at leaves; or [nodes, C], one for each output from `output` on.
        output: Which logit it adds to.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    missing_left: np.ndarray
    value: np.ndarray
    output: int


def round_down(threshold: np.ndarray) -> np.ndarray:
    """float32 thresholds that send float32 inputs where the float64 ones do."""
    with np.errstate(over="ignore"):  # an infinite threshold parts the missing from all others
        near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float32)
