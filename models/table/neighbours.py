"""The nearest rows of a sample: shares of their classes, or the mean of their numbers."""

# N rows, M points, P columns of the design, C outputs, K neighbours

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.preprocess import Encoded
from ludocast.models.calibration import logits_of
from ludocast.models.table.design import Design
from ludocast.models.table.kernel import BLOCK, distances
from scipy import sparse
from sklearn.cluster import KMeans

GRID = (
    2.0**-20
)  # to which distances are rounded, so that equal ones are equal on every machine; the first row then wins
SETTINGS = (5.0, 15.0, 50.0)


@dataclass(frozen=True)
class Neighbours:
    """Points and what is known of them.

    Attributes:
        design: Of the rows.
        points: float64 [M, P], their values those of float32.
        targets: Shares of all classes, float64 [M, classes]; or numbers [M, 1].
        prior: What one more neighbour is taken to have, float64 [classes]; of numbers it does not count.
        count: K.
        classes: 0 of a number.
    """

    design: Design
    points: np.ndarray
    targets: np.ndarray
    prior: np.ndarray
    count: int
    classes: int

    def scores(self, encoded: Encoded) -> np.ndarray:
        """float64 [N, C]: log odds of shares, or numbers."""
        return self.staged_scores(encoded, [self.count])[0]

    def staged_scores(self, encoded: Encoded, counts: list[int]) -> list[np.ndarray]:
        """The scores for each of some numbers of neighbours."""
        x = self.design.matrix(encoded)
        near = np.concatenate([self._nearest(x[at : at + BLOCK], max(counts)) for at in range(0, x.shape[0], BLOCK)])
        found = []
        for count in counts:
            total = self.targets[near[:, :count]].sum(axis=1)
            if not self.classes:
                found.append(total / min(count, len(self.points)))
                continue
            shares = (total + self.prior) / (min(count, len(self.points)) + 1)
            found.append(logits_of(shares))
        return found

    def _nearest(self, x: sparse.csr_matrix, count: int) -> np.ndarray:
        """Positions of the nearest points, of equally near ones the first, int64 [N, K]."""
        return lowest(np.rint(distances(x, self.points) / GRID), min(count, len(self.points)))


def lowest(values: np.ndarray, count: int) -> np.ndarray:
    """Positions of the lowest values of each row, ascending, of equal ones the first, int64 [N, K].

    What a stable sort of all would begin with, in a tenth of the time.

    Args:
        values: float64 [N, M].
        count: K, at most M.
    """
    kept = np.sort(np.argpartition(values, count - 1, axis=1)[:, :count], axis=1)
    near = np.take_along_axis(values, kept, axis=1)
    last = near.max(axis=1, keepdims=True)
    # Where more values equal the last one than there is room for, those of the partition are any of them.
    tied = np.flatnonzero(np.count_nonzero(values <= last, axis=1) > count)
    if len(tied):
        some, limit = values[tied], last[tied]
        is_less, is_equal = some < limit, some == limit
        room = count - is_less.sum(axis=1, keepdims=True)
        chosen = is_less | (is_equal & (np.cumsum(is_equal, axis=1, dtype=np.int32) <= room))
        kept[tied] = np.nonzero(chosen)[1].reshape(len(tied), count)
        near[tied] = np.take_along_axis(some, kept[tied], axis=1)
    return np.take_along_axis(kept, np.argsort(near, axis=1, kind="stable"), axis=1)


def fit_neighbours(
    design: Design, encoded: Encoded, label: np.ndarray, classes: int, count: int, most: int, prototypes: int, seed: int
) -> Neighbours:
    """Keep the rows, or some of them.

    Args:
        design: Of the rows.
        encoded: The rows.
        label: Class index, int64 [N], or numbers, float64 [N].
        classes: C; 0 of a number.
        count: Neighbours.
        most: Of more rows than this a random sample is kept.
        prototypes: So many k-means centres in place of the rows, each with the mean of its rows' targets; 0 for none.
        seed: Of sample and centres.
    """
    targets = np.eye(classes)[label] if classes else label[:, None].astype(np.float64)
    prior = targets.mean(axis=0)
    rows = np.arange(len(label))
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
    points = design.matrix(encoded)[rows].toarray()
    targets = targets[rows]
    if 0 < prototypes < len(points):
        means = KMeans(prototypes, n_init=1, max_iter=30, random_state=seed).fit(points)
        belongs = np.eye(prototypes)[means.labels_]
        points = means.cluster_centers_.astype(np.float32).astype(np.float64)
        targets = (belongs.T @ targets) / np.maximum(belongs.sum(axis=0), 1)[:, None]
    return Neighbours(design, points, targets, prior, count, classes)
