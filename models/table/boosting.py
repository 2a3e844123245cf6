"""Gradient boosting beside the network: scikit-learn's, or LightGBM where installed; as plain trees for export."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

ROUNDS = (25, 50, 100, 150, 200, 300, 400, 600, 800, 1200)  # among which held-out rows choose


@dataclass(frozen=True)
class Shape:
    """How large the trees and the steps are, and the most rounds that are tried.

    Attributes:
        leaves: Of a tree at most.
        rate: By which a tree's values are shrunk.
        rounds: At most.
        random: Whether thresholds are drawn by chance (Geurts et al., 2006), which smooths; LightGBM only.
        columns: Share of the columns that a tree, in scikit-learn a split, may read.
        sample: Share of the rows that a tree is grown on; LightGBM only.
        penalty: On the square of a leaf's value.
        leaf: Rows of a leaf at least; None for a number by those of the table.
        patience: Rounds without a better held-out loss after which LightGBM stops adding trees.
    """

    leaves: int
    rate: float
    rounds: int
    random: bool = False
    columns: float = 0.5
    sample: float = 0.8
    penalty: float = 1.0
    leaf: int | None = None
    patience: int = 100


# Additive tables and few rows want small trees, smooth surfaces random ones, interactions and many rows large ones.
SHAPES = {
    "small trees": Shape(4, 0.03, 1200),
    "random trees": Shape(8, 0.05, 1200, random=True),
    "large trees": Shape(31, 0.05, 600),
}


HISTOGRAMS = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)


@dataclass(frozen=True)
class Tree:
    """One binary tree over float32 inputs: go left where x ≤ threshold, missing as told.

    Attributes:
        feature: int [nodes], −1 at a leaf.
        threshold: float32 [nodes], rounded down, so that float32 inputs go where float64 thresholds send them.
        left, right: int [nodes].
        missing_left: bool [nodes].
        value: float64 [nodes], at leaves; or [nodes, C], one for each output from `output` on.
        output: Which logit it adds to.
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    missing_left: np.ndarray
    value: np.ndarray
    output: int


@dataclass(frozen=True)
class Boosting:
    """A fitted boosting: its logits, or numbers, for raw inputs, and its trees.

    Attributes:
        model: scikit-learn's or LightGBM's.
        base: float64 [C], the logits before the first tree; of a number [1].
        rounds: How many of the model's rounds count.
    """

    model: Any
    base: np.ndarray
    rounds: int

    def logits(self, raw: np.ndarray) -> np.ndarray:
        """float64 [N, C] of float32 [N, R]; two classes have one logit."""
        return self.staged_logits(raw, [self.rounds])[0]

    def staged_logits(self, raw: np.ndarray, rounds: Sequence[int]) -> list[np.ndarray]:
        """The logits [N, C] after each of some ascending numbers of rounds."""
        plain = raw.astype(np.float64)
        if isinstance(self.model, HISTOGRAMS):
            wanted = [min(count, self.model.n_iter_) for count in rounds]
            is_number = isinstance(self.model, HistGradientBoostingRegressor)
            staged = self.model.staged_predict if is_number else self.model.staged_decision_function
            stages = enumerate(staged(plain), 1)
            found = {count: np.array(stage) for count, stage in stages if count in wanted}
            if is_number and self.model.loss == "poisson":
                found = {count: np.log(stage) for count, stage in found.items()}
            stacked = [found[count] for count in wanted]
        else:
            stacked = [self.model.predict(plain, raw_score=True, num_iteration=count) for count in rounds]
        return [np.asarray(stage, np.float64).reshape(len(raw), -1) for stage in stacked]

    def trees(self) -> list[Tree]:
        """All trees that count; a row's logits are `base` plus what its leaves hold."""
        if isinstance(self.model, HISTOGRAMS):
            rounds = self.model._predictors[: self.rounds]
            return [_histogram_tree(tree.nodes, k) for one in rounds for k, tree in enumerate(one)]
        dump = self.model.dump_model(num_iteration=self.rounds)
        width = dump["num_tree_per_iteration"]
        return [_lightgbm_tree(t["tree_structure"], i % width) for i, t in enumerate(dump["tree_info"])]


