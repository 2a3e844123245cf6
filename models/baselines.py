"""Three learners of scikit-learn on the same split and the same inputs, so that nobody is fooled where they suffice."""

# N rows, C classes

from __future__ import annotations

import os
import warnings
from collections.abc import Callable

import numpy as np
from ludocast.datamodules.preprocess import Encoded
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

Predict = Callable[[Encoded], np.ndarray]  # rows to probabilities, float64 [N, C]
LOGISTIC, FOREST, BOOSTING = "logistic regression", "random forest", "gradient boosting"
TREE_ROWS = 5_000_000  # rows times trees of the forest; beyond it, fewer trees
FOREST_ROWS = 100_000  # a forest of more rows grows for minutes, so it gets a sample of as many


def baselines(
    encoded_train: Encoded, label: np.ndarray, encoded_test: Encoded, classes: int, seed: int
) -> dict[str, np.ndarray]:
    """Fit on training rows and predict the test rows; see `fit_baselines`.

    Returns:
        Name to probabilities, float64 [N, C].
    """
    fitted = fit_baselines(encoded_train, label, classes, seed)
    return {name: predict(encoded_test) for name, predict in fitted.items()}


def fit_baselines(encoded: Encoded, label: np.ndarray, classes: int, seed: int) -> dict[str, Predict]:
    """Logistic regression, random forest and gradient boosting.

    The logistic regression reads the scaled numbers and all codes one-hot, the trees read the numbers as they are and
    the categories' mean labels. Settings are scikit-learn's own but for the forest's leaves (5 rows); nothing is tuned.

    Args:
        encoded: The training rows, with out-of-fold mean labels.
        label: Their classes, int [N].
        classes: C.
        seed: Of the forest's and the boosting's samples.

    Returns:
        Name to what predicts other rows.
    """
    learners: dict[str, Callable[[Encoded, np.ndarray, int], tuple[np.ndarray, Predict]]] = {
        LOGISTIC: _logistic,
        FOREST: _forest,
        BOOSTING: _boosting,
    }
    return {name: _of_all_classes(*learn(encoded, label, seed), classes) for name, learn in learners.items()}


def _of_all_classes(known: np.ndarray, predict: Predict, classes: int) -> Predict:
    """A learner knows the classes it saw; the others have probability 0."""

    def whole(encoded: Encoded) -> np.ndarray:
        found = np.zeros((len(encoded.numbers), classes))
        found[:, known] = predict(encoded)
        return found

    return whole


def one_hot(encoded: Encoded, sizes: np.ndarray) -> sparse.csr_matrix:
    """Numbers, then each code column one-hot; float32 [N, D + sum(sizes)].

    Args:
        encoded: N rows.
        sizes: Codes of each code column; larger ones (never seen in training) are all zeros.
    """
    rows = len(encoded.numbers)
    parts = [sparse.csr_matrix(encoded.numbers)]
    for codes, size in zip(encoded.codes.T, sizes, strict=True):
        known = codes < size
        ones = np.ones(int(known.sum()), np.float32)
        parts.append(sparse.csr_matrix((ones, (np.flatnonzero(known), codes[known])), shape=(rows, int(size))))
    return sparse.csr_matrix(sparse.hstack(parts))


def _logistic(train: Encoded, label: np.ndarray, seed: int) -> tuple[np.ndarray, Predict]:
    sizes = train.codes.max(axis=0) + 1 if train.codes.shape[1] else np.zeros(0, int)
    model = LogisticRegression(max_iter=200, random_state=seed)
    with warnings.catch_warnings():
        # After two hundred steps a probability's third digit stands.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(one_hot(train, sizes), label)
    return model.classes_, lambda rows: np.asarray(model.predict_proba(one_hot(rows, sizes)))


def _forest(train: Encoded, label: np.ndarray, seed: int) -> tuple[np.ndarray, Predict]:
    rows = min(len(label), FOREST_ROWS)
    model = RandomForestClassifier(
        n_estimators=int(np.clip(TREE_ROWS // rows, 50, 100)),
        min_samples_leaf=5,
        max_samples=rows if rows < len(label) else None,
        n_jobs=available_cores(),
        random_state=seed,
    )
    model.fit(train.raw, label)
    # Several threads would add up the trees in a random order, and so round differently each time.
    model.set_params(n_jobs=1)
    return model.classes_, lambda rows: np.asarray(model.predict_proba(rows.raw))


def _boosting(train: Encoded, label: np.ndarray, seed: int) -> tuple[np.ndarray, Predict]:
    model = HistGradientBoostingClassifier(random_state=seed)
    model.fit(train.raw, label)
    return model.classes_, lambda rows: np.asarray(model.predict_proba(rows.raw))


def available_cores() -> int:
    """Cores that this process may use, at most 8: more do not help a forest of this size."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return 1 if cores is None else min(cores, 8)
