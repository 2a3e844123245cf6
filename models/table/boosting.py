"""Gradient boosting: how large the trees are, and a fitted one of whatever library, as plain trees for export."""

# N rows, R raw inputs, C outputs

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from ludocast.models.table.tree import Tree

ROUNDS = (25, 50, 100, 150, 200, 300, 400, 600, 800, 1200)  # among which held-out rows choose


@dataclass(frozen=True)
class Shape:
    """How large the trees and the steps are, and the most rounds that are tried.

    Attributes:
        leaves: Of a tree at most.
        rate: By which a tree's values are shrunk.
        rounds: At most.
        random: Whether thresholds are drawn by chance (Geurts et al., 2006), which smooths; LightGBM only.
        columns: Share of the columns that a tree, in scikit-learn a split, may read; not of CatBoost's.
        sample: Share of the rows that a tree is grown on; LightGBM and XGBoost only.
        penalty: On the square of a leaf's value.
        leaf: Rows of a leaf at least; None for a number by those of the table; not of CatBoost's.
        patience: Rounds without a better held-out loss after which no more trees are added; not in scikit-learn.
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

    def leaf_rows(self, label: np.ndarray) -> int:
        """Rows of a leaf at least."""
        return int(np.clip(len(label) // 100, 5, 20)) if self.leaf is None else self.leaf


# Additive tables and few rows want small trees, smooth surfaces random ones, interactions and many rows large ones.
SHAPES = {
    "small trees": Shape(4, 0.03, 1200),
    "random trees": Shape(8, 0.05, 1200, random=True),
    "large trees": Shape(31, 0.05, 600),
}


class Rounds(Protocol):
    """A library's fitted model, round by round."""

    def staged(self, raw: np.ndarray, rounds: Sequence[int]) -> list[np.ndarray]:
        """The logits, or numbers, of float32 [N, R] after each of some ascending numbers of rounds."""
        ...

    def trees(self, rounds: int) -> list[Tree]:
        """The trees of so many rounds."""
        ...


@dataclass(frozen=True)
class Boosting:
    """A fitted boosting: its logits, or numbers, for raw inputs, and its trees.

    Attributes:
        model: A library's.
        base: float64 [C], the logits before the first tree; of a number [1].
        rounds: How many of the model's rounds count.
    """

    model: Rounds
    base: np.ndarray
    rounds: int

    def logits(self, raw: np.ndarray) -> np.ndarray:
        """float64 [N, C] of float32 [N, R]; two classes have one logit."""
        return self.staged_logits(raw, [self.rounds])[0]

    def staged_logits(self, raw: np.ndarray, rounds: Sequence[int]) -> list[np.ndarray]:
        """The logits [N, C] after each of some ascending numbers of rounds."""
        staged = self.model.staged(raw, rounds)
        return [np.asarray(stage, np.float64).reshape(len(raw), -1) for stage in staged]

    def trees(self) -> list[Tree]:
        """All trees that count; a row's logits are `base` plus what its leaves hold."""
        return self.model.trees(self.rounds)


def rounds_to_try(shape: Shape) -> list[int]:
    """Numbers of rounds among which held-out rows choose."""
    return [count for count in ROUNDS if count <= shape.rounds]
