"""One decision tree, or a forest, by scikit-learn; as plain trees for export."""

# N rows, C outputs

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ludocast.datamodules.preprocess import Encoded
from ludocast.models.baselines import FOREST_ROWS, TREE_ROWS, available_cores
from ludocast.models.calibration import logits_of
from ludocast.models.table.tree import Tree, round_down
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor


@dataclass(frozen=True)
class Forest:
    """How a forest is grown.

    Attributes:
        leaf: Rows of a leaf at least.
        columns: Share of the columns that a split may read; None for the root of their number, of numbers a third.
        random: Whether thresholds are drawn by chance (Geurts et al., 2006), and each tree has all rows.
    """

    leaf: int = 5
    columns: float | None = None
    random: bool = False


FOREST = Forest()


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


def fit_tree(
    encoded: Encoded, label: np.ndarray, classes: int, leaf: float, seed: int, *, amounts: bool = False
) -> Trees:
    """One tree whose leaves hold so many rows or more; of amounts by the Poisson deviance."""
    kind = DecisionTreeClassifier if classes else DecisionTreeRegressor
    criterion = {"criterion": "poisson"} if amounts else {}
    model = kind(min_samples_leaf=min(int(leaf), max(len(label) // 4, 1)), random_state=seed, **criterion)
    return Trees(model.fit(encoded.trees, label), classes)


def fit_forest(
    encoded: Encoded, label: np.ndarray, classes: int, seed: int, forest: Forest = FOREST, *, amounts: bool = False
) -> Trees:
    """A forest; of many rows each tree gets a sample, and there are fewer trees; of amounts by the Poisson deviance."""
    rows = min(len(label), FOREST_ROWS)
    usual = "sqrt" if classes else 1 / 3
    is_sample = rows < len(label)
    model = _FORESTS[forest.random, bool(classes)](
        n_estimators=int(np.clip(TREE_ROWS // rows, 50, 100)),
        min_samples_leaf=forest.leaf,
        bootstrap=is_sample or not forest.random,
        max_samples=rows if is_sample else None,
        max_features=usual if forest.columns is None else forest.columns,
        n_jobs=available_cores(),
        random_state=seed,
        **({"criterion": "poisson"} if amounts else {}),
    )
    model.fit(encoded.trees, label)
    # Several threads would add up the trees in a random order, and so round differently each time.
    return Trees(model.set_params(n_jobs=1), classes)


_FORESTS: dict[tuple[bool, bool], Any] = {
    (False, True): RandomForestClassifier,
    (False, False): RandomForestRegressor,
    (True, True): ExtraTreesClassifier,
    (True, False): ExtraTreesRegressor,
}
