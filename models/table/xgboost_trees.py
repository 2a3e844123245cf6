"""Gradient boosting by XGBoost, its trees read out."""

# N rows, R raw inputs, C outputs

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ludocast.models.baselines import available_cores
from ludocast.models.number_loss import SQUARED, NumberLoss
from ludocast.models.table.boosting import Boosting, Shape
from ludocast.models.table.tree import Tree

LARGEST = np.finfo(np.float32).max


@dataclass(frozen=True)
class XgboostRounds:
    """`boosting.Rounds` of XGBoost."""

    model: Any

    def staged(self, raw: np.ndarray, rounds: Sequence[int]) -> list[np.ndarray]:
        """After each of some numbers of rounds."""
        rows, made = _matrix(raw), self.model.num_boosted_rounds()
        return [
            np.asarray(self.model.predict(rows, output_margin=True, iteration_range=(0, min(count, made))))
            for count in rounds
        ]

    def trees(self, rounds: int) -> list[Tree]:
        """Of so many rounds."""
        made = json.loads(self.model[: min(rounds, self.model.num_boosted_rounds())].save_raw("json"))
        model = made["learner"]["gradient_booster"]["model"]
        return [_tree(tree, output) for tree, output in zip(model["trees"], model["tree_info"], strict=True)]


def fit_xgboost(
    raw: np.ndarray, label: np.ndarray, classes: int, shape: Shape, rounds: int, seed: int,
    held_out: tuple[np.ndarray, np.ndarray] | None = None, loss: NumberLoss = SQUARED,
) -> Boosting:  # fmt: skip
    """As `fit_boosting` describes; trees grow level by level, as deep as so many leaves need."""
    import xgboost

    rows = shape.leaf_rows(label)
    settings: dict[str, Any] = {
        "objective": "binary:logistic" if classes == 2 else "multi:softprob" if classes else _OBJECTIVES[loss.name],
        # Logits, scaled numbers and logarithms begin at 0.
        "base_score": 0.5 if classes == 2 else 1.0 if loss.is_of_amounts else 0.0,
        "tree_method": "hist", "eta": shape.rate, "max_depth": int(np.ceil(np.log2(shape.leaves))),
        "max_leaves": shape.leaves, "lambda": shape.penalty, "subsample": shape.sample,
        "colsample_bytree": shape.columns,
        # A row weighs 1 in the second derivative of a squared error, at most a quarter in that of a log loss.
        "min_child_weight": rows / 4 if classes else rows,
        "seed": seed, "nthread": available_cores(), "verbosity": 0,
    }  # fmt: skip
    if classes > 2:
        settings["num_class"] = classes
    if loss.name == "quantile":
        settings["quantile_alpha"] = loss.quantile
    stops: dict[str, Any] = {}
    if held_out is not None:
        known = _matrix(held_out[0], held_out[1])
        stops = {"evals": [(known, "held_out")], "early_stopping_rounds": shape.patience, "verbose_eval": False}
    model = xgboost.train(settings, _matrix(raw, label), num_boost_round=rounds, **stops)
    return Boosting(XgboostRounds(model), np.zeros(classes if classes > 2 else 1), rounds)


_OBJECTIVES = {
    "squared": "reg:squarederror", "absolute": "reg:absoluteerror", "quantile": "reg:quantileerror",
    "poisson": "count:poisson", "tweedie": "reg:tweedie",
}  # fmt: skip


def _matrix(raw: np.ndarray, label: np.ndarray | None = None) -> Any:
    """Rows for XGBoost, which refuses infinite numbers: the largest finite ones go the same way."""
    import xgboost

    return xgboost.DMatrix(np.clip(raw, -LARGEST, LARGEST), label, nthread=available_cores())


def _tree(nodes: dict[str, Any], output: int) -> Tree:
    left = np.array(nodes["left_children"], np.int64)
    leaf = left < 0
    # Leaves hold their value where others have their threshold, both of them float32.
    number = np.array(nodes["split_conditions"], np.float32)
    # XGBoost goes left where x < threshold: where x is at most the number before it.
    before = np.nextafter(np.where(leaf, np.float32(0), number), np.float32(-np.inf))
    return Tree(
        np.where(leaf, -1, np.array(nodes["split_indices"], np.int64)),
        before.astype(np.float32),
        left,
        np.array(nodes["right_children"], np.int64),
        np.array(nodes["default_left"]).astype(bool),
        np.where(leaf, number.astype(np.float64), 0.0),
        output,
    )
