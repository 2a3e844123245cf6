"""Training, validation and test rows: stratified, by time, or by group."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ludocast.datamodules.label_folds import label_folds
from ludocast.datamodules.number_label import strata

CROSS_ROWS = 40_000  # with fewer training rows each is held out in turn, instead of a tenth of them for good


@dataclass(frozen=True)
class Split:
    """Row numbers of the parts; `validation` is None where the training rows are to be held out in turn."""

    train: np.ndarray
    validation: np.ndarray | None
    test: np.ndarray
    rule: str

    def write(self, path: Path) -> None:
        """Write `row,part`, rows counted from 1, for whoever wants to score the same parts by other means."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        found = [(int(row), name) for name, rows in parts.items() if rows is not None for row in rows]
        lines = [f"{row + 1},{name}" for row, name in sorted(found)]
        path.write_text("row,part\n" + "\n".join(lines) + "\n", encoding="utf-8")


def held_out_twice(rows: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A share of the rows for the test, the same share of the rest for validation; row numbers, ascending.

    Args:
        rows: How many there are.
        share: Of those held out, each time.
        seed: Of the draw.

    Returns:
        Training, validation, both together, and test.
    """
    order = np.random.default_rng(seed).permutation(rows)
    test, rest = order[: int(rows * share)], order[int(rows * share) :]
    held, train = rest[: int(len(rest) * share)], rest[int(len(rest) * share) :]
    return np.sort(train), np.sort(held), np.sort(rest), np.sort(test)


def folds(label: np.ndarray, seed: int, count: int) -> np.ndarray:
    """A stratified fold number for each row, int64 [N]; of classes, of several labels [N, L], or of numbers."""
    if label.ndim == 2:
        return label_folds(label, seed, count)
    label = strata(label)
    fold = np.empty(len(label), np.int64)
    generator = np.random.default_rng(seed)
    start = 0
    for name in np.unique(label):
        rows = generator.permutation(np.flatnonzero(label == name))
        fold[rows] = (np.arange(len(rows)) + start) % count
        start += len(rows)
    return fold


def inner_split(
    label: np.ndarray, validation: float, seed: int, cross_rows: int = CROSS_ROWS
) -> tuple[np.ndarray, np.ndarray | None]:
    """Training and validation rows of one part; no validation rows where each is to be held out in turn."""
    if len(label) < cross_rows:
        return np.arange(len(label)), None
    fold = folds(label, seed, round(1 / validation))
    return np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)


def stratified_split(
    label: np.ndarray, test: float, validation: float, seed: int, cross_rows: int = CROSS_ROWS
) -> Split:
    """Each part has the classes in the table's own proportion.

    Args:
        label: int64 [N], or of several labels [N, L], or numbers, float64 [N].
        test: Share of the test rows.
        validation: Share of the rest.
        seed: Of the shuffle.
        cross_rows: Below this many training rows there is no validation part.
    """
    fold = folds(label, seed, max(2, round(1 / test)))
    rest, held = np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)
    train, known = inner_split(label[rest], validation, seed, cross_rows)
    return Split(rest[train], None if known is None else rest[known], held, f"stratified, seed {seed}")


def time_split(time: np.ndarray, test: float, validation: float) -> Split:
    """The latest rows are the test part, those before them validation; equal times are never parted.

    Args:
        time: Sortable [N], no missing values.
        test: Share of the test rows.
        validation: Share of the rest.

    Raises:
        ValueError: If there are too few distinct times.
    """
    first_test = np.quantile(time, 1 - test, method="higher")
    rest = np.flatnonzero(time < first_test)
    if not len(rest):
        raise ValueError("all rows have nearly one time, so there is no past to learn from; leave --split-time out")
    first_validation = np.quantile(time[rest], 1 - validation, method="higher")
    train = rest[time[rest] < first_validation]
    if not len(train):
        raise ValueError("too few distinct times for three parts; leave --split-time out")
    known = rest[time[rest] >= first_validation]
    return Split(train, known, np.flatnonzero(time >= first_test), "by time: the latest rows are the test")


def group_split(group: np.ndarray, test: float, validation: float, seed: int) -> Split:
    """All rows of a group lie in one part.

    Args:
        group: Group name of each row, objects [N].
        test: Share of the groups in the test part.
        validation: Share of the other groups.
        seed: Of the shuffle.

    Raises:
        ValueError: If there are fewer than 5 groups.
    """
    names, member = np.unique(group.astype(str), return_inverse=True)
    if len(names) < 5:
        raise ValueError(f"--split-group needs 5 groups or more, got {len(names)}")
    place = np.random.default_rng(seed).permutation(len(names))[member] / len(names)
    later = test + (1 - test) * validation
    return Split(
        np.flatnonzero(place >= later),
        np.flatnonzero((place >= test) & (place < later)),
        np.flatnonzero(place < test),
        f"by group, seed {seed}",
    )
