"""The candidates beside the network: each has one setting that held-out rows choose, and is then fitted with it."""

# N rows, C outputs

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ludocast.datamodules.preprocess import Encoded, Preprocessing
from ludocast.datamodules.split import CROSS_ROWS
from ludocast.models.learner import Learner
from ludocast.models.table.boosting import SHAPES, Boosting, Shape, rounds_to_try
from ludocast.models.table.fit_boosting import fit_boosting
from ludocast.models.table.linear import Linear, fit_linear

LINEAR = "linear"
STRENGTHS = (0.01, 0.1, 1.0)  # inverse penalties; on large tables it makes no difference


def learners(preprocessing: Preprocessing, classes: int, seed: int) -> dict[str, Learner[Boosting | Linear]]:
    """All candidates but the network, by name."""
    found = {name: _boosting_learner(shape, classes, seed) for name, shape in SHAPES.items()}
    return {**found, LINEAR: _linear_learner(preprocessing)}


def _boosting_learner(shape: Shape, classes: int, seed: int) -> Learner[Boosting]:
    def try_out(
        encoded: Encoded, label: np.ndarray, held: Encoded, held_label: np.ndarray
    ) -> Mapping[float, np.ndarray]:
        rounds = rounds_to_try(shape)
        known = (held.trees, held_label)
        model = fit_boosting(encoded.trees, label, classes, shape, rounds[-1], seed, known)
        return dict(zip(rounds, model.staged_logits(held.trees, rounds), strict=True))

    def fit(encoded: Encoded, label: np.ndarray, rounds: float) -> Boosting:
        return fit_boosting(encoded.trees, label, classes, shape, int(rounds), seed)

    return Learner(try_out, fit)


def _linear_learner(preprocessing: Preprocessing) -> Learner[Linear]:
    def try_out(
        encoded: Encoded, label: np.ndarray, held: Encoded, held_label: np.ndarray  # noqa: ARG001
    ) -> Mapping[float, np.ndarray]:  # fmt: skip
        strengths = STRENGTHS if len(label) < CROSS_ROWS else STRENGTHS[-1:]
        return {s: fit_linear(encoded, label, preprocessing, s).logits(held) for s in strengths}

    def fit(encoded: Encoded, label: np.ndarray, strength: float) -> Linear:
        return fit_linear(encoded, label, preprocessing, strength)

    return Learner(try_out, fit)
