"""Weights of items by items of which each item has a few alone, and what is read off them."""

# B users of a batch, b of them at once, I items, C candidates, S sources of each item

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

GATHERED = 1 << 22  # weights that are looked up at once: 32 MB


@dataclass(frozen=True)
class SparseWeights:
    """Which items speak for each item, and how much.

    Attributes:
        sources: Items ascending, int32 [I, S]; I where an item has no further source.
        values: float32 [I, S]; 0 there.
    """

    sources: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def nbytes(self) -> int:
        """Of a graph's constants: by item, and once more by source."""
        return 2 * (self.sources.nbytes + self.values.nbytes)

    @cached_property
    def outgoing(self) -> sparse.csr_matrix:
        """The same from each source to the items it speaks for; float64 CSR [I, I] of float32 values."""
        items, width = self.sources.shape
        is_real = self.sources < items
        columns = np.repeat(np.arange(items, dtype=np.int32), width).reshape(items, width)[is_real]
        pairs = (self.sources[is_real], columns)
        return sparse.csr_matrix((self.values[is_real].astype(np.float64), pairs), (items, items))

    @cached_property
    def outgoing_values(self) -> np.ndarray:
        """Data of `outgoing` as float32."""
        return np.asarray(self.outgoing.data, np.float32)

    @cached_property
    def dense(self) -> np.ndarray:
        """The same of all pairs, float32 [I, I]."""
        return np.asarray(self.outgoing.toarray(), np.float32)

    @cached_property
    def outgoing_without_owned(self) -> sparse.csr_matrix:
        """The same with minus infinity on the diagonal: what a user has comes last."""
        return sparse.csr_matrix(self.outgoing + sparse.diags(np.full(len(self), -np.inf)))

    @cached_property
    def lengths(self) -> np.ndarray:
        """Items that each source speaks for, itself counted, float64 [I]."""
        return np.diff(self.outgoing_without_owned.indptr).astype(np.float64)

    def scores(self, history: sparse.csr_matrix) -> np.ndarray:
        """Sums of the weights from what each user has, float64 [B, I]."""
        return np.asarray((history.astype(np.float64) @ self.outgoing).toarray())

    def scores_of(self, history: sparse.csr_matrix, items: np.ndarray) -> np.ndarray:
        """The same of some items of each user [B, C] alone, looked up: float64 [B, C]."""
        found = np.zeros(items.shape)
        for rows, spoken_bCS in self.spoken(history, items):
            found[rows] = spoken_bCS.sum(axis=2, dtype=np.float64)
        return found

    def spoken(self, history: sparse.csr_matrix, items: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Some rows at a time of the weights of the sources of each item [B, C], 0 of what a user has not.

        Yields:
            Rows b of B, and float32 [b, C, S].
        """
        size = max(1, GATHERED // max(1, items.shape[1] * self.sources.shape[1]))
        for begin in range(0, len(items), size):
            part, rows = history[begin : begin + size], items[begin : begin + size]
            owned = np.zeros((part.shape[0], len(self) + 1), np.float32)
            owned[np.repeat(np.arange(part.shape[0]), np.diff(part.indptr)), part.indices] = 1
            has = np.take_along_axis(owned, self.sources[rows].reshape(len(rows), -1), 1)
            yield slice(begin, begin + len(rows)), has.reshape(*rows.shape, -1) * self.values[rows]

    def to(self, item: int, sources: np.ndarray) -> np.ndarray:
        """The weight from each of these items to one, float32 as `sources`."""
        place = np.searchsorted(self.sources[item], sources)
        at = np.minimum(place, self.sources.shape[1] - 1)
        return np.where(self.sources[item, at] == sources, self.values[item, at], np.float32(0))
