"""Models whose score is history × a matrix of items by items, and what they share: limits, the answer to no history.

Each user's pairs count 1. Weights are solved in float64 and kept at the precision of float32, their sums taken in
float64: these are then as good as exact, so equal scores are equal in whatever order a runtime adds them.
"""

# U users, I items, B users of a batch

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import numpy as np
from scipy import linalg, sparse

MOST_ITEMS = 12_000  # 1.2 GB a matrix while it is solved, of which three stand at once


class NotFittedError(ValueError):
    """A model is asked before it has learnt."""


class ItemItem(ABC):
    """Base of the models with a weight from each item to each other one.

    Attributes:
        weights: float32 [I, I], from the item that a user has (row) to the item that is scored; 0 on
            the diagonal.
        popularity: Users of each item, float64 [I].
    """

    def __init__(self) -> None:
        self.weights: np.ndarray | None = None
        self.popularity: np.ndarray | None = None

    def fit(self, history: sparse.csr_matrix) -> Self:
        """Learn from who had what.

        Args:
            history: 1 where a user had an item, CSR [U, I].

        Raises:
            ValueError: If there are too many items for a dense matrix.
        """
        items = history.shape[1]
        if items > MOST_ITEMS:
            raise ValueError(
                f"{items:,} items: {type(self).__name__} holds a number for each pair of items, so at most "
                f"{MOST_ITEMS:,} fit; leave rare items out (--users_of_item)"
            )
        self.popularity = owners(history)
        self.weights = self._fitted(history.astype(np.float64)).astype(np.float32)
        return self

    @abstractmethod
    def _fitted(self, history: sparse.csr_matrix) -> np.ndarray:
        """The weights, float64 [I, I]."""

    def scores(self, history: sparse.csr_matrix) -> np.ndarray:
        """Sum of the weights from what a user has, float64 [B, I]; popularity where there is no history."""
        if self.weights is None or self.popularity is None:
            raise NotFittedError(f"{type(self).__name__} has learnt nothing yet; call fit")
        found = np.asarray(history.astype(np.float64) @ self.weights.astype(np.float64))
        found[np.diff(history.indptr) == 0] = self.popularity
        return found

    def because(self, history: sparse.csr_matrix, item: int, count: int = 3) -> np.ndarray:
        """The items of one history that speak most for an item, the strongest first; int64, `count` at most.

        Args:
            history: CSR [1, I].
            item: That was suggested.
            count: At most so many.
        """
        if self.weights is None:
            raise NotFittedError(f"{type(self).__name__} has learnt nothing yet; call fit")
        weight = self.weights[history.indices, item]
        order = np.argsort(-weight, kind="stable")[:count]
        return np.asarray(history.indices[order[weight[order] > 0]], np.int64)


def owners(history: sparse.csr_matrix) -> np.ndarray:
    """Users of each item, float64 [I]."""
    return np.bincount(history.indices, minlength=history.shape[1]).astype(np.float64)


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


class CosineNeighbours(ItemItem):
    """Item nearest neighbours by the cosine of their users (Sarwar et al., WWW 2001).

    Args:
        neighbours: Of an item that is scored, the most similar so many count; all when None.
        shrink: Added to the denominator, so that few common users count less.
    """

    def __init__(self, neighbours: int | None = None, shrink: float = 0.0) -> None:
        super().__init__()
        self.neighbours, self.shrink = neighbours, shrink

    def _fitted(self, history: sparse.csr_matrix) -> np.ndarray:
        common = (history.T @ history).toarray()
        length = np.sqrt(np.diag(common))
        with np.errstate(invalid="ignore"):  # items of nobody
            weights = np.nan_to_num(common / (np.outer(length, length) + self.shrink))
        np.fill_diagonal(weights, 0)
        return strongest(weights, self.neighbours)


class RP3Beta(ItemItem):
    """Random walks item → user → item, the end's popularity divided out (Paudel et al., TiiS 2017, section 4.2).

    Args:
        alpha: Exponent of each step's probability.
        beta: Exponent of the popularity that divides.
        neighbours: As of `CosineNeighbours`.
    """

    def __init__(self, alpha: float = 1.0, beta: float = 0.6, neighbours: int | None = None) -> None:
        super().__init__()
        self.alpha, self.beta, self.neighbours = alpha, beta, neighbours

    def _fitted(self, history: sparse.csr_matrix) -> np.ndarray:
        of_user = np.maximum(np.diff(history.indptr), 1.0)
        of_item = np.maximum(owners(history), 1.0)
        to_item = sparse.diags(of_user**-self.alpha) @ history
        to_user = sparse.diags(of_item**-self.alpha) @ history.T
        weights = (to_user @ to_item).toarray() / of_item**self.beta
        np.fill_diagonal(weights, 0)
        return strongest(weights, self.neighbours)


class EASE(ItemItem):
    """Closed-form linear autoencoder without self-weights (Steck, WWW 2019), its users weighted.

    Minimises Σ_u w_u ‖x_u − x_u B‖² + ‖Λ^½ B‖² with diag(B) = 0; then with P = (XᵀWX + Λ)⁻¹ (eq. 8 with W = 1, Λ = λ)
    B_ij = −P_ij / P_jj. With dropout p, Λ = λ + p / (1 − p) · diag(XᵀWX) (EDLAE: Steck, NeurIPS 2020, eq. 8).

    Args:
        penalty: λ, above 0.
        user_power: w_u = n_u^−power, scaled to a mean of 1 over users with items: 0.5 has long histories weigh less.
        dropout: p, from 0 on and below 1.
    """

    def __init__(self, penalty: float = 400.0, user_power: float = 0.0, dropout: float = 0.0) -> None:
        super().__init__()
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


def user_weights(history: sparse.csr_matrix, power: float) -> np.ndarray:
    """n^−power of each user's number of items n, scaled to a mean of 1 over users with items; 0 for the others, [U]."""
    n = np.diff(history.indptr).astype(np.float64)
    weight = np.where(n > 0, np.maximum(n, 1) ** -power, 0.0)
    return np.asarray(weight / weight[n > 0].mean()) if (n > 0).any() else weight


def strongest(weights: np.ndarray, neighbours: int | None) -> np.ndarray:
    """Only the largest so many of each column, of equal ones those that come first; all when None."""
    if neighbours is None or neighbours >= len(weights):
        return weights
    kept = np.argsort(-weights, axis=0, kind="stable")[:neighbours]
    found = np.zeros_like(weights)
    np.put_along_axis(found, kept, np.take_along_axis(weights, kept, 0), 0)
    return found


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Of a symmetric positive definite matrix, by its Cholesky factor: half the work of `numpy.linalg.inv`."""
    factor, wrong = linalg.lapack.dpotrf(matrix, lower=True)
    inverse, wrong_too = linalg.lapack.dpotri(factor, lower=True)
    if wrong or wrong_too:
        raise ValueError("the items' matrix cannot be inverted; raise the penalty")
    lower = np.tril(inverse)
    return np.asarray(lower + np.tril(inverse, -1).T)
