"""scikit-learn's neural network: layers of sums, with max(0, ·) between them."""

# N rows, P columns of the design, C outputs

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.preprocess import Encoded
from ludocast.models.table.design import Design
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

PATIENCE_ROWS = 500  # with fewer rows a tenth of them is too few to stop by


@dataclass(frozen=True)
class Layers:
    """Layers x ← max(0, x W + b); behind the last one nothing is cut off.

    Attributes:
        design: Of the first layer's inputs.
        weights: float64 [inputs, outputs] of each layer.
        biases: float64 [outputs] of each.
    """

    design: Design
    weights: Sequence[np.ndarray]
    biases: Sequence[np.ndarray]

    def scores(self, encoded: Encoded) -> np.ndarray:
        """float64 [N, C]."""
        x = np.asarray(self.design.matrix(encoded) @ self.weights[0] + self.biases[0])
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            x = np.maximum(x, 0.0) @ weight + bias
        return x


def fit_neural(
    design: Design, encoded: Encoded, label: np.ndarray, classes: int, penalty: float, seed: int, width: int = 64,
    rate: float = 2e-3,
) -> Layers:  # fmt: skip
    """A network of two hidden layers; with enough rows a tenth of them tells when to stop.

    Args:
        design: Of its inputs.
        encoded: The rows.
        label: Class index, int64 [N], or scaled numbers, float64 [N].
        classes: C; 0 of a number.
        penalty: On the squares of the weights.
        seed: Of weights and batches.
        width: Of the first hidden layer; the second has half of it.
        rate: Of Adam at the start.
    """
    kind = MLPClassifier if classes else MLPRegressor
    model = kind(
        hidden_layer_sizes=(width, width // 2),
        alpha=penalty,
        learning_rate_init=rate,
        max_iter=100 if len(label) >= PATIENCE_ROWS else 200,
        early_stopping=len(label) >= PATIENCE_ROWS,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(design.matrix(encoded), label)
    return Layers(design, model.coefs_, model.intercepts_)
