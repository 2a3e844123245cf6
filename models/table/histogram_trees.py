"""Gradient boosting by scikit-learn, its trees read out."""

# N rows, R raw inputs, C outputs

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ludocast.models.number_loss import SQUARED, NumberLoss
from ludocast.models.table.boosting import Boosting, Shape
from ludocast.models.table.tree import Tree, round_down
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor


@dataclass(frozen=True)
class HistogramRounds:
    """`boosting.Rounds` of scikit-learn."""

    model: Any

    def staged(self, raw: np.ndarray, rounds: Sequence[int]) -> list[np.ndarray]:
        """After each of some numbers of rounds."""
        wanted = [min(count, self.model.n_iter_) for count in rounds]
        is_number = isinstance(self.model, HistGradientBoostingRegressor)
        staged = self.model.staged_predict if is_number else self.model.staged_decision_function
        stages = enumerate(staged(raw.astype(np.float64)), 1)
        found = {count: np.array(stage) for count, stage in stages if count in wanted}
        if is_number and self.model.loss == "poisson":
            found = {count: np.log(stage) for count, stage in found.items()}
        return [found[count] for count in wanted]

    def trees(self, rounds: int) -> list[Tree]:
        """Of so many rounds."""
        made = self.model._predictors[:rounds]
        return [_tree(tree.nodes, k) for one in made for k, tree in enumerate(one)]


def fit_histogram(
    raw: np.ndarray, label: np.ndarray, classes: int, shape: Shape, rounds: int, seed: int,
    held_out: tuple[np.ndarray, np.ndarray] | None = None,  # noqa: ARG001
    loss: NumberLoss = SQUARED,
) -> Boosting:  # fmt: skip
    """As `fit_boosting` describes; it makes all rounds."""
    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    by = {} if classes else _SETTINGS[loss.name]
    by = by | ({"quantile": loss.quantile} if loss.name == "quantile" else {})
    model = kind(
        learning_rate=shape.rate, max_iter=rounds, min_samples_leaf=shape.leaf_rows(label),
        max_leaf_nodes=shape.leaves, l2_regularization=shape.penalty, max_features=shape.columns,
        early_stopping=False, random_state=seed, **by,
    )  # fmt: skip
    model.fit(raw.astype(np.float64), label)
    return Boosting(HistogramRounds(model), np.asarray(model._baseline_prediction, np.float64).ravel(), rounds)


_SETTINGS: dict[str, dict[str, Any]] = {
    "squared": {},
    "absolute": {"loss": "absolute_error"},
    "quantile": {"loss": "quantile"},
    "poisson": {"loss": "poisson"},
    "tweedie": {"loss": "poisson"},  # the nearest that it has: the logarithm of the mean as well
}


def _tree(nodes: np.ndarray, output: int) -> Tree:
    leaf = nodes["is_leaf"].astype(bool)
    return Tree(
        np.where(leaf, -1, nodes["feature_idx"].astype(np.int64)),
        round_down(np.where(leaf, 0.0, nodes["num_threshold"])),
        nodes["left"].astype(np.int64),
        nodes["right"].astype(np.int64),
        nodes["missing_go_to_left"].astype(bool),
        nodes["value"].astype(np.float64),
        output,
    )
