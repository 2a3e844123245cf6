"""Item-item models with few sources for each item, from the strongest products alone.

EASE is a ridge regression of each item on all others. Here each item is regressed on its nearest ones: the support of
SLIM (Ning & Karypis, ICDM 2011) fixed beforehand, each small system solved in closed form. Products of two sources that
neither of the two kept are taken as those of independent items, at most as strong as the weakest kept one (setting them
to 0, as sparse Markov random fields do (Steck, NeurIPS 2019), ranks worse).
"""

# I items, C kept products of each, S sources of each

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ludocast.models.recommend.products import Kept
from ludocast.models.recommend.sparse_weights import SparseWeights
from scipy import linalg


def cosine_weights(kept: Kept, neighbours: int, shrink: float) -> SparseWeights:
    """Product over the lengths and the shrinkage, of the nearest ones."""
    length = np.append(np.sqrt(kept.own), 1.0)
    near, values = kept.items[:, :neighbours], kept.values[:, :neighbours]
    return _sorted(near, values / np.maximum(length[near] * length[:-1, None] + shrink, np.finfo(float).tiny))


def conditional_weights(kept: Kept, neighbours: int, shrink: float) -> SparseWeights:
    """Product over the source's own one and the shrinkage, of the nearest ones."""
    own = np.append(kept.own, 1.0)
    near, values = kept.items[:, :neighbours], kept.values[:, :neighbours]
    return _sorted(near, values / np.maximum(own[near] + shrink, 1.0))


def walk_weights(kept: Kept, neighbours: int, alpha: float, beta: float) -> SparseWeights:
    """As of `RP3Beta`, of the nearest ones."""
    count = np.append(np.maximum(kept.owners, 1.0), 1.0)
    near, values = kept.items[:, :neighbours], kept.values[:, :neighbours]
    return _sorted(near, values * count[near] ** -alpha / count[:-1, None] ** beta)


def ease_weights(kept: Kept, neighbours: int, ridges: Sequence[tuple[float, float]]) -> list[SparseWeights]:
    """Each item regressed on its nearest ones.

    Args:
        kept: Products by cosine.
        neighbours: S.
        ridges: Penalty and dropout of each set of weights; what they share is computed once.
    """
    items = len(kept.items)
    sources = np.sort(kept.items[:, :neighbours], axis=1)
    found = [np.zeros(sources.shape, np.float32) for _ in ridges]
    place = np.full(items + 1, -1)  # of each item among the sources of the one at hand
    for item in range(items):
        own = sources[item, : np.searchsorted(sources[item], items)]
        place[own] = np.arange(len(own))
        products = _between(kept, own, place)
        target = np.zeros(len(own))
        target[place[kept.items[item, : len(own)]]] = kept.values[item, : len(own)]
        for values, (penalty, dropout) in zip(found, ridges, strict=True):
            products[np.diag_indices(len(own))] = kept.own[own] / (1 - dropout) + penalty
            values[item, : len(own)] = _solved(products, target)
        place[own] = -1
    return [SparseWeights(sources, values) for values in found]


def _between(kept: Kept, own: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Products of each two of these items, float64 [S, S]; place int [I + 1] of each item among them, −1 of others."""
    length = np.sqrt(kept.own[own])
    independent = np.multiply.outer(length, length)
    found = independent * np.minimum(independent / kept.total, np.minimum.outer(kept.limit[own], kept.limit[own]))
    at = place[kept.items[own]]
    row, column = np.nonzero(at >= 0)
    values, other = kept.values[own[row], column], at[row, column]
    found[row, other], found[other, row] = values, values
    return np.asarray(found)


def _solved(products: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The ridge regression; where imputed products left the matrix indefinite, with a higher penalty."""
    if not len(target):
        return target
    _, found, wrong = linalg.lapack.dposv(products, target)
    more = float(products.diagonal().mean())
    while wrong:
        _, found, wrong = linalg.lapack.dposv(products + more * np.eye(len(target)), target)
        more *= 2
    return np.asarray(found)


def _sorted(near: np.ndarray, values: np.ndarray) -> SparseWeights:
    order = np.argsort(near, axis=1)
    return SparseWeights(np.take_along_axis(near, order, 1), np.take_along_axis(values, order, 1).astype(np.float32))
