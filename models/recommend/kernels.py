"""The C loop of this folder, where a compiler built it; without it all runs in scipy, slower, with equal results."""

# I items, B users of a batch

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np
from scipy import sparse


@functools.cache
def extension() -> Any:
    """The module, or None."""
    try:
        return importlib.import_module("ludocast.models.recommend._kernels")
    except ImportError:
        return None


def best(
    outgoing: sparse.csr_matrix, values: np.ndarray, popularity: np.ndarray, history: sparse.csr_matrix, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best items that a user has not, of equal scores those that come first.

    Args:
        outgoing: Weights, from what a user has (row) to what is scored, CSR [I, I].
        values: Its data, float32.
        popularity: Scores of those without history [I].
        history: 1 where a user has an item, CSR [B, I].
        k: Ranks, at most I.

    Returns:
        As `ranking.top_items`.
    """
    items, scores = np.empty((history.shape[0], k), np.int64), np.empty((history.shape[0], k))
    own, weights = _csr(history), _csr(outgoing)
    data, popular = np.ascontiguousarray(values, np.float32), np.ascontiguousarray(popularity, np.float64)
    arrays = (*own, *weights, data, popular, items, scores)
    extension().best(history.shape[0], history.shape[1], k, *(one.ctypes.data for one in arrays))
    return items, scores


def _csr(matrix: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Starts of rows, int64, and columns, int32, checked: the loops look at no bound."""
    starts, columns = np.ascontiguousarray(matrix.indptr, np.int64), np.ascontiguousarray(matrix.indices, np.int32)
    if len(columns) and not 0 <= columns.min() <= columns.max() < matrix.shape[1]:
        raise ValueError("the matrix has columns that it is too narrow for")
    return starts, columns
