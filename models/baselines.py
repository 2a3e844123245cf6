"""scikit-learn's classic learners on the network's own inputs: the leaderboard that nobody may be fooled by."""

# N rows, C classes

from __future__ import annotations

import warnings

import numpy as np
from scipy import sparse
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ludocast.datamodules.preprocess import Encoded

TREES = 100


def baselines(
    train: Encoded, label: np.ndarray, test: Encoded, classes: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """Fit each baseline on the training rows and predict the test rows.

    Args:
        train: Encoded training rows.
        label: int64 [N] of them.
        test: Encoded test rows.
        classes: Number of classes, C.
        seed: Of forest and boosting.

    Returns:
        Name to probabilities float64 [N, C] of the test rows.
    """
    leaf = int(np.clip(len(label) // 5_000, 1, 20))
    forest = RandomForestClassifier(TREES, min_samples_leaf=leaf, n_jobs=-1, random_state=seed)
    boosting = HistGradientBoostingClassifier(random_state=seed)
    linear = make_pipeline(StandardScaler(with_mean=False), LogisticRegression(max_iter=300))
    encoder = OneHotEncoder(handle_unknown="ignore", dtype=np.float32)
    coded = encoder.fit_transform(train.codes) if train.codes.shape[1] else None
    design = train.numbers if coded is None else sparse.hstack([train.numbers, coded]).tocsr()
    probe = test.numbers if coded is None else sparse.hstack([test.numbers, encoder.transform(test.codes)]).tocsr()
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a few steps short of the optimum predicts as well
        found["logistic regression"] = _fitted(linear, design, label, probe, classes)
    found["random forest"] = _fitted(forest, _trees(train), label, _trees(test), classes)
    found["gradient boosting"] = _fitted(boosting, _trees(train), label, _trees(test), classes)
    return found


def _trees(encoded: Encoded) -> np.ndarray:
    # Trees split on codes as on numbers; the text columns' codes have no other number.
    return np.hstack([encoded.raw, encoded.codes.astype(np.float32)])


def _fitted(model: object, x: object, label: np.ndarray, probe: object, classes: int) -> np.ndarray:
    model.fit(x, label)  # type: ignore[attr-defined]
    p = np.zeros((probe.shape[0], classes))  # type: ignore[attr-defined]
    p[:, model.classes_] = model.predict_proba(probe)  # type: ignore[attr-defined]
    return p
