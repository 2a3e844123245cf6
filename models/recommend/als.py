"""Implicit alternating least squares with frequency-scaled regularisation (Rendle et al., RecSys 2022)."""

# U users, I items, D factors, B users of a batch

from __future__ import annotations

from typing import Self

import numpy as np
from ludocast.models.recommend.item_item import NotFittedError
from ludocast.models.recommend.products import owners
from scipy import linalg, sparse


class ImplicitALS:
    """Factors of users and items whose product is 1 at pairs, and 0 elsewhere at a lower weight.

    Minimises Σ_pairs (1 − w·h)² + α₀ Σ_all (w·h)² + λ (Σ_u (n_u + α₀ I)^ν ‖w_u‖² + Σ_i (n_i + α₀ U)^ν ‖h_i‖²), eq. 3
    with section 3.2's scaling. A user's factors follow from the history, so new users are no other case.

    Args:
        factors: D.
        penalty: λ.
        unobserved: α₀.
        power: ν.
        epochs: Of both sides.
        seed: Of the first factors, normal with deviation 0.1 / √D.
    """

    def __init__(
        self,
        factors: int = 64,
        penalty: float = 0.003,
        unobserved: float = 0.1,
        power: float = 1.0,
        epochs: int = 16,
        seed: int = 0,
    ) -> None:
        self.factors, self.penalty, self.unobserved = factors, penalty, unobserved
        self.power, self.epochs, self.seed = power, epochs, seed
        self.item_factors: np.ndarray | None = None
        self.popularity: np.ndarray | None = None

    def fit(self, history: sparse.csr_matrix) -> Self:
        """Alternate; as `Recommender.fit`."""
        by_item = sparse.csr_matrix(history.T)
        generator = np.random.default_rng(self.seed)
        H = generator.normal(0, 0.1 / np.sqrt(self.factors), (history.shape[1], self.factors))
        for _ in range(self.epochs):
            W = self._solved(history, H)
            H = self._solved(by_item, W)
        self.item_factors, self.popularity = H, owners(history)
        return self

    def scores(self, history: sparse.csr_matrix) -> np.ndarray:
        """Products of factors, float64 [B, I]; popularity where there is no history."""
        if self.item_factors is None or self.popularity is None:
            raise NotFittedError("ImplicitALS has learnt nothing yet; call fit")
        found = self._solved(history, self.item_factors) @ self.item_factors.T
        found[np.diff(history.indptr) == 0] = self.popularity
        return np.asarray(found)

    def _solved(self, rows: sparse.csr_matrix, other: np.ndarray) -> np.ndarray:
        """The best factors of one side, the other side's given."""
        common = self.unobserved * (other.T @ other)
        scale = self.penalty * (np.diff(rows.indptr) + self.unobserved * len(other)) ** self.power
        found = np.zeros((rows.shape[0], self.factors))
        for n in np.flatnonzero(np.diff(rows.indptr)):
            own = other[rows.indices[rows.indptr[n] : rows.indptr[n + 1]]]
            A = common + own.T @ own
            A[np.diag_indices(self.factors)] += scale[n]
            found[n] = linalg.solve(A, own.sum(axis=0), assume_a="pos", check_finite=False)
        return found
