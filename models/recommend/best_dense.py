"""The best items by dense weights: found among float32 sums, ranked by exact ones."""

# B users of a batch, I items, K ranks, C candidates

from __future__ import annotations

import numpy as np
import torch
from ludocast.models.recommend.ranking import BATCH_SCORES, NOBODY, top_items
from scipy import sparse
from torch.nn import functional as F

MORE = 4  # candidates than ranks, among which sums in float64 decide


def best_dense(
    weights: np.ndarray, largest: np.ndarray, popularity: np.ndarray, history: sparse.csr_matrix, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `top_items` of the scores, what a user has left out.

    A sum of n numbers in float32 is off by at most n 2⁻²³ times the sum of their sizes, in whatever order they are
    added (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 4.2). Where an item that is no
    candidate could be better by that, all items are ranked in float64.

    Args:
        weights: float32 [I, I].
        largest: Size of the greatest weight of each row, [I].
        popularity: Scores of those without history [I].
        history: 1 where a user has an item, CSR [U, I].
        k: Ranks.
    """
    width = min(k, len(weights))
    items, scores = np.zeros((history.shape[0], width), np.int64), np.zeros((history.shape[0], width))
    table, size = torch.from_numpy(weights), max(1, BATCH_SCORES // len(weights))
    for begin in range(0, history.shape[0], size):
        part = history[begin : begin + size]
        end = begin + part.shape[0]
        is_done = np.zeros(part.shape[0], bool)
        if part.nnz and width + MORE <= len(weights):
            is_done = _ranked(table, largest, part, items[begin:end], scores[begin:end])
        rest = np.flatnonzero(~is_done)
        if len(rest):
            own = part[rest]
            used = np.unique(own.indices)
            every = np.asarray(sparse.csr_matrix(own[:, used]).astype(np.float64) @ weights[used].astype(np.float64))
            every[np.diff(own.indptr) == 0] = popularity
            items[begin + rest], scores[begin + rest] = top_items(every, width, own)
    return items, scores


def _ranked(
    table: torch.Tensor, largest: np.ndarray, part: sparse.csr_matrix, items: np.ndarray, scores: np.ndarray
) -> np.ndarray:
    """Fill in [B, K]; bool [B], for whom these are certainly the best."""
    k = items.shape[1]
    length = np.diff(part.indptr)
    row = np.repeat(np.arange(len(length)), length)
    own = torch.from_numpy(part.indices.astype(np.int64))
    sums = F.embedding_bag(own, table, torch.from_numpy(part.indptr[:-1].astype(np.int64)), mode="sum")
    sums[torch.from_numpy(row), own] = -torch.inf
    best, at = (one.numpy() for one in torch.topk(sums, k + MORE, dim=1))
    has = np.flatnonzero(length)  # `reduceat` needs one number or more
    exact = np.full(best.shape, -np.inf)
    found = table.numpy()[part.indices[:, None], at[row]]
    exact[has] = np.add.reduceat(found, part.indptr[:-1][has], axis=0, dtype=np.float64)
    exact[np.isneginf(best)] = -np.inf
    order = np.lexsort((at, -exact), axis=1)[:, :k]
    scores[:] = np.take_along_axis(exact, order, 1)
    items[:] = np.where(np.isneginf(scores), NOBODY, np.take_along_axis(at, order, 1))
    error = length * 2.0**-23 * (part @ largest)
    is_sure = (best[:, -1] + error < scores[:, -1]) | np.isneginf(best[:, -1])
    return np.asarray(is_sure & (length > 0))
