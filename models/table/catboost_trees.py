"""Gradient boosting by CatBoost, its trees read out.

They are oblivious: all nodes of a level ask the same question, x > border, and the answers are the bits of the leaf's
number, the first level the lowest bit.
"""

# N rows, R raw inputs, C outputs, D levels, L = 2^D leaves

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from ludocast.models.baselines import available_cores
from ludocast.models.calibration import SURE
from ludocast.models.number_loss import SQUARED, NumberLoss
from ludocast.models.table.boosting import Boosting, Shape
from ludocast.models.table.tree import Tree


@dataclass(frozen=True)
class ObliviousTree:
    """One tree.

    Attributes:
        feature: int64 [D], what each level asks for.
        border: float32 [D].
        value: float64 [L, C].
    """

    feature: np.ndarray
    border: np.ndarray
    value: np.ndarray

    def leaves(self, columns: np.ndarray) -> np.ndarray:
        """The leaf of each row, int64 [N], of float32 columns [R, N]; what is missing is above no border."""
        found = np.zeros(columns.shape[1], np.int64)
        for level, (feature, border) in enumerate(zip(self.feature, self.border, strict=True)):
            found |= (columns[feature] > border).astype(np.int64) << level
        return found

    def plain(self) -> Tree:
        """With a node for each question: those of a level one after another, by the answers so far."""
        depth, (leaves, outputs) = len(self.feature), self.value.shape
        level = np.repeat(np.arange(depth), 2 ** np.arange(depth))
        answers = np.arange(leaves - 1) - (2**level - 1)
        left = 2 ** (level + 1) - 1 + answers
        at_leaf = np.full(leaves, -1)
        return Tree(
            np.concatenate([self.feature[level], at_leaf]),
            np.concatenate([self.border[level], np.zeros(leaves, np.float32)]),
            np.concatenate([left, at_leaf]),
            np.concatenate([left + 2**level, at_leaf]),
            np.ones(2 * leaves - 1, bool),
            np.concatenate([np.zeros((leaves - 1, outputs)), self.value]),
            0,
        )


@dataclass(frozen=True)
class CatboostRounds:
    """`boosting.Rounds` of CatBoost, answered by its trees: it refuses what is missing where training had nothing so.

    Attributes:
        every: One tree a round.
        base: float64 [C].
    """

    every: tuple[ObliviousTree, ...]
    base: np.ndarray

    def staged(self, raw: np.ndarray, rounds: Sequence[int]) -> list[np.ndarray]:
        """After each of some numbers of rounds."""
        columns = np.ascontiguousarray(raw.T)
        total = np.tile(self.base, (len(raw), 1))
        found, made = [], 0
        for count in rounds:
            for tree in self.every[made:count]:
                total += tree.value[tree.leaves(columns)]
            made = max(made, count)
            found.append(total.copy())
        return found

    def trees(self, rounds: int) -> list[Tree]:
        """Of so many rounds."""
        return [tree.plain() for tree in self.every[:rounds]]


def fit_catboost(
    raw: np.ndarray, label: np.ndarray, classes: int, shape: Shape, rounds: int, seed: int,
    held_out: tuple[np.ndarray, np.ndarray] | None = None, loss: NumberLoss = SQUARED,
) -> Boosting:  # fmt: skip
    """As `fit_boosting` describes; each tree is as deep as so many leaves need."""
    import catboost

    of_numbers = _LOSSES[loss.name].format(loss.quantile)
    settings: dict[str, Any] = {
        "loss_function": "Logloss" if classes == 2 else "MultiClass" if classes else of_numbers,
        "iterations": rounds, "learning_rate": shape.rate, "depth": int(np.ceil(np.log2(shape.leaves))),
        "l2_leaf_reg": shape.penalty, "nan_mode": "Min", "random_seed": seed, "thread_count": available_cores(),
        "allow_writing_files": False, "verbose": False,
    }  # fmt: skip
    if classes > 2:
        settings["classes_count"] = classes
    known = None if held_out is None else catboost.Pool(*held_out)
    stop = None if known is None else shape.patience
    model = catboost.CatBoost(settings).fit(
        catboost.Pool(raw, label), eval_set=known, early_stopping_rounds=stop, use_best_model=False
    )
    found = _read(model)
    if classes > 2:
        found = _spread(found, np.unique(label), classes)
    return Boosting(found, found.base, rounds)


_LOSSES = {
    "squared": "RMSE", "absolute": "MAE", "quantile": "Quantile:alpha={}", "poisson": "Poisson",
    "tweedie": "Tweedie:variance_power=1.5",
}  # fmt: skip


def _read(model: Any) -> CatboostRounds:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        made = json.loads(path.read_text(encoding="utf-8"))
    scale, bias = made["scale_and_bias"]
    base = np.array(bias, np.float64)
    return CatboostRounds(tuple(_tree(tree, scale, len(base)) for tree in made["oblivious_trees"]), base)


def _spread(found: CatboostRounds, known: np.ndarray, classes: int) -> CatboostRounds:
    """With a column for each class, where CatBoost has none for a class without rows."""
    absent = float(np.log(SURE))
    base = np.full(classes, absent)
    base[known] = found.base
    every = []
    for tree in found.every:
        value = np.zeros((len(tree.value), classes))
        value[:, known] = tree.value
        every.append(replace(tree, value=value))
    return CatboostRounds(tuple(every), base)


def _tree(made: dict[str, Any], scale: float, outputs: int) -> ObliviousTree:
    splits = made["splits"]
    return ObliviousTree(
        np.array([split["float_feature_index"] for split in splits], np.int64),
        np.array([split["border"] for split in splits], np.float32),
        scale * np.array(made["leaf_values"], np.float64).reshape(-1, outputs),
    )
