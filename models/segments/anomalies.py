"""How odd a row is: scikit-learn's isolation forest over the scaled numbers and the rarity of categories."""

# N rows, D numbers, S code columns, V codes of all columns

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.preprocess import Encoded
from ludocast.models.table.tree import Tree
from sklearn.ensemble import IsolationForest

TREES = 200
EULER = 0.5772156649015329


@dataclass(frozen=True)
class Anomalies:
    """A fitted forest.

    Attributes:
        forest: For the scores of the training side.
        rarity: −log₁₀ of each code's share of the rows, float32 [V].
        offset: First code of each column in it, int64 [S].
        rows: Each tree has seen.
    """

    forest: IsolationForest
    rarity: np.ndarray
    offset: np.ndarray
    rows: int

    def inputs(self, encoded: Encoded) -> np.ndarray:
        """What the trees read, float32 [N, D + S]."""
        return np.hstack([encoded.numbers, self.rarity[encoded.codes + self.offset]])

    def scores(self, encoded: Encoded) -> np.ndarray:
        """2^(−mean depth / expected depth), float64 [N]: near 1 odd, below ½ ordinary (Liu et al., 2008, eq. 2)."""
        return np.asarray(-self.forest.score_samples(self.inputs(encoded)))

    def trees(self) -> list[Tree]:
        """The forest as trees of depths; their sum over `expected` is the exponent of the score, negated."""
        found = []
        for estimator in self.forest.estimators_:
            tree = estimator.tree_
            leaf = tree.children_left < 0
            depth = np.zeros(tree.node_count)
            for node in np.flatnonzero(~leaf):  # parents come before their children
                depth[[tree.children_left[node], tree.children_right[node]]] = depth[node] + 1
            value = np.where(leaf, depth + expected_depth(tree.n_node_samples), 0.0)
            # Rounded down, so that float32 inputs go where float64 thresholds send them.
            threshold = tree.threshold.astype(np.float32)
            above = threshold.astype(np.float64) > tree.threshold
            threshold[above] = np.nextafter(threshold[above], np.float32(-np.inf))
            feature = np.where(leaf, -1, tree.feature)
            found.append(
                Tree(
                    feature, threshold, np.maximum(tree.children_left, 0), np.maximum(tree.children_right, 0),
                    np.zeros(tree.node_count, bool), value, 0,
                )
            )  # fmt: skip
        return found

    @property
    def expected(self) -> float:
        """Trees times the depth that is expected of a row."""
        return len(self.forest.estimators_) * float(expected_depth(np.array([self.rows]))[0])


def expected_depth(rows: np.ndarray) -> np.ndarray:
    """Mean depth of a search without success in a binary tree of so many rows (Liu et al., 2008, eq. 1), float64."""
    n = np.maximum(rows.astype(np.float64), 1)
    many = 2 * (np.log(np.maximum(n - 1, 1)) + EULER) - 2 * (n - 1) / n
    return np.where(n <= 1, 0.0, np.where(n == 2, 1.0, many))


def fit_anomalies(encoded: Encoded, code_sizes: list[int], seed: int) -> Anomalies:
    """Fit on rows."""
    rows = len(encoded.numbers)
    parts = [np.bincount(encoded.codes[:, s], minlength=size) for s, size in enumerate(code_sizes)]
    counts = np.concatenate([*parts, np.zeros(0)])
    rarity = -np.log10(np.maximum(counts, 0.5) / rows).astype(np.float32)
    offset = np.cumsum([0, *code_sizes])[:-1].astype(np.int64)
    seen = min(256, rows)
    found = Anomalies(IsolationForest(n_estimators=TREES, max_samples=seen, random_state=seed), rarity, offset, seen)
    found.forest.fit(found.inputs(encoded))
    return found
