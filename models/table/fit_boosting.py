"""One boosting, fitted by whichever library."""

# N rows, R raw inputs

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Literal

import numpy as np
from ludocast.models.number_loss import SQUARED, NumberLoss
from ludocast.models.table.boosting import Boosting, Shape
from ludocast.models.table.catboost_trees import fit_catboost
from ludocast.models.table.histogram_trees import fit_histogram
from ludocast.models.table.lightgbm_trees import fit_lightgbm
from ludocast.models.table.xgboost_trees import fit_xgboost

Library = Literal["scikit-learn", "lightgbm", "xgboost", "catboost"]


def fit_boosting(
    raw: np.ndarray,
    label: np.ndarray,
    classes: int,
    shape: Shape,
    rounds: int,
    seed: int = 0,
    held_out: tuple[np.ndarray, np.ndarray] | None = None,
    loss: NumberLoss = SQUARED,
    library: Library | None = None,
) -> Boosting:
    """Fit one boosting.

    Args:
        raw: float32 [N, R], NaN is missing.
        label: int64 [N], or numbers, float64 [N].
        classes: Number of classes; 0 of a number.
        shape: Of its trees.
        rounds: Trees a class.
        seed: Of the row and column samples.
        held_out: Inputs and labels by which it is stopped early; scikit-learn's makes all rounds.
        loss: Of a number. Of amounts the logarithm of the mean is predicted; scikit-learn's boosting, which lacks the
            Tweedie loss, takes that of Poisson in its place.
        library: That fits it; None takes LightGBM where it is installed, scikit-learn elsewhere.
    """
    by = library if library is not None else "lightgbm" if is_installed("lightgbm") else "scikit-learn"
    return FITS[by](raw, label, classes, shape, rounds, seed, held_out, loss)


def is_installed(library: Library) -> bool:
    """Whether a library is there; all but scikit-learn come with the extra [boosting]."""
    return library == "scikit-learn" or importlib.util.find_spec(library) is not None


FITS: dict[Library, Callable[..., Boosting]] = {
    "scikit-learn": fit_histogram,
    "lightgbm": fit_lightgbm,
    "xgboost": fit_xgboost,
    "catboost": fit_catboost,
}
