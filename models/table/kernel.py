"""Support vector machines: the exact one of few rows, else linear on the Nyström features of a sample of them.

Both are sums over landmarks z of w_z exp(−γ |x − z|²): the support vectors, or the sample (Williams and Seeger, NIPS
2000, equation 8: features K(x, Z) K(Z, Z)^(−1/2), on which a linear machine is trained).
"""

# N rows, M landmarks, P columns of the design, C outputs

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.preprocess import Encoded
from ludocast.models.table.design import Design
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR

EXACT_ROWS = 2_000  # above this the exact machine takes minutes, and its graph holds thousands of rows
LANDMARKS = 500
FLOOR = 1e-5  # of the largest eigenvalue: directions below it hold rounding errors only
DENSE = 20  # times as many entries as are not 0, and the product of all of them is still the faster one
BLOCK = 2_048  # rows whose distances are worked out at once


@dataclass(frozen=True)
class Kernel:
    """A sum of Gaussian bells.

    Attributes:
        design: Of the rows.
        landmarks: float64 [M, P], their values those of float32.
        gamma: Of the bells.
        weight: float64 [M, C].
        bias: float64 [C].
    """

    design: Design
    landmarks: np.ndarray
    gamma: float
    weight: np.ndarray
    bias: np.ndarray

    def scores(self, encoded: Encoded) -> np.ndarray:
        """float64 [N, C]."""
        x = self.design.matrix(encoded)
        parts = [
            np.exp(-self.gamma * distances(x[at : at + BLOCK], self.landmarks)) @ self.weight
            for at in range(0, x.shape[0], BLOCK)
        ]
        return np.asarray(np.concatenate(parts) + self.bias) if parts else np.zeros((0, len(self.bias)))


def distances(x: sparse.csr_matrix, points: np.ndarray) -> np.ndarray:
    """Squared distances of rows [N, P] to points [M, P], float64 [N, M]."""
    is_sparse = x.shape[1] > DENSE * x.nnz / max(x.shape[0], 1)
    found = np.asarray(x @ points.T if is_sparse else x.toarray() @ points.T)
    found *= -2
    found += np.asarray(x.multiply(x).sum(axis=1))
    found += (points**2).sum(axis=1)
    return np.asarray(np.maximum(found, 0.0, out=found))


def fit_kernel(
    design: Design, encoded: Encoded, label: np.ndarray, classes: int, strength: float, seed: int, narrow: float = 1.0
) -> Kernel:
    """A machine whose bells have γ = narrow / (P · variance of all entries); 1 is the usual one."""
    x = design.matrix(encoded)
    mean = x.mean()
    gamma = float(narrow / (x.shape[1] * max(float(x.multiply(x).mean() - mean**2), 1e-12)))
    if len(label) <= EXACT_ROWS:
        return _exact(design, x, label, classes, strength, gamma)
    return _nystroem(design, x, label, classes, strength, gamma, seed)


def _exact(
    design: Design, x: sparse.csr_matrix, label: np.ndarray, classes: int, strength: float, gamma: float
) -> Kernel:
    dense = x.toarray()
    if not classes:
        machines = [SVR(C=strength, gamma=gamma).fit(dense, label)]
    elif classes == 2:
        machines = [SVC(C=strength, gamma=gamma).fit(dense, label)]
    else:
        machines = list(OneVsRestClassifier(SVC(C=strength, gamma=gamma)).fit(dense, label).estimators_)
    used = np.unique(np.concatenate([one.support_ for one in machines]))
    weight = np.zeros((len(used), len(machines)))
    for k, one in enumerate(machines):
        weight[np.searchsorted(used, one.support_), k] = one.dual_coef_[0]
    return Kernel(design, dense[used], gamma, weight, np.concatenate([one.intercept_ for one in machines]))


def _nystroem(
    design: Design, x: sparse.csr_matrix, label: np.ndarray, classes: int, strength: float, gamma: float, seed: int
) -> Kernel:
    rows = np.sort(np.random.default_rng(seed).choice(len(label), min(LANDMARKS, len(label)), replace=False))
    landmarks = x[rows].toarray()
    values, vectors = np.linalg.eigh(np.exp(-gamma * distances(x[rows], landmarks)))
    kept = values > FLOOR * values.max()
    root = vectors[:, kept] / np.sqrt(values[kept])
    features = np.concatenate(
        [np.exp(-gamma * distances(x[at : at + BLOCK], landmarks)) @ root for at in range(0, len(label), BLOCK)]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a few steps short of the optimum predicts as well
        if classes:
            machine = LinearSVC(C=strength, random_state=seed).fit(features, label)
        else:
            machine = LinearSVR(C=strength, epsilon=0.05, random_state=seed, max_iter=2_000).fit(features, label)
    coefficients = np.atleast_2d(machine.coef_)
    return Kernel(design, landmarks, gamma, root @ coefficients.T, np.atleast_1d(machine.intercept_))