def rounds_to_try(shape: Shape) -> list[int]:
    """Numbers of rounds among which held-out rows choose."""
    return [count for count in ROUNDS if count <= shape.rounds]


def fit_boosting(
    raw: np.ndarray,
    label: np.ndarray,
    classes: int,
    shape: Shape,
    rounds: int,
    seed: int = 0,
    held_out: tuple[np.ndarray, np.ndarray] | None = None,
    amounts: bool = False,
) -> Boosting:
    """Fit one boosting.

    Args:
        raw: float32 [N, R], NaN is missing.
        label: int64 [N], or numbers, float64 [N].
        classes: Number of classes; 0 of a number.
        shape: Of its trees.
        rounds: Trees a class.
        seed: Of the row and column samples.
        held_out: Inputs and labels by which LightGBM stops early; scikit-learn's makes all rounds.
        amounts: Whether a number is an amount, 0 or more, whose logarithm of the mean is predicted: by the Tweedie loss
            of power 1.5, which scikit-learn lacks, so that its boosting takes the Poisson loss.
    """
    if importlib.util.find_spec("lightgbm") is not None:
        return fit_lightgbm(raw, label, classes, shape, rounds, seed, held_out, amounts)
    return fit_histogram(raw, label, shape, rounds, seed, amounts)


def fit_histogram(
    raw: np.ndarray, label: np.ndarray, shape: Shape, rounds: int, seed: int, amounts: bool = False
) -> Boosting:
    """`fit_boosting` by scikit-learn."""
    kind = HistGradientBoostingRegressor if label.dtype.kind == "f" else HistGradientBoostingClassifier
    loss = {"loss": "poisson"} if amounts else {}
    model = kind(
        learning_rate=shape.rate, max_iter=rounds, min_samples_leaf=_leaf_rows(shape, label),
        max_leaf_nodes=shape.leaves, l2_regularization=shape.penalty, max_features=shape.columns,
        early_stopping=False, random_state=seed, **loss,
    )  # fmt: skip
    model.fit(raw.astype(np.float64), label)
    return Boosting(model, np.asarray(model._baseline_prediction, np.float64).ravel(), rounds)


def fit_lightgbm(
    raw: np.ndarray, label: np.ndarray, classes: int, shape: Shape, rounds: int, seed: int,
    held_out: tuple[np.ndarray, np.ndarray] | None = None, amounts: bool = False,
) -> Boosting:  # fmt: skip
    """`fit_boosting` by LightGBM."""
    import lightgbm

    binary = classes == 2
    objective = "binary" if binary else "multiclass" if classes else "tweedie" if amounts else "regression"
    settings = {
        "objective": objective, "num_leaves": shape.leaves, "learning_rate": shape.rate,
        "seed": seed, "min_data_in_leaf": _leaf_rows(shape, label), "lambda_l2": shape.penalty,
        "feature_fraction": shape.columns, "bagging_fraction": shape.sample, "bagging_freq": 1, "verbosity": -1,
        "deterministic": True, "force_row_wise": True, "extra_trees": shape.random,
    }  # fmt: skip
    if classes > 2:
        settings["num_class"] = classes
    data = lightgbm.Dataset(raw.astype(np.float64), label)
    known = [] if held_out is None else [lightgbm.Dataset(held_out[0].astype(np.float64), held_out[1], reference=data)]
    stop: list[Any] = [lightgbm.early_stopping(shape.patience, verbose=False)] if known else []
    model = lightgbm.train(settings, data, num_boost_round=rounds, valid_sets=known, callbacks=stop)
    return Boosting(model, np.zeros(classes if classes > 2 else 1), rounds)


def _leaf_rows(shape: Shape, label: np.ndarray) -> int:
    if shape.leaf is not None:
        return shape.leaf
    return int(np.clip(len(label) // 100, 5, 20))


def round_down(threshold: np.ndarray) -> np.ndarray:
    """float32 thresholds that send float32 inputs where the float64 ones do."""
    with np.errstate(over="ignore"):  # an infinite threshold parts the missing from all others
        near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float32)


def _histogram_tree(nodes: np.ndarray, output: int) -> Tree:
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


def _lightgbm_tree(root: dict[str, Any], output: int) -> Tree:
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
