"""Gradient boosting by LightGBM, its trees read out."""

# N rows, R raw inputs, C outputs

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ludocast.models.number_loss import SQUARED, NumberLoss
from ludocast.models.table.boosting import Boosting, Shape
from ludocast.models.table.tree import Tree, round_down


@dataclass(frozen=True)
class LightgbmRounds:
    """`boosting.Rounds` of LightGBM."""

    model: Any

    def staged(self, raw: np.ndarray, rounds: Sequence[int]) -> list[np.ndarray]:
        """After each of some numbers of rounds."""
        plain = raw.astype(np.float64)
        made = self.model.current_iteration()
        known = {
            count: np.asarray(self.model.predict(plain, raw_score=True, num_iteration=count))
            for count in dict.fromkeys(min(count, made) for count in rounds)
        }
        return [known[min(count, made)] for count in rounds]

    def trees(self, rounds: int) -> list[Tree]:
        """Of so many rounds."""
        dump = self.model.dump_model(num_iteration=rounds)
        width = dump["num_tree_per_iteration"]
        return [_tree(t["tree_structure"], i % width) for i, t in enumerate(dump["tree_info"])]


def fit_lightgbm(
    raw: np.ndarray, label: np.ndarray, classes: int, shape: Shape, rounds: int, seed: int,
    held_out: tuple[np.ndarray, np.ndarray] | None = None, loss: NumberLoss = SQUARED,
) -> Boosting:  # fmt: skip
    """As `fit_boosting` describes."""
    import lightgbm

    binary = classes == 2
    objective = "binary" if binary else "multiclass" if classes else _OBJECTIVES[loss.name]
    settings = {
        "objective": objective, "num_leaves": shape.leaves, "learning_rate": shape.rate,
        "seed": seed, "min_data_in_leaf": shape.leaf_rows(label), "lambda_l2": shape.penalty,
        "feature_fraction": shape.columns, "bagging_fraction": shape.sample, "bagging_freq": 1, "verbosity": -1,
        "deterministic": True, "force_row_wise": True, "extra_trees": shape.random,
    }  # fmt: skip
    if classes > 2:
        settings["num_class"] = classes
    if loss.name == "quantile":
        settings["alpha"] = loss.quantile
    data = lightgbm.Dataset(raw.astype(np.float64), label)
    known = [] if held_out is None else [lightgbm.Dataset(held_out[0].astype(np.float64), held_out[1], reference=data)]
    stop: list[Any] = [lightgbm.early_stopping(shape.patience, verbose=False)] if known else []
    model = lightgbm.train(settings, data, num_boost_round=rounds, valid_sets=known, callbacks=stop)
    return Boosting(LightgbmRounds(model), np.zeros(classes if classes > 2 else 1), rounds)


_OBJECTIVES = {
    "squared": "regression", "absolute": "regression_l1", "quantile": "quantile", "poisson": "poisson",
    "tweedie": "tweedie",
}  # fmt: skip


def _tree(root: dict[str, Any], output: int) -> Tree:
    nodes: list[tuple[int, float, int, int, bool, float]] = []

    def visit(node: dict[str, Any]) -> int:
        at = len(nodes)
        nodes.append((-1, 0.0, 0, 0, False, 0.0))
        if "leaf_value" in node:
            nodes[at] = (-1, 0.0, 0, 0, False, float(node["leaf_value"]))
            return at
        left, right = visit(node["left_child"]), visit(node["right_child"])
        # A column without missing values in training has missing_type "None": LightGBM then reads NaN as 0.
        missing_left = node["default_left"] if node["missing_type"] == "NaN" else node["threshold"] >= 0
        nodes[at] = (node["split_feature"], float(node["threshold"]), left, right, bool(missing_left), 0.0)
        return at

    visit(root)
    feature, threshold, left, right, missing_left, value = (np.array(part) for part in zip(*nodes, strict=True))
    return Tree(feature, round_down(threshold), left, right, missing_left.astype(bool), value, output)
