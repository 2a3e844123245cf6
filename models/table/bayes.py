"""Naive Bayes: numbers Gaussian in each class, codes with shares of their own; of a number by ten classes of it.

A number is predicted as the mean of the bins' means by their probabilities (Frank et al., Machine Learning 41, 2000,
tell why this is the weakest of regressors; it is here as what it is).
"""

# N rows, D scaled numbers, S code columns, V codes of all columns, C classes

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.number_label import strata
from ludocast.datamodules.preprocess import Encoded, Preprocessing
from scipy.special import softmax
from sklearn.naive_bayes import CategoricalNB, GaussianNB

SMOOTHING = 1e-2  # share of the largest variance that is added to all: a flag that never varies would rule alone


@dataclass(frozen=True)
class Bayes:
    """log p(class, row) = x² A + x B + table of the codes + c.

    Attributes:
        square: A, float64 [D, C].
        linear: B, float64 [D, C].
        codes: float64 [V, C], the columns' tables one after the other.
        offset: Where each column's table begins, int64 [S].
        constant: c, float64 [C].
        means: What the classes stand for where a number is predicted, float64 [C]; else None.
    """

    square: np.ndarray
    linear: np.ndarray
    codes: np.ndarray
    offset: np.ndarray
    constant: np.ndarray
    means: np.ndarray | None

    def scores(self, encoded: Encoded) -> np.ndarray:
        """float64 [N, C]; of two classes the log odds of the second, of a number [N, 1]."""
        x = encoded.numbers.astype(np.float64)
        joint = x**2 @ self.square + x @ self.linear + self.constant
        if len(self.offset):
            joint += self.codes[encoded.codes + self.offset].sum(axis=1)
        if self.means is not None:
            return np.asarray(softmax(joint, axis=1) @ self.means[:, None])
        return np.asarray(joint[:, 1:] - joint[:, :1] if joint.shape[1] == 2 else joint)


def fit_bayes(
    encoded: Encoded, label: np.ndarray, classes: int, preprocessing: Preprocessing, smoothing: float = SMOOTHING
) -> Bayes:
    """Gaussian and categorical naive Bayes of scikit-learn, added up."""
    kinds = label if classes else strata(label)
    known, place = np.unique(kinds, return_inverse=True)
    means = None if classes else np.array([label[kinds == kind].mean() for kind in known])
    count = classes if classes else len(known)
    index = kinds if classes else place
    prior = np.bincount(index, minlength=count) / len(index)
    constant = np.log(prior)
    numbers = encoded.numbers.shape[1]
    square, linear = np.zeros((numbers, count)), np.zeros((numbers, count))
    if numbers:
        gaussian = GaussianNB(var_smoothing=smoothing).fit(encoded.numbers.astype(np.float64), index)
        # Where no number varies, smoothing by a share of the largest variance leaves 0.
        variance = np.where(gaussian.var_ > 0, gaussian.var_, smoothing)
        square, linear = -0.5 / variance.T, (gaussian.theta_ / variance).T
        constant = constant - 0.5 * (np.log(2 * np.pi * variance) + gaussian.theta_**2 / variance).sum(axis=1)
    sizes = preprocessing.code_sizes
    codes = np.zeros((0, count))
    if sizes:
        categorical = CategoricalNB(min_categories=np.array(sizes)).fit(encoded.codes, index)
        codes = np.vstack([table.T for table in categorical.feature_log_prob_])
    offset = np.cumsum([0, *sizes[:-1]]).astype(np.int64) if sizes else np.zeros(0, np.int64)
    return Bayes(square, linear, codes, offset, constant, means)
