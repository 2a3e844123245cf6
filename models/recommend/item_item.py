"""Models whose score is history × a matrix of items by items, and what they share: limits, the answer to no history.

Each user's pairs count 1. Weights are solved in float64 and kept at the precision of float32, their sums taken in
float64: these are then as good as exact, so equal scores are equal in whatever order a runtime adds them.

The matrix is dense, or sparse: then an item has weights from its nearest ones alone. Sparse are models that are told
their number of neighbours, and all of them where a dense matrix has no room.
"""

# U users, I items, B users of a batch

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np
from ludocast.models.recommend import kernels
from ludocast.models.recommend.best_dense import best_dense
from ludocast.models.recommend.best_items import best_items, best_popular
from ludocast.models.recommend.memory import dense_items
from ludocast.models.recommend.precision import Precision
from ludocast.models.recommend.products import Products, owners, user_weights
from ludocast.models.recommend.sparse_fit import conditional_weights, cosine_weights, ease_weights, walk_weights
from ludocast.models.recommend.sparse_weights import SparseWeights
from scipy import linalg, sparse

NEIGHBOURS = 100  # of an item, where a dense matrix has no room
DENSE_FASTER = 4_000  # items, up to which adding up whole rows takes less time than finding the few weights in scipy
KEPT = 3  # products that are kept of an item for each neighbour that EASE regresses on


class NotFittedError(ValueError):
    """A model is asked before it has learnt."""


