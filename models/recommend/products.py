"""Weighted counts of common users of all pairs of items, XᵀWX, of which each item's strongest are kept.

The matrix is computed in blocks of rows and never stands as a whole: 50,000 items have 2.5 billion pairs. Two
weightings of users take one pass, as real and imaginary part.
"""

# U users, I items, C kept of each item

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

BLOCK_ENTRIES = 8_000_000  # of a block of rows: 20 bytes each
PAIRED = (0.0, 0.5)


@dataclass(frozen=True)
class Kept:
    """The strongest products of each item with others, the strongest first.

    Attributes:
        items: int32 [I, C]; I where an item has no further product.
        values: Products, float64 [I, C]; 0 there.
        limit: Strength of an item's weakest kept one, float64 [I]; 0 where none was left out.
        own: Product of each item with itself, float64 [I].
        owners: Users of each item, float64 [I].
        total: Sum of the users' weights.
    """

    items: np.ndarray
    values: np.ndarray
    limit: np.ndarray
    own: np.ndarray
    owners: np.ndarray
    total: float


class Products:
    """Products of the items of a history, each kind computed once.

    Args:
        history: 1 where a user had an item, CSR [U, I].
        count: C; at most I − 1 are kept.
    """

    def __init__(self, history: sparse.csr_matrix, count: int) -> None:
        self.history, self.count = history, min(count, max(1, history.shape[1] - 1))
        self.owners = owners(history)
        self._found: dict[tuple[str, float], Kept] = {}
        self._by_item: sparse.csr_matrix | None = None

    def cosine(self, power: float) -> Kept:
        """Users weighted as by `user_weights`; strength is the cosine, product_ij / √(product_ii product_jj)."""
        if ("cosine", power) not in self._found:
            powers = PAIRED if power in PAIRED else (power,)
            weights = [user_weights(self.history, one) for one in powers]
            scales = [_inverse_root(self.history.T @ weight) for weight in weights]
            for one, kept in zip(powers, self._kept(weights, scales), strict=True):
                self._found["cosine", one] = kept
        return self._found["cosine", power]

    def walks(self, alpha: float) -> Kept:
        """Users weighted by n^−alpha, not scaled; strength of i to j is product_ij / n_i^alpha."""
        if ("walks", alpha) not in self._found:
            weight = np.maximum(np.diff(self.history.indptr), 1.0) ** -alpha
            scale = np.maximum(self.owners, 1.0) ** -alpha
            self._found["walks", alpha] = self._kept([weight], [scale])[0]
        return self._found["walks", alpha]

    def _kept(self, weights: list[np.ndarray], scales: list[np.ndarray]) -> list[Kept]:
        """By one or two weightings of users [U]; strength of i to j is the product times scale_i, of all i for a j."""
        items = self.history.shape[1]
        if self._by_item is None:
            flags = sparse.csr_matrix(
                (np.ones(self.history.nnz, np.int8), self.history.indices, self.history.indptr), self.history.shape
            )
            self._by_item = sparse.csr_matrix(flags.T)
        weight = weights[0] if len(weights) == 1 else weights[0] + 1j * weights[1]
        lengths = np.diff(self.history.indptr)
        right = sparse.csr_matrix(
            (np.repeat(weight, lengths), self.history.indices, self.history.indptr), self.history.shape
        )
        found = [
            Kept(
                np.full((items, self.count), items, np.int32), np.zeros((items, self.count)), np.zeros(items),
                self.history.T @ one, self.owners, float(one.sum()),
            )
            for one in weights
        ]  # fmt: skip
        for begin, end in _blocks(np.minimum(self._by_item @ lengths.astype(np.float64), items)):
            block = self._by_item[begin:end].astype(right.dtype) @ right
            for part, (kept, scale) in enumerate(zip(found, scales, strict=True)):
                values = block.data.real if part == 0 else block.data.imag
                _keep_strongest(kept, scale, begin, block.indptr, block.indices, values)
        return found


def _blocks(entries: np.ndarray) -> list[tuple[int, int]]:
    """Rows from and to, such that the entries of the rows between stay few; float64 [I], entries of each row."""
    found, begin, total = [], 0, 0.0
    for row, more in enumerate(entries.tolist()):
        if row > begin and total + more > BLOCK_ENTRIES:
            found.append((begin, row))
            begin, total = row, 0.0
        total += more
    return [*found, (begin, len(entries))]


def _keep_strongest(
    kept: Kept, scale: np.ndarray, begin: int, indptr: np.ndarray, indices: np.ndarray, values: np.ndarray
) -> None:
    """Fill in rows from `begin` on; of equal strengths the items that come first are kept."""
    count = kept.items.shape[1]
    for row in range(len(indptr) - 1):
        item = begin + row
        near, value = indices[indptr[row] : indptr[row + 1]], values[indptr[row] : indptr[row + 1]]
        others = near != item
        near, value = near[others], value[others]
        strength = value * scale[near]
        if len(near) > count:
            limit = np.partition(strength, len(near) - count)[len(near) - count]
            above, equal = np.flatnonzero(strength > limit), np.flatnonzero(strength == limit)
            equal = equal[np.argsort(near[equal])][: count - len(above)]
            taken = np.concatenate([above, equal])
            kept.limit[item] = limit * scale[item]
        else:
            taken = np.arange(len(near))
        order = taken[np.lexsort((near[taken], -strength[taken]))]
        kept.items[item, : len(order)], kept.values[item, : len(order)] = near[order], value[order]


def _inverse_root(own: np.ndarray) -> np.ndarray:
    """1 / √own, 0 of items of nobody."""
    return np.asarray(np.where(own > 0, np.maximum(own, np.finfo(float).tiny) ** -0.5, 0.0))


def owners(history: sparse.csr_matrix) -> np.ndarray:
    """Users of each item, float64 [I]."""
    return np.bincount(history.indices, minlength=history.shape[1]).astype(np.float64)


def user_weights(history: sparse.csr_matrix, power: float) -> np.ndarray:
    """n^−power of each user's number of items n, scaled to a mean of 1 over users with items; 0 for the others, [U]."""
    n = np.diff(history.indptr).astype(np.float64)
    weight = np.where(n > 0, np.maximum(n, 1) ** -power, 0.0)
    return np.asarray(weight / weight[n > 0].mean()) if (n > 0).any() else weight
