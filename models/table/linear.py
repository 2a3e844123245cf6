"""Linear models on the network's own inputs: scaled numbers, their plain values, one-hot codes."""

# N rows, D scaled numbers, R raw numbers, S code columns, V codes of all columns, C outputs

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.interactions import one_hot
from ludocast.datamodules.preprocess import Encoded, Preprocessing
from ludocast.models.number_loss import SQUARED, NumberLoss
from scipy import sparse
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge, TweedieRegressor

KNEE = 0.02  # deviations of the label on either side of 0 in which a quantile's loss is made round
LIMIT = 5.0  # plain values are clipped here, in standard deviations, so that no outlier steers the line


@dataclass(frozen=True)
class Linear:
    """A fitted linear model, taken apart into tables that any runtime can add up.

    Attributes:
        number_weight: float64 [D, C], of the scaled numbers.
        raw_weight: float64 [R, C], of clip((raw − centre) / width, ±LIMIT), 0 where missing.
        code_weight: float64 [V, C], one row a code, the columns' tables one after the other.
        bias: float64 [C].
    """

    number_weight: np.ndarray
    raw_weight: np.ndarray
    code_weight: np.ndarray
    bias: np.ndarray
    centre: np.ndarray
    width: np.ndarray
    offset: np.ndarray

    def scores(self, encoded: Encoded) -> np.ndarray:
        """float64 [N, C]."""
        plain = plain_values(encoded.raw, self.centre, self.width)
        out = encoded.numbers.astype(np.float64) @ self.number_weight + plain @ self.raw_weight + self.bias
        if len(self.offset):
            out += self.code_weight[encoded.codes + self.offset].sum(axis=1)
        return np.asarray(out, np.float64)


def plain_values(raw: np.ndarray, centre: np.ndarray, width: np.ndarray) -> np.ndarray:
    """clip((raw − centre) / width, ±LIMIT), 0 where missing; float32 [N, R]."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.clip((raw - centre.astype(np.float32)) * (1 / width).astype(np.float32), -LIMIT, LIMIT)
    return np.where(np.isnan(raw), np.float32(0), scaled).astype(np.float32)


def fit_scale(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and width of raw numbers [N, R] for `plain_values`, float64 [R] each."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all-missing columns have no mean
        centre = np.nan_to_num(np.nanmean(raw.astype(np.float64), axis=0))
        width = np.nan_to_num(np.nanstd(raw.astype(np.float64), axis=0), nan=1.0)
    width = np.where(width > 1e-12 * (1 + np.abs(centre)), width, 1.0)
    return centre, width


def fit_linear(
    encoded: Encoded,
    label: np.ndarray,
    preprocessing: Preprocessing,
    strength: float = 1.0,
    loss: NumberLoss = SQUARED,
) -> Linear:
    """Logistic regression, or linear regression of a number, with an L2 penalty.

    Args:
        encoded: Inputs of the training rows.
        label: int64 [N], or scaled numbers, float64 [N].
        preprocessing: Tells the sizes.
        strength: Inverse of the penalty: scikit-learn's C, or one over Ridge's alpha.
        loss: Of a number; of amounts the logarithm of the mean is predicted.
    """
    centre, width = fit_scale(encoded.raw)
    sizes = preprocessing.code_sizes
    offset = np.cumsum([0, *sizes[:-1]]).astype(np.int64) if sizes else np.zeros(0, np.int64)
    parts = [encoded.numbers, plain_values(encoded.raw, centre, width)]
    design = sparse.hstack([sparse.csr_matrix(np.hstack(parts)), one_hot(encoded.codes, sizes)]).tocsr()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a few steps short of the optimum predicts as well
        if label.dtype.kind == "f":
            weight, bias = _fit_number(design.astype(np.float64), label, strength, loss)
        else:
            model = LogisticRegression(C=strength, max_iter=300).fit(design, label)
            weight, bias = model.coef_.T, model.intercept_
    numbers, raw = encoded.numbers.shape[1], encoded.raw.shape[1]
    pieces = np.split(weight, [numbers, numbers + raw])
    return Linear(pieces[0], pieces[1], pieces[2], bias, centre, width, offset)


def _fit_number(
    design: sparse.csr_matrix, label: np.ndarray, strength: float, loss: NumberLoss
) -> tuple[np.ndarray, np.ndarray]:
    """Weights [P, 1] and bias [1] of rows [N, P]."""
    if loss.name in ("absolute", "quantile"):
        weight, bias = fit_quantile_line(design, label, 0.5 if loss.name == "absolute" else loss.quantile, strength)
        return weight[:, None], np.array([bias])
    mean_penalty = 1 / (strength * len(label))
    model = {
        "squared": Ridge(alpha=1 / strength),
        "poisson": PoissonRegressor(alpha=mean_penalty, max_iter=300),
        "tweedie": TweedieRegressor(power=1.5, link="log", alpha=mean_penalty, max_iter=300),
    }[loss.name]
    model.fit(design, label)
    return model.coef_.reshape(-1, 1), np.atleast_1d(model.intercept_)


def fit_quantile_line(
    design: sparse.csr_matrix, label: np.ndarray, quantile: float, strength: float
) -> tuple[np.ndarray, float]:
    """The line that so many rows lie below (Koenker and Bassett 1978), by L-BFGS.

    The linear program that has it exactly is slow of many rows. The loss |r| / 2 + (q − 1/2) r of a residual r is made
    round within `KNEE`, as Huber's is.

    Args:
        design: [N, P].
        label: float64 [N], of deviation 1.
        quantile: q.
        strength: Inverse of the penalty on the weights' squares.

    Returns:
        Weights, float64 [P], and bias.
    """

    def loss(free: np.ndarray) -> tuple[float, np.ndarray]:
        residual = label - design @ free[1:] - free[0]
        size = np.abs(residual)
        rounded = np.where(size < KNEE, residual**2 / (2 * KNEE) + KNEE / 2, size)
        value = 0.5 * rounded + (quantile - 0.5) * residual
        slope = -(0.5 * np.clip(residual / KNEE, -1, 1) + quantile - 0.5)
        total = value.sum() + free[1:] @ free[1:] / (2 * strength)
        gradient = np.concatenate([[slope.sum()], design.T @ slope + free[1:] / strength])
        return float(total) / len(label), gradient / len(label)

    start = np.zeros(1 + design.shape[1])
    start[0] = np.quantile(label, quantile)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1_000}).x
    return found[1:], float(found[0])
