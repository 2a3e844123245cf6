"""Prediction intervals from held-out residuals: conformal, and wider where the model errs more.

Split conformal prediction (Vovk et al. 2005; Lei et al., JASA 2018, algorithm 2) by neighbourhoods of the predicted
score: held-out rows are parted by score into bins of equal size (Mondrian taxonomy, Vovk et al. 2005, section 4.5), and
a bin's offsets are its signed residuals' quantiles with the finite-sample correction. Between the bins' middles they
are interpolated, so that no interval jumps; all are then made wider or narrower by one factor, so that they hold as
many held-out rows as before: where a bound lies along a line, such as the 1 of counts, interpolated ones hold more.

A lowest label that many rows have, such as 0, lies along a line too, and an offset would be on one side of it for some
rows of a neighbourhood and on the other for the rest. There the lower bound is that label itself.
"""

# N rows, K knots

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COVERAGE = 0.9
SAME = 1e-6  # scaled labels that are no further apart are the same
REACH = 10.0  # ranges of the scores by which a new one may be above them all
OFTEN = 0.02  # share of the rows from which on the lowest label is one that many have
BIN_ROWS = 200  # held-out rows of a bin at least, so that its outer 5 % are ten rows
MOST_BINS = 10


@dataclass(frozen=True)
class Interval:
    """Offsets of the lower and upper bound at some scores, linear between them and constant outside.

    Attributes:
        knots: float64 [K], ascending.
        offset: float64 [K, 2]; the first column is ≤ 0, the second ≥ 0. Where the lower bound is to be the lowest label
            it leads below that, and who adds it to the score has to end there.
        coverage: Share of true values that is to lie inside.
    """

    knots: np.ndarray
    offset: np.ndarray
    coverage: float = COVERAGE

    def offsets(self, score: np.ndarray) -> np.ndarray:
        """Of scores [N], float64 [N, 2]."""
        return np.column_stack([np.interp(score, self.knots, side) for side in self.offset.T])


def lowest_of_many(label: np.ndarray) -> float:
    """The lowest label [N] where many rows have it, else minus infinity; as float32, and not above it, for graphs."""
    lowest = label.min()
    if np.mean(label == lowest) < OFTEN:
        return -np.inf
    rounded = np.float32(lowest)
    return float(rounded if rounded <= lowest else np.nextafter(rounded, np.float32(-np.inf)))


def fit_interval(score: np.ndarray, label: np.ndarray, coverage: float = COVERAGE, lowest: float = -np.inf) -> Interval:
    """From scores of rows that the model was not fitted on.

    Args:
        score: Predicted, float64 [N].
        label: True, float64 [N].
        coverage: Wanted.
        lowest: The label below which there is none, where many rows have it; neither score nor bound is below it.
    """
    score = np.maximum(score, lowest)
    bins = int(np.clip(len(score) // BIN_ROWS, 1, MOST_BINS))
    order = np.argsort(score, kind="stable")
    middles, sides, inside = [], [], 0
    for rows in np.array_split(order, bins):
        residual = np.sort(label[rows] - score[rows])
        lower, upper = _sides(residual, int((label[rows] <= lowest + SAME).sum()), coverage)
        middles.append(float(np.median(score[rows])))
        sides.append([lower, upper])
        inside += int(((residual >= lower) & (residual <= upper)).sum())
    kept = np.unique(middles, return_index=True)[1]  # a tree's scores are few, and bins may share their middle
    knots, offset, fixed = np.array(middles)[kept], np.array(sides)[kept], np.zeros((len(kept), 2))
    is_open = np.isinf(offset[:, 0])
    # As far as the next knot no row's lower bound is then above the lowest label; behind the last one far beyond.
    furthest = score.max() + REACH * (score.max() - score.min())
    fixed[is_open, 0] = np.minimum(lowest - np.append(knots[1:], furthest)[is_open], 0.0)
    offset[is_open, 0] = 0.0
    return Interval(knots, offset * _factor(knots, offset, fixed, score, label, inside) + fixed, coverage)


def _sides(residual: np.ndarray, at_lowest: int, coverage: float) -> tuple[float, float]:
    """Offsets of the bounds in one neighbourhood.

    Args:
        residual: Of its rows, float64 [N], ascending.
        at_lowest: How many of them have the lowest label. Where these are more than may be left out below, none is,
            and the lower offset is minus infinity.
        coverage: Wanted.
    """
    below = above = _rank(len(residual), (1 - coverage) / 2)
    both = _rank(len(residual), 1 - coverage)
    if at_lowest >= below:
        return -np.inf, max(float(residual[-both]), 0.0)
    # A bound stays on its own side of the prediction; what one may then not leave out the other does.
    if residual[below - 1] > 0:
        above = max(both - int((residual < 0).sum()), 1)
    elif residual[-above] < 0:
        below = max(both - int((residual > 0).sum()), 1)
    return min(float(residual[below - 1]), 0.0), max(float(residual[-above]), 0.0)


def _factor(
    knots: np.ndarray, offset: np.ndarray, fixed: np.ndarray, score: np.ndarray, label: np.ndarray, inside: int
) -> float:
    """The lowest by which offsets are to be multiplied to hold so many of the rows; 1 where none does.

    Args:
        knots: float64 [K].
        offset: That are multiplied, float64 [K, 2].
        fixed: That are added as they are, the same.
        score: Predicted, float64 [N].
        label: True, float64 [N].
        inside: Number of rows.
    """
    residual = label - score
    at_rows = [np.column_stack([np.interp(score, knots, side) for side in part.T]) for part in (offset, fixed)]
    side, least = (np.where(residual < 0, part[:, 0], part[:, 1]) for part in at_rows)
    needed = np.full(len(residual), np.inf)
    np.divide(residual - least, side, out=needed, where=side != 0)
    needed[np.where(residual < 0, residual >= least, residual <= least)] = 0.0
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
