"""Popularity by segment: a tree parts players by their attributes, each part has its own popularity."""

# U players, D numbers of a player, I items, L leaves

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from ludocast.models.recommend.item_item import NotFittedError
from ludocast.models.recommend.products import owners
from scipy import sparse
from sklearn.tree import DecisionTreeRegressor

TOLD_BY = 64  # the most popular items, whose buyers the segments are to tell apart
LEAST_USERS = 20  # of a segment
MOST_USERS = 100_000  # from which the tree is grown


@dataclass(frozen=True)
class SegmentTree:
    """The tree's nodes; a player goes left where the number is at most the threshold.

    Attributes:
        feature: int64 [nodes], −1 at a leaf.
        threshold: float32 [nodes], rounded down, so that float32 numbers go where float64 thresholds send them.
        left: int64 [nodes].
        right: The same.
        leaf: int64 [nodes], number of the segment at a leaf, −1 elsewhere.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    leaf: np.ndarray

    def segments(self, vectors: np.ndarray) -> np.ndarray:
        """Segment of each player, int64 [B], of float32 [B, D]."""
        node = np.zeros(len(vectors), np.int64)
        row = np.arange(len(vectors))
        while (self.feature[node] >= 0).any():
            inner = self.feature[node] >= 0
            goes_left = vectors[row, np.maximum(self.feature[node], 0)] <= self.threshold[node]
            node = np.where(inner, np.where(goes_left, self.left[node], self.right[node]), node)
        return np.asarray(self.leaf[node])


class SegmentPopularity:
    """Share of a segment's players who have an item, drawn towards that of all.

    The tree minimises the variance, within segments, of who has the most popular items.

    Args:
        segments: L at most.
        smoothing: Players of the whole that are added to each segment.
    """

    def __init__(self, segments: int = 16, smoothing: float = 50.0) -> None:
        self.segments, self.smoothing = segments, smoothing
        self.tree: SegmentTree | None = None
        self.table: np.ndarray | None = None  # float64 [L, I]

    def fit(self, vectors: np.ndarray, history: sparse.csr_matrix) -> Self:
        """Grow the tree and count.

        Args:
            vectors: Numbers of the players, float32 [U, D].
            history: 1 where a player had an item, CSR [U, I].
        """
        popularity = owners(history)
        told_by = np.sort(np.argsort(-popularity, kind="stable")[:TOLD_BY])
        drawn = np.arange(len(vectors))
        if len(drawn) > MOST_USERS:
            drawn = np.sort(np.random.default_rng(0).choice(len(drawn), MOST_USERS, replace=False))
        grower = DecisionTreeRegressor(max_leaf_nodes=self.segments, min_samples_leaf=LEAST_USERS, random_state=0)
        grower.fit(vectors[drawn], history[drawn][:, told_by].toarray())
        self.tree = _tree_of(grower)
        of = self.tree.segments(vectors)
        count = int(self.tree.leaf.max()) + 1
        inside = sparse.csr_matrix((np.ones(len(of)), (of, np.arange(len(of)))), shape=(count, len(of)))
        users = np.bincount(of, minlength=count)[:, None]
        share = popularity / len(vectors)
        self.table = ((inside @ history).toarray() + self.smoothing * share) / (users + self.smoothing)
        return self

    def scores(self, vectors: np.ndarray) -> np.ndarray:
        """Shares of the players' segments, float64 [B, I]."""
        if self.tree is None or self.table is None:
            raise NotFittedError("SegmentPopularity has learnt nothing yet; call fit")
        return np.asarray(self.table[self.tree.segments(vectors)])


def _tree_of(grower: DecisionTreeRegressor) -> SegmentTree:
    nodes = grower.tree_
    is_leaf = nodes.children_left < 0
    threshold = nodes.threshold.astype(np.float32)
    threshold = np.where(threshold > nodes.threshold, np.nextafter(threshold, np.float32(-np.inf)), threshold)
    leaf = np.where(is_leaf, np.cumsum(is_leaf) - 1, -1)
    return SegmentTree(
        np.where(is_leaf, -1, nodes.feature).astype(np.int64), threshold.astype(np.float32),
        nodes.children_left.astype(np.int64), nodes.children_right.astype(np.int64), leaf.astype(np.int64),
    )  # fmt: skip
