"""Linear models on the network's own inputs: scaled numbers, their plain values, one-hot codes."""

# N rows, D scaled numbers, R raw numbers, S code columns, V codes of all columns, C outputs

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.interactions import one_hot
from ludocast.datamodules.preprocess import Encoded, Preprocessing
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

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


def fit_linear(encoded: Encoded, label: np.ndarray, preprocessing: Preprocessing, strength: float = 1.0) -> Linear:
    """Logistic regression, or linear regression of a number, with an L2 penalty.

    Args:
        encoded: Inputs of the training rows.
        label: int64 [N], or scaled numbers, float64 [N].
        preprocessing: Tells the sizes.
        strength: Inverse of the penalty: scikit-learn's C, or one over its alpha.
    """
    centre, width = fit_scale(encoded.raw)
    sizes = preprocessing.code_sizes
    offset = np.cumsum([0, *sizes[:-1]]).astype(np.int64) if sizes else np.zeros(0, np.int64)
    parts = [encoded.numbers, plain_values(encoded.raw, centre, width)]
    design = sparse.hstack([sparse.csr_matrix(np.hstack(parts)), one_hot(encoded.codes, sizes)]).tocsr()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a few steps short of the optimum predicts as well
        if label.dtype.kind == "f":
            model = Ridge(alpha=1 / strength).fit(design.astype(np.float64), label)
        else:
            model = LogisticRegression(C=strength, max_iter=300).fit(design, label)
    weight = np.atleast_2d(model.coef_).T
    numbers, raw = encoded.numbers.shape[1], encoded.raw.shape[1]
    pieces = np.split(weight, [numbers, numbers + raw])
    return Linear(pieces[0], pieces[1], pieces[2], np.atleast_1d(model.intercept_), centre, width, offset)
