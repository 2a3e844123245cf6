"""Folds that each hold their share of each of several labels (Sechidis, Tsoumakas and Vlahavas, ECML PKDD 2011)."""

# N rows, L labels, K folds

from __future__ import annotations

import numpy as np


def label_folds(label: np.ndarray, seed: int, count: int) -> np.ndarray:
    """Number of each row's fold, int64 [N], by iterative stratification (their algorithm 1).

    The label with the fewest rows left is dealt out first, each row to the fold that lacks most of that label, of
    equal ones to that with most room. What counts as having a label is its rarer value, whichever that is. Rows of one
    label set are dealt one after the other, so that each set is spread as well.

    Args:
        label: 0 or 1, int64 [N, L].
        seed: Of the order of equal rows and folds.
        count: K.
    """
    generator = np.random.default_rng(seed)
    has = label != (2 * label.sum(axis=0) > len(label))
    lacking = np.tile(has.sum(axis=0) / count, (count, 1))
    room = np.full(count, len(label) / count)
    fold = np.full(len(label), -1)
    while (fold < 0).any():
        rows = generator.permutation(np.flatnonzero(fold < 0))
        left = has[rows].sum(axis=0)
        if left.any():
            rarest = int(np.where(left > 0, left, len(label) + 1).argmin())
            rows = rows[has[rows, rarest]]
            rows = rows[np.lexsort(has[rows].T)]
            dealt = _dealt(lacking[:, rarest], room, len(rows), generator)
        else:
            dealt = _dealt(room, room, len(rows), generator)
        fold[rows] = dealt
        np.subtract.at(lacking, dealt, has[rows])
        room = room - np.bincount(dealt, minlength=count)
    return fold


def _dealt(lacking: np.ndarray, room: np.ndarray, rows: int, generator: np.random.Generator) -> np.ndarray:
    """The fold of each of some rows, int64 [rows]: one after the other goes to the fold that then lacks most.

    Args:
        lacking: Rows that each fold lacks, float64 [K].
        room: Of equal ones that with more goes first, float64 [K].
        rows: To be dealt.
        generator: Of the order of folds that are equal in both.
    """
    count = len(lacking)
    # A fold that lacks d rows lacks d - 1 after the next; the largest of all these are dealt in their order.
    most = int(rows // count + np.ceil(lacking.max() - lacking.min())) + 2
    each = np.round(lacking[:, None] - np.arange(most), 9)
    chance = generator.permutation(count)
    order = np.lexsort((np.repeat(chance, most), np.repeat(-np.round(room, 9), most), -each.ravel()))
    return np.asarray(order[:rows] // most)
