"""Diverse suggestions: maximal marginal relevance over the best items of the model."""

# N histories, C of the best items, D numbers of an item's vector, K answers

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def diverse_order(scores: Array, vectors: Array, is_real: Array, diversity: float, k: int) -> Array:
    """Places of the items that are taken one after the other, int64 [N, min(k, C)].

    Each time the item of the greatest (1 - diversity) r - diversity m is taken (Carbonell & Goldstein, SIGIR 1998,
    section 2): r is its score, put between 0 for the lowest and 1 for the highest of the list, and m its greatest
    cosine with an item that was taken before, 0 for the first one and where it is negative. Of equal ones that which
    the model ranks first is taken; places that hold no item come last.

    Args:
        scores: Of the model, [N, C].
        vectors: Of the items, each of length 1 or all 0, [N, C, D].
        is_real: Whether a place holds an item, [N, C].
        diversity: From 0 to 1.
        k: Answers.
    """
    low = np.where(is_real, scores, np.inf).min(axis=1, keepdims=True)
    high = np.where(is_real, scores, -np.inf).max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        span = high - low
        relevance = np.where(span > 0, (np.where(is_real, scores, low) - low) / np.where(span > 0, span, 1.0), 1.0)
    cosine = np.einsum("ncd,nmd->ncm", vectors, vectors)
    rows = np.arange(len(scores))
    taken = np.zeros((len(scores), min(k, scores.shape[1])), np.int64)
    is_left = np.ones(scores.shape, bool)
    nearest = np.zeros(scores.shape)
    for place in range(taken.shape[1]):
        gain = (1 - diversity) * relevance - diversity * nearest
        # Places without an item stay behind all others, yet before those that are taken.
        best = np.argmax(np.where(is_left, np.where(is_real, gain, -1e9), -np.inf), axis=1)
        taken[:, place] = best
        is_left[rows, best] = False
        nearest = np.maximum(nearest, cosine[rows, best])
    return taken
