"""One decision tree, or a forest, by scikit-learn; as plain trees for export."""

# N rows, C outputs

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ludocast.datamodules.preprocess import Encoded
from ludocast.models.baselines import FOREST_ROWS, TREE_ROWS, available_cores
from ludocast.models.calibration import logits_of
from ludocast.models.table.boosting import Tree, round_down
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

FOREST_LEAF = 5


@dataclass(frozen=True)
class Trees:
    """Trees whose mean is the answer: the shares of the classes, or a number.

    Attributes:
        model: scikit-learn's tree or forest.
        classes: C; 0 of a number.
    """

    model: Any
    classes: int

    def scores(self, encoded: Encoded) -> np.ndarray:
        """float64 [N, C]: log odds of shares, or numbers."""
        if not self.classes:
            return np.asarray(self.model.predict(encoded.trees), np.float64)[:, None]
        shares = np.zeros((len(encoded.raw), self.classes))
        shares[:, self.model.classes_] = self.model.predict_proba(encoded.trees)
        return logits_of(shares)

    def trees(self) -> list[Tree]:
        """Whose leaves add up to the shares of all classes, or to the number."""
        found = getattr(self.model, "estimators_", [self.model])
        return [self._tree(one.tree_, len(found)) for one in found]

    def _tree(self, tree: Any, count: int) -> Tree:
        leaf = tree.children_left < 0
        value = tree.value[:, 0, :]
        if self.classes:
            shares = np.zeros((len(value), self.classes))
            shares[:, self.model.classes_] = value / value.sum(axis=1, keepdims=True)
            value = shares
        return Tree(
            np.where(leaf, -1, tree.feature),
            round_down(np.where(leaf, 0.0, tree.threshold)),
            tree.children_left,
            tree.children_right,
            tree.missing_go_to_left.astype(bool),
            value / count,
            0,
        )


def fit_tree(encoded: Encoded, label: np.ndarray, classes: int, leaf: float, seed: int) -> Trees:
    """One tree whose leaves hold so many rows or more."""
    kind = DecisionTreeClassifier if classes else DecisionTreeRegressor
    model = kind(min_samples_leaf=min(int(leaf), max(len(label) // 4, 1)), random_state=seed)
    return Trees(model.fit(encoded.trees, label), classes)


def fit_forest(encoded: Encoded, label: np.ndarray, classes: int, seed: int) -> Trees:
    """A forest; of many rows each tree gets a sample, and there are fewer trees."""
    rows = min(len(label), FOREST_ROWS)
    kind = RandomForestClassifier if classes else RandomForestRegressor
    model = kind(
        n_estimators=int(np.clip(TREE_ROWS // rows, 50, 100)),
        min_samples_leaf=FOREST_LEAF,
        max_samples=rows if rows < len(label) else None,
        max_features="sqrt" if classes else 1 / 3,
        n_jobs=available_cores(),
        random_state=seed,
    )
    model.fit(encoded.trees, label)
    # Several threads would add up the trees in a random order, and so round differently each time.
    return Trees(model.set_params(n_jobs=1), classes)