class ItemItem(ABC):
    """Base of the models with a weight from each item to each other one.

    Attributes:
        neighbours: Of an item that is scored, so many have a weight; None is all, as far as there is room.
        weights: float32 [I, I], from the item that a user has (row) to the item that is scored, 0 on the diagonal; or
            sparse.
        popularity: Users of each item, float64 [I].
        precision: At which a graph stores dense weights; they have its values (`stored_weights.store_at`).
    """

    def __init__(self, neighbours: int | None = None) -> None:
        if neighbours is not None and neighbours < 1:
            raise ValueError(f"an item needs 1 neighbour or more, got {neighbours}")
        self.neighbours = neighbours
        self.weights: np.ndarray | SparseWeights | None = None
        self._largest: tuple[np.ndarray, np.ndarray] | None = None  # weights, and the greatest size in each row
        self.popularity: np.ndarray | None = None
        self.precision: Precision = "float32"

    def fit(self, history: sparse.csr_matrix) -> Self:
        """Learn from who had what.

        Args:
            history: 1 where a user had an item, CSR [U, I].
        """
        fit_together([self], history)
        return self

    @abstractmethod
    def _fitted(self, history: sparse.csr_matrix) -> np.ndarray:
        """The weights of all pairs, float64 [I, I]."""

    def _fitted_sparse(self, products: Products, neighbours: int) -> SparseWeights:  # noqa: ARG002
        """The weights of so many neighbours of each item."""
        raise ValueError(
            f"{type(self).__name__} has no sparse form, and a number for each pair of items has room for "
            f"{dense_items():,} items here, not for {len(products.owners):,}; leave rare items out (--users-of-item)"
        )

    def scores(self, history: sparse.csr_matrix) -> np.ndarray:
        """Sum of the weights from what a user has, float64 [B, I]; popularity where there is no history."""
        weights, popularity = self.fitted()
        if isinstance(weights, SparseWeights):
            found = weights.scores(history)
        else:
            found = np.asarray(history.astype(np.float64) @ weights.astype(np.float64))
        found[np.diff(history.indptr) == 0] = popularity
        return found

    def scores_of(self, history: sparse.csr_matrix, items: np.ndarray) -> np.ndarray:
        """The same of some items of each user alone.

        Args:
            history: CSR [B, I].
            items: [B, C].

        Returns:
            float64 [B, C].
        """
        weights, popularity = self.fitted()
        if not isinstance(weights, SparseWeights):
            return np.take_along_axis(self.scores(history), items, 1)
        found = weights.scores_of(history, items)
        is_new = np.diff(history.indptr) == 0
        found[is_new] = popularity[items[is_new]]
        return found

    def best(self, history: sparse.csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best items that are not in the history; as `RanksAlone`."""
        weights, popularity = self.fitted()
        if isinstance(weights, SparseWeights):
            if len(weights) > DENSE_FASTER or kernels.extension() is not None:
                return best_items(weights, popularity, history, k)
            weights = weights.dense
        if self._largest is None or self._largest[0] is not weights:
            self._largest = weights, np.abs(weights).max(axis=1)
        return best_dense(weights, self._largest[1], popularity, history, k)

    def because(self, history: sparse.csr_matrix, item: int, count: int = 3) -> np.ndarray:
        """The items of one history that speak most for an item, the strongest first; int64, `count` at most.

        Args:
            history: CSR [1, I].
            item: That was suggested.
            count: At most so many.
        """
        weights, _ = self.fitted()
        own = history.indices
        weight = weights.to(item, own) if isinstance(weights, SparseWeights) else weights[own, item]
        order = np.argsort(-weight, kind="stable")[:count]
        return np.asarray(own[order[weight[order] > 0]], np.int64)

    def fitted(self) -> tuple[np.ndarray | SparseWeights, np.ndarray]:
        """Weights and popularity.

        Raises:
            NotFittedError: Before `fit`.
        """
        if self.weights is None or self.popularity is None:
            raise NotFittedError(f"{type(self).__name__} has learnt nothing yet; call fit")
        return self.weights, self.popularity


def fit_together(models: Sequence[ItemItem], history: sparse.csr_matrix) -> None:
    """Fit several models on one history; the sparse ones share the products of items.

    Args:
        models: Of any kind.
        history: 1 where a user had an item, CSR [U, I].
    """
    has_room = history.shape[1] <= dense_items()
    few: dict[int, ItemItem] = {}
    for place, model in enumerate(models):
        model.popularity, model.precision = owners(history), "float32"
        if model.neighbours is None and has_room:
            model.weights = model._fitted(history.astype(np.float64)).astype(np.float32)
        else:
            few[place] = model
    if not few:
        return
    most = max(_neighbours(model) * (KEPT if isinstance(model, EASE) else 1) for model in few.values())
    products = Products(history, most)
    alike: dict[tuple[float, int], list[EASE]] = {}  # have the products of each item's sources in common, too
    for model in few.values():
        if isinstance(model, EASE):
            alike.setdefault((model.user_power, _neighbours(model)), []).append(model)
        else:
            model.weights = model._fitted_sparse(products, _neighbours(model))
    for (power, neighbours), group in alike.items():
        ridges = [(one.penalty, one.dropout) for one in group]
        for one, weights in zip(group, ease_weights(products.cosine(power), neighbours, ridges), strict=True):
            one.weights = weights


def _neighbours(model: ItemItem) -> int:
    return NEIGHBOURS if model.neighbours is None else model.neighbours


class Popularity:
    """Ranks by the number of users who have an item."""

    def __init__(self) -> None:
        self.popularity: np.ndarray | None = None

    def fit(self, history: sparse.csr_matrix) -> Self:
        """Count users; as `Recommender.fit`."""
        self.popularity = owners(history)
        return self

    def scores(self, history: sparse.csr_matrix) -> np.ndarray:
        """The same for all, float64 [B, I]."""
        if self.popularity is None:
            raise NotFittedError("Popularity has learnt nothing yet; call fit")
        return np.tile(self.popularity, (history.shape[0], 1))

    def best(self, history: sparse.csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k most popular items that are not in the history; as `RanksAlone`."""
        if self.popularity is None:
            raise NotFittedError("Popularity has learnt nothing yet; call fit")
        return best_popular(self.popularity, history, k)


class CosineNeighbours(ItemItem):
    """Item nearest neighbours by the cosine of their users (Sarwar et al., WWW 2001).

    Args:
        neighbours: Of an item that is scored, the most similar so many count; all when None, as far as there is room.
        shrink: Added to the denominator, so that few common users count less.
    """

    def __init__(self, neighbours: int | None = None, shrink: float = 0.0) -> None:
        super().__init__(neighbours)
        self.shrink = shrink

    def _fitted(self, history: sparse.csr_matrix) -> np.ndarray:
        common = (history.T @ history).toarray()
        length = np.sqrt(np.diag(common))
        with np.errstate(invalid="ignore"):  # items of nobody
            weights = np.nan_to_num(common / (np.outer(length, length) + self.shrink))
        np.fill_diagonal(weights, 0)
        return np.asarray(weights)

    def _fitted_sparse(self, products: Products, neighbours: int) -> SparseWeights:
        return cosine_weights(products.cosine(0.0), neighbours, self.shrink)


class ConditionalNeighbours(ItemItem):
    """Share of an item's users who have another one too (Deshpande & Karypis, TOIS 2004, section 4.2.2, its α 0).

    Args:
        neighbours: As of `CosineNeighbours`; the most similar are those by cosine.
        shrink: Added to the number of users, so that a share of few users counts less.
    """

    def __init__(self, neighbours: int | None = None, shrink: float = 2.0) -> None:
        super().__init__(neighbours)
        self.shrink = shrink

    def _fitted(self, history: sparse.csr_matrix) -> np.ndarray:
        common = (history.T @ history).toarray()
        weights = common / np.maximum(np.diag(common)[:, None] + self.shrink, 1.0)
        np.fill_diagonal(weights, 0)
        return np.asarray(weights)

    def _fitted_sparse(self, products: Products, neighbours: int) -> SparseWeights:
        return conditional_weights(products.cosine(0.0), neighbours, self.shrink)


class RP3Beta(ItemItem):
    """Random walks item → user → item, the end's popularity divided out (Paudel et al., TiiS 2017, section 4.2).

    Args:
        alpha: Exponent of each step's probability.
        beta: Exponent of the popularity that divides.
        neighbours: As of `CosineNeighbours`.
    """

    def __init__(self, alpha: float = 1.0, beta: float = 0.6, neighbours: int | None = None) -> None:
        super().__init__(neighbours)
        self.alpha, self.beta = alpha, beta

    def _fitted(self, history: sparse.csr_matrix) -> np.ndarray:
        of_user = np.maximum(np.diff(history.indptr), 1.0)
        of_item = np.maximum(owners(history), 1.0)
        to_item = sparse.diags(of_user**-self.alpha) @ history
        to_user = sparse.diags(of_item**-self.alpha) @ history.T
        weights = (to_user @ to_item).toarray() / of_item**self.beta
        np.fill_diagonal(weights, 0)
        return np.asarray(weights)

    def _fitted_sparse(self, products: Products, neighbours: int) -> SparseWeights:
        return walk_weights(products.walks(self.alpha), neighbours, self.alpha, self.beta)


class EASE(ItemItem):
    """Closed-form linear autoencoder without self-weights (Steck, WWW 2019), its users weighted.

    Minimises Σ_u w_u ‖x_u − x_u B‖² + ‖Λ^½ B‖² with diag(B) = 0; then with P = (XᵀWX + Λ)⁻¹ (eq. 8 with W = 1, Λ = λ)
    B_ij = −P_ij / P_jj. With dropout p, Λ = λ + p / (1 − p) · diag(XᵀWX) (EDLAE: Steck, NeurIPS 2020, eq. 8).

    Args:
        penalty: λ, above 0.
        user_power: w_u = n_u^−power, scaled to a mean of 1 over users with items: 0.5 has long histories weigh less.
        dropout: p, from 0 on and below 1.
        neighbours: Each item is regressed on the so many nearest by the cosine of their weighted users; all when None.
    """

    def __init__(
        self, penalty: float = 400.0, user_power: float = 0.0, dropout: float = 0.0, neighbours: int | None = None
    ) -> None:
        super().__init__(neighbours)
        if not penalty > 0 or not 0 <= dropout < 1:
            raise ValueError(f"EASE needs a penalty above 0 and a dropout in [0, 1), got {penalty:g} and {dropout:g}")
        self.penalty, self.user_power, self.dropout = penalty, user_power, dropout

    def _fitted(self, history: sparse.csr_matrix) -> np.ndarray:
        weight = user_weights(history, self.user_power)
        gram = (history.T @ sparse.diags(weight) @ history).toarray()
        np.fill_diagonal(gram, np.diag(gram) * (1 + self.dropout / (1 - self.dropout)) + self.penalty)
        P = _inverse(gram)
        B = P / -np.diag(P)
        np.fill_diagonal(B, 0)
        return B


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Of a symmetric positive definite matrix, by its Cholesky factor: half the work of `numpy.linalg.inv`."""
    factor, wrong = linalg.lapack.dpotrf(matrix, lower=True)
    inverse, wrong_too = linalg.lapack.dpotri(factor, lower=True)
    if wrong or wrong_too:
        raise ValueError("the items' matrix cannot be inverted; raise the penalty")
    lower = np.tril(inverse)
    whole = lower + lower.T
    np.fill_diagonal(whole, np.diag(lower))
    return np.asarray(whole)
