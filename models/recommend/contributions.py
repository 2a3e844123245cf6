"""What single items of a history say for a candidate: a sum does not tell one sure sign from many weak ones."""

# B users of a batch, C candidates, N weights of a candidate

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ludocast.models.recommend.item_item import ItemItem
from ludocast.models.recommend.sparse_weights import SparseWeights
from scipy import sparse

STRONGEST = 5


def contribution_names(name: str) -> list[str]:
    """Of the columns of `contributions`, for a model of this name."""
    places = [f"weight {place} of {name}" for place in range(1, STRONGEST + 1)]
    return [*places, f"positive weights of {name}", f"negative weights of {name}"]


def contributions(model: ItemItem, history: sparse.csr_matrix, items: np.ndarray) -> np.ndarray:
    """The weights from a user's items to each candidate, by their size.

    Args:
        model: Fitted.
        history: CSR [B, I].
        items: Candidates [B, C].

    Returns:
        float64 [B, C, 7]: the 5 greatest positive weights, the greatest first, 0 where there are fewer; how many are
        positive; the sum of the negative ones.
    """
    found = np.zeros((*items.shape, STRONGEST + 2))
    for rows, weight_bCN in _weights(model, history, items):
        positive = np.maximum(weight_bCN, 0)
        count = min(STRONGEST, positive.shape[2])
        if not count:
            continue
        greatest = np.partition(positive, positive.shape[2] - count, axis=2)[:, :, -count:]
        found[rows, :, :count] = np.sort(greatest, axis=2)[:, :, ::-1]
        found[rows, :, STRONGEST] = (weight_bCN > 0).sum(axis=2)
        found[rows, :, STRONGEST + 1] = np.minimum(weight_bCN, 0).sum(axis=2, dtype=np.float64)
    return found


def _weights(model: ItemItem, history: sparse.csr_matrix, items: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Some users at a time, float32 [b, C, N]; among them 0 of what a user has not."""
    weights, _ = model.fitted()
    if isinstance(weights, SparseWeights):
        yield from weights.spoken(history, items)
        return
    for user, candidates in enumerate(items):
        own = history.indices[history.indptr[user] : history.indptr[user + 1]]
        yield slice(user, user + 1), weights[np.ix_(own, candidates)].T[None]
