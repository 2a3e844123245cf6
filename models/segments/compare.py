"""Segments of two tables, and of two runs: how shares moved, and which segment is which."""

# N rows, K segments

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import chi2_contingency


@dataclass(frozen=True)
class Drift:
    """Shares of segments in two tables.

    Attributes:
        before: Share of each segment in the table that was learnt from, float64 [K].
        after: In the other.
        rows: Of the two.
        index: Population stability index, Σ (after − before) ln(after / before); 0.1 is some drift, 0.25 much.
        p: Of the χ² test that shares are equal.
        distances: Median distance of rows to their segment in the two; None of a mixture.
    """

    before: np.ndarray
    after: np.ndarray
    rows: tuple[int, int]
    index: float
    p: float
    distances: tuple[float, float] | None

    def sentence(self) -> str:
        """What it means."""
        word = "much" if self.index >= 0.25 else "some" if self.index >= 0.1 else "little"
        p = "p < 0.001" if self.p < 0.001 else f"p = {self.p:.3f}"
        return f"There is {word} drift between the tables: population stability index {self.index:.3f}, χ² test {p}."


def drift(before: np.ndarray, after: np.ndarray, size: int, distances: tuple[float, float] | None) -> Drift:
    """Compare segments, int64 [N] each, of K = `size`."""
    counts = np.array([np.bincount(one, minlength=size) for one in (before, after)])
    share = counts / counts.sum(axis=1, keepdims=True)
    smoothed = (counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)
    index = float(((smoothed[1] - smoothed[0]) * np.log(smoothed[1] / smoothed[0])).sum())
    present = counts[:, counts.sum(axis=0) > 0]
    p = float(chi2_contingency(present, correction=False).pvalue) if present.shape[1] > 1 else 1.0
    return Drift(share[0], share[1], (len(before), len(after)), index, p, distances)


def aligned_names(segment: np.ndarray, size: int, others: np.ndarray, names: Sequence[str]) -> tuple[str, ...]:
    """Names of an earlier run for segments that are those of now.

    Pairs are so chosen that as many rows as can be keep their name; a segment without a partner, or sharing less than
    half of the smaller one's rows with it, gets the next number that was never given.

    Args:
        segment: Of each row now, int64 [N].
        size: Number of segments now.
        others: Name of the segment of each row by the earlier run, [N].
        names: All names of the earlier run.
    """
    place = {name: i for i, name in enumerate(names)}
    both = np.zeros((size, len(names)))
    np.add.at(both, (segment, np.array([place[str(name)] for name in others])), 1)
    mine, theirs = linear_sum_assignment(-both)
    found: dict[int, str] = {}
    for k, other in zip(mine.tolist(), theirs.tolist(), strict=True):
        if both[k, other] >= 0.5 * max(min(both[k].sum(), both[:, other].sum()), 1):
            found[k] = names[other]
    fresh = max((int(name) for name in names if name.isdecimal()), default=0)
    for k in range(size):
        if k not in found:
            fresh += 1
            found[k] = str(fresh)
    return tuple(found[k] for k in range(size))
