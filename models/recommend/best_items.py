"""The best items by sparse weights, without a score for every item: most items get none from a short history."""

# B users of a batch, I items, K ranks, M scored items of a user

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from ludocast.models.recommend import kernels
from ludocast.models.recommend.ranking import NOBODY, top_items
from ludocast.models.recommend.sparse_weights import SparseWeights
from scipy import sparse

BATCH_PRODUCTS = 1 << 21  # weights that are added up at once: 24 MB of scores at most
GROUP = 64  # users whose scored items are padded to one width


def best_items(
    weights: SparseWeights, popularity: np.ndarray, history: sparse.csr_matrix, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `top_items` of the scores, what a user has left out.

    Args:
        weights: Of the model.
        popularity: Scores of those without history [I].
        history: 1 where a user has an item, CSR [U, I].
        k: Ranks.
    """
    width = min(k, len(weights))
    if kernels.extension() is not None:
        return kernels.best(weights.outgoing, weights.outgoing_values, popularity, history, width)
    items, scores = np.zeros((history.shape[0], width), np.int64), np.zeros((history.shape[0], width))
    for begin, end in _batches(history, weights.lengths):
        part = history[begin:end]
        found = part @ weights.outgoing_without_owned
        is_done = _by_rows(found, width, items[begin:end], scores[begin:end])
        for row in np.flatnonzero(~is_done).tolist():
            near = slice(found.indptr[row], found.indptr[row + 1])
            if near.start < near.stop <= near.start + len(weights) - width:
                items[begin + row], scores[begin + row] = _of_row(found.indices[near], found.data[near], width)
            else:  # no history, or of nearly all items
                own = part[row]
                every = weights.scores(own) if own.nnz else popularity[None]
                items[begin + row], scores[begin + row] = (one[0] for one in top_items(every, width, own))
    return items, scores


def _of_row(near: np.ndarray, score: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The K best where there are ties at the last rank, or few items above 0: all others have 0, the first count."""
    is_other = score != 0
    near, score = near[is_other], score[is_other]
    first = np.setdiff1d(np.arange(k + len(near)), near, assume_unique=True)[:k]
    near, score = np.concatenate([near, first]), np.concatenate([score, np.zeros(len(first))])
    order = np.lexsort((near, -score))[:k]
    return near[order], score[order]


def best_popular(popularity: np.ndarray, history: sparse.csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
    """As `top_items` where all users have the same scores, what a user has left out."""
    width = min(k, len(popularity))
    order = np.argsort(-popularity, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    items, scores = np.zeros((history.shape[0], width), np.int64), np.zeros((history.shape[0], width))
    for user in range(history.shape[0]):
        own = place[history.indices[history.indptr[user] : history.indptr[user + 1]]]
        is_left = np.ones(min(width + len(own), len(order)), bool)
        is_left[own[own < len(is_left)]] = False
        left = np.flatnonzero(is_left)[:width]
        items[user], scores[user] = NOBODY, -np.inf
        items[user, : len(left)], scores[user, : len(left)] = order[left], popularity[order[left]]
    return items, scores


def _batches(history: sparse.csr_matrix, lengths: np.ndarray) -> Iterator[tuple[int, int]]:
    """Users from and to; lengths are the weights of each item, float64 [I]."""
    work = np.cumsum(history @ lengths)
    begin = 0
    while begin < history.shape[0]:
        before = work[begin - 1] if begin else 0.0
        end = max(begin + 1, int(np.searchsorted(work, before + BATCH_PRODUCTS, side="right")))
        yield begin, end
        begin = end


def _by_rows(found: sparse.csr_matrix, k: int, items: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Fill in the K best of the stored entries of each row, [B, K]; bool [B], whether these are the K best of all."""
    indptr = found.indptr.tolist()
    lengths = np.diff(found.indptr)
    is_done = np.zeros(len(lengths), bool)
    order = np.argsort(lengths, kind="stable")
    order = order[np.searchsorted(lengths[order], k + 1) :]
    for start in range(0, len(order), GROUP):
        rows = order[start : start + GROUP]
        padded = np.empty((len(rows), int(lengths[rows[-1]])))
        for place, row in enumerate(rows.tolist()):
            size = indptr[row + 1] - indptr[row]
            padded[place, :size] = found.data[indptr[row] : indptr[row + 1]]
            padded[place, size:] = -np.inf
        # One more than is wanted shows whether there are ties, of which this function does not say which comes first.
        best, at = (one.numpy() for one in torch.topk(torch.from_numpy(padded), k + 1, dim=1))
        is_clear = (best[:, k - 1] > 0) & (best[:, :-1] > best[:, 1:]).all(axis=1)
        own = rows[is_clear]
        scores[own] = best[is_clear, :k]
        items[own] = found.indices[found.indptr[own][:, None] + at[is_clear, :k]]
        is_done[own] = True
    return is_done
