"""Items that nobody has yet: by its attributes each is mixed of the items that have users."""

# I items with users, M new items, F features, U users

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from ludocast.models.recommend.item_item import ItemItem, Popularity
from ludocast.models.recommend.ranking import Recommender
from ludocast.models.recommend.rerank import Reranker
from ludocast.models.recommend.sparse_weights import SparseWeights
from scipy import linalg, sparse

Model = TypeVar("Model", bound=Recommender)


@dataclass(frozen=True)
class ShareSettings:
    """How a new item is made of others.

    Attributes:
        penalty: Of the ridge regression below; an item of n users counts as if observed with a variance of penalty / n.
        own: What having an item says of itself, in units of its column's greatest weight.
    """

    penalty: float = 10.0
    own: float = 0.5


def shares_of(
    features_new: sparse.csr_matrix, features: sparse.csr_matrix, popularity: np.ndarray, penalty: float
) -> np.ndarray:
    """The share that each item has in each new one, float64 [I, M].

    With k the inner products of features, a ridge regression of whatever items have on their features predicts for a
    new item Σ_i a_i y_i with a = (K + penalty diag(1 / n))⁻¹ k (Rasmussen & Williams, Gaussian Processes for Machine
    Learning, 2006, equation 2.25, its noise by item), so the same shares serve every column of weights. Solved in F
    dimensions: a = N Φ (1 + Φᵀ N Φ)⁻¹ φ with N = diag(n / penalty).

    Args:
        features_new: φ of new items, CSR [M, F].
        features: Φ of items with users, CSR [I, F].
        popularity: n, users of each item [I].
        penalty: Above 0.
    """
    if not features.shape[1]:
        return np.zeros((features.shape[0], features_new.shape[0]))
    weighted = sparse.diags(popularity / penalty) @ features
    gram = np.asarray((features.T @ weighted).todense()) + np.eye(features.shape[1])
    solved = linalg.solve(gram, np.asarray(features_new.T.todense()), assume_a="pos")
    return np.asarray(weighted @ solved)


def with_new_items(model: Model, shares: np.ndarray, own: float, scale: float) -> Model:
    """The model with a catalogue of I + M items, the new ones last.

    A new item has the weights of the others, mixed by their shares, in both directions. What having an item says of
    itself no model tells: its own weight counts as `own` times the greatest one of its column. All weights towards new
    items are scaled, and so is their popularity, the mix of that of the others.

    Args:
        model: Fitted on I items; it stays as it is.
        shares: As of `shares_of` [I, M].
        own: As of `ShareSettings`.
        scale: Of new items beside others.
    """
    found = copy.copy(model)
    if isinstance(found, Reranker):
        found.signals = copy.copy(found.signals)
        found.signals.models = {
            name: with_new_items(one, shares, own, scale) for name, one in found.signals.models.items()
        }
        assert found.signals.popularity is not None
        found.signals.popularity = with_mixed(found.signals.popularity, shares, scale)
        return found
    assert isinstance(found, ItemItem | Popularity)
    assert found.popularity is not None
    found.popularity = with_mixed(found.popularity, shares, scale)
    if isinstance(found, ItemItem):
        weights, _ = found.fitted()
        if isinstance(weights, SparseWeights):
            found.weights = _sparse_weights(weights, shares, own, scale)
        else:
            found.weights = _weights(weights.astype(np.float64), shares, own, scale).astype(np.float32)
    return found


def beside_new(history: sparse.csr_matrix, new: int) -> sparse.csr_matrix:
    """The same pairs [U, I] beside a catalogue of so many more items, the new ones last."""
    return sparse.csr_matrix(
        (history.data, history.indices, history.indptr), (history.shape[0], history.shape[1] + new)
    )


def with_mixed(popularity: np.ndarray, shares: np.ndarray, scale: float) -> np.ndarray:
    """Popularity [..., I] with that of new items behind it: the mix of the others, scaled, and never below 0."""
    return np.concatenate([popularity, scale * np.maximum(popularity @ shares, 0)], axis=-1)


def _weights(weights: np.ndarray, shares: np.ndarray, own: float, scale: float) -> np.ndarray:
    with_own = weights + np.diag(own * weights.max(axis=0, initial=0))
    towards, away = with_own @ shares, shares.T @ weights
    between = shares.T @ with_own @ shares
    np.fill_diagonal(between, 0)
    return np.block([[weights, scale * towards], [away, scale * between]])


def _sparse_weights(weights: SparseWeights, shares: np.ndarray, own: float, scale: float) -> SparseWeights:
    """The same where an item has a few weights: a new one has as many, and speaks for nothing itself."""
    items, width = weights.sources.shape
    greatest = weights.values.max(axis=1, initial=0).astype(np.float64)
    towards = scale * (weights.outgoing @ shares + own * greatest[:, None] * shares)
    kept = np.sort(np.argsort(-np.abs(towards), axis=0, kind="stable")[:width], axis=0)
    values = np.take_along_axis(towards, kept, 0).T
    sources = np.where(weights.sources == items, items + shares.shape[1], weights.sources)
    return SparseWeights(
        np.concatenate([sources, kept.T]).astype(np.int32), np.concatenate([weights.values, values]).astype(np.float32)
    )
