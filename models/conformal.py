"""Prediction intervals from held-out residuals: conformal, and wider where the model errs more.

Split conformal prediction (Vovk et al. 2005; Lei et al., JASA 2018, algorithm 2) by neighbourhoods of the predicted
score: held-out rows are parted by score into bins of equal size (Mondrian taxonomy, Vovk et al. 2005, section 4.5), and
a bin's offsets are its signed residuals' quantiles with the finite-sample correction. Between the bins' middles they
are interpolated, so that no interval jumps; all are then made wider or narrower by one factor, so that they hold as
many held-out rows as before: where a bound lies along a line, such as the 0 of counts, interpolated ones hold more.
"""

# N rows, K knots

from __future__ import annotations

from dataclasses import dataclass, replace

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
    knots, offset, inside = [], [], 0
    for rows in np.array_split(order, bins):
        residual = np.sort(label[rows] - score[rows])
        below = above = _rank(len(rows), (1 - coverage) / 2)
        both = _rank(len(rows), 1 - coverage)
        # A bound stays on its own side of the prediction; what one may then not leave out the other does.
        if residual[below - 1] > 0:
            above = max(both - int((residual < 0).sum()), 1)
        elif residual[-above] < 0:
            below = max(both - int((residual > 0).sum()), 1)
        knots.append(float(np.median(score[rows])))
        offset.append([min(float(residual[below - 1]), 0.0), max(float(residual[-above]), 0.0)])
        inside += int(((residual >= offset[-1][0]) & (residual <= offset[-1][1])).sum())
    kept = np.unique(knots, return_index=True)[1]  # a tree's scores are few, and bins may share their middle
    found = Interval(np.array(knots)[kept], np.array(offset)[kept], coverage)
    return replace(found, offset=found.offset * _factor(found, score, label, inside))


def _factor(interval: Interval, score: np.ndarray, label: np.ndarray, inside: int) -> float:
    """The lowest by which offsets are to be multiplied to hold so many of the rows; 1 where none does."""
    residual, offset = label - score, interval.offsets(score)
    side = np.where(residual < 0, offset[:, 0], offset[:, 1])
    needed = np.full(len(residual), np.inf)
    np.divide(residual, side, out=needed, where=side != 0)
    needed[residual == 0] = 0.0
    factor = float(np.sort(needed)[inside - 1])
    return factor if np.isfinite(factor) else 1.0


@dataclass(frozen=True)
class Ratios:
    """Lower and upper bound of an amount as shares of the prediction, linear in its logarithm between the knots.

    Attributes:
        knots: Logarithms of predictions, float64 [K], ascending.
        ratio: float64 [K, 2]; the first column is 0 to 1, the second 1 or more.
        coverage: Share of true amounts that is to lie inside.
    """

    knots: np.ndarray
    ratio: np.ndarray
    coverage: float = COVERAGE

    def offsets(self, score: np.ndarray) -> np.ndarray:
        """Of scores [N] above 0, float64 [N, 2]."""
        at = np.log(score)
        return np.column_stack([score * (np.interp(at, self.knots, side) - 1) for side in self.ratio.T])


def fit_ratios(score: np.ndarray, label: np.ndarray, coverage: float = COVERAGE) -> Ratios:
    """From amounts that a model predicts for rows it was not fitted on: their ratios' quantiles, by neighbourhood.

    Where the lower bound is 0 nothing lies below it, so the upper one leaves out all that an interval may leave out.
    Where more than `coverage` of the rows are 0, no interval that holds the 0 can hold fewer rows.

    Args:
        score: Predicted, float64 [N], above 0.
        label: True, float64 [N], 0 or more.
        coverage: Wanted.
    """
    bins = int(np.clip(len(score) // BIN_ROWS, 1, MOST_BINS))
    order = np.argsort(score, kind="stable")
    knots, ratio = [], []
    for rows in np.array_split(order, bins):
        found = np.sort(label[rows] / score[rows])
        below = _rank(len(rows), (1 - coverage) / 2)
        lower = found[below - 1]
        above = below if lower > 0 else _rank(len(rows), 1 - coverage)
        knots.append(float(np.median(np.log(score[rows]))))
        ratio.append([min(float(lower), 1.0), max(float(found[-above]), 1.0)])
    kept = np.unique(knots, return_index=True)[1]
    return Ratios(np.array(knots)[kept], np.array(ratio)[kept], coverage)


def _rank(rows: int, left_out: float) -> int:
    """Of n rows the ⌊(n + 1) share⌋-th from the end, so that no more than the share lies beyond it; at least 1."""
    return max(int(np.floor((rows + 1) * left_out + 1e-9)), 1)
