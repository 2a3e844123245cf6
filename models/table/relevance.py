"""Which inputs the network reads where rows are few for the columns: those that beat shuffled copies of themselves.

Boruta's idea (Kursa and Rudnicki, J. Stat. Softw. 36(11), 2010, section 2) with three forests: a column counts where
its importance in most of them is above that of every shuffled column. Trees choose their columns themselves and a
penalty shrinks a line's; a network of a few thousand rows learns the noise of the others by heart.
"""

# N rows, D numbers, S code columns

from __future__ import annotations

import numpy as np
from ludocast.datamodules.preprocess import Encoded
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

ROWS_PER_COLUMN = 200  # with more rows a column the network can tell for itself
FORESTS = 3
TREES = 100
FOREST_ROWS = 2_500  # of more rows a sample is enough to tell noise


def relevant_inputs(encoded: Encoded, label: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks of numbers, bool [D], and of code columns, bool [S]; all True where rows abound or nothing counts."""
    numbers, codes = encoded.numbers.shape[1], encoded.codes.shape[1]
    inputs = np.hstack([encoded.numbers, encoded.codes.astype(np.float32)])
    if len(label) > ROWS_PER_COLUMN * (numbers + codes):
        return np.ones(numbers, bool), np.ones(codes, bool)
    kind = ExtraTreesRegressor if label.dtype.kind == "f" else ExtraTreesClassifier
    wins = np.zeros(numbers + codes, int)
    for forest in range(FORESTS):
        generator = np.random.default_rng([seed, forest])
        rows = generator.permutation(len(label))[:FOREST_ROWS]
        shuffled = generator.permuted(inputs[rows], axis=0)
        model = kind(TREES, min_samples_leaf=5, max_features=0.5, random_state=seed * FORESTS + forest, n_jobs=1).fit(
            np.hstack([inputs[rows], shuffled]), label[rows]
        )
        importance = model.feature_importances_
        wins += importance[: numbers + codes] > importance[numbers + codes :].max()
    kept = wins * 2 > FORESTS
    if not kept.any():
        kept[:] = True
    return kept[:numbers], kept[numbers:]
