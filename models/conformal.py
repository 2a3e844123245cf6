"""Prediction intervals from held-out residuals: conformal, and wider where the model errs more.

Split conformal prediction (Vovk et al. 2005; Lei et al., JASA 2018, algorithm 2) by neighbourhoods of the predicted
score: held-out rows are parted by score into bins of equal size (Mondrian taxonomy, Vovk et al. 2005, section 4.5), and
a bin's offsets are its signed residuals' quantiles with the finite-sample correction. Between the bins' middles they
are interpolated, so that no interval jumps; the coverage that this costs or gains is measured on the test rows.
"""

# N rows, K knots

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COVERAGE = 0.9
BIN_ROWS = 200  # held-out rows of a bin at least, so that its outer 5 % are ten rows
MOST_BINS = 10


@dataclass(frozen=True)
class Interval:
    """Offsets of the lower and upper bound at some scores, linear between them and constant outside.

    Attributes:
        knots: float64 [K], ascending.
        offset: float64 [K, 2]; the first column is ≤ 0, the second ≥ 0.
        coverage: Share of true values that is to lie inside.
    """

    knots: np.ndarray
    offset: np.ndarray
    coverage: float = COVERAGE

    def offsets(self, score: np.ndarray) -> np.ndarray:
        """Of scores [N], float64 [N, 2]."""
        return np.column_stack([np.interp(score, self.knots, side) for side in self.offset.T])


def fit_interval(score: np.ndarray, label: np.ndarray, coverage: float = COVERAGE) -> Interval:
    """From scores of rows that the model was not fitted on.

    Args:
        score: Predicted, float64 [N].
        label: True, float64 [N].
        coverage: Wanted.
    """
    bins = int(np.clip(len(score) // BIN_ROWS, 1, MOST_BINS))
    order = np.argsort(score, kind="stable")
    knots, offset = [], []
    for rows in np.array_split(order, bins):
        residual = np.sort(label[rows] - score[rows])
        side = (1 - coverage) / 2
        # The rank of the lower bound is ⌊(n + 1) α/2⌋ from below, of the upper one the same from above, at least 1.
        rank = max(int(np.floor((len(rows) + 1) * side + 1e-9)), 1)
        knots.append(float(np.median(score[rows])))
        offset.append([min(float(residual[rank - 1]), 0.0), max(float(residual[-rank]), 0.0)])
    kept = np.unique(knots, return_index=True)[1]  # a tree's scores are few, and bins may share their middle
    return Interval(np.array(knots)[kept], np.array(offset)[kept], coverage)
