"""Traps that a table holds, told by name before anyone trusts a figure."""

from __future__ import annotations

import hashlib

import numpy as np
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.schema import Schema
from scipy.stats import rankdata

GIVES_AWAY = 0.999  # a single column with a higher AUC knows the label
RARE_CLASS = 0.05
ROWS_A_VALUE = 5  # categories with fewer rows a value look telling by chance


def traps(schema: Schema, columns: RawColumns, label: np.ndarray, train: np.ndarray, test: np.ndarray) -> list[str]:
    """Warnings about a table and its split.

    Args:
        schema: The table's schema.
        columns: Raw columns of all rows.
        label: int64 [N], of several labels [N, L], or numbers, float64 [N].
        train: Row numbers of the training part.
        test: Row numbers of the test part.
    """
    found = []
    # Of numbers a column gives away which are above the median.
    sides = (label > np.median(label)).astype(np.int64) if label.dtype.kind == "f" else label
    each = (
        [("the label", sides)]
        if sides.ndim == 1
        else [(f'the label "{one.name}"', side) for one, side in zip(schema.labels, sides.T, strict=True)]
    )
    for name, values in columns.items():
        for what, side in each:
            auc = single_column_auc(values[train], side[train])
            if auc > GIVES_AWAY:
                found.append(
                    f'column "{name}" alone tells {what} (AUC {auc:.4f}): is it known before the outcome? '
                    f'if not, --exclude "{name}"'
                )
    found += [f'columns "{a}" and "{b}" hold the same values' for a, b in _twins(columns)]
    shared = _shared_rows(columns, train, test)
    if shared > 0.01 * len(test):
        found.append(
            f"{shared:,} of {len(test):,} test rows equal a training row in every column; "
            "if they are of the same person or thing, use --split-group"
        )
    if label.dtype.kind == "f":
        return found
    if schema.labels:
        return [*found, *_rare_labels(schema, label)]
    share = np.bincount(label) / len(label)
    rare = int(share.argmin())
    if share[rare] < RARE_CLASS:
        found.append(
            f'class "{schema.classes[rare]}" is rare ({share[rare]:.1%} of the rows): '
            "look at average precision and lift rather than at accuracy"
        )
    return found


def _rare_labels(schema: Schema, label: np.ndarray) -> list[str]:
    return [
        f'the label "{one.name}" is rare ({share:.1%} of the rows have it): '
        "look at its average precision rather than at its accuracy"
        for one, share in zip(schema.labels, label.mean(axis=0), strict=True)
        if share < RARE_CLASS
    ]


def single_column_auc(values: np.ndarray, label: np.ndarray) -> float:
    """The best one-against-rest AUC that a column's values give without a model; 0.5 where it cannot be said."""
    if values.dtype == object:
        codes = np.unique(values.astype(str), return_inverse=True)[1]
        if (codes.max() + 1) * ROWS_A_VALUE > len(values):
            return 0.5
        scores = [np.bincount(codes, label == k) / np.bincount(codes) for k in np.unique(label)]
        return max(_auc(score[codes], label == k) for score, k in zip(scores, np.unique(label), strict=True))
    known = ~np.isnan(values)
    best = max(_auc(np.isnan(values).astype(float), label == k) for k in np.unique(label))
    for k in np.unique(label[known]):
        auc = _auc(values[known], label[known] == k)
        # What a few known values tell is no more than chance.
        if known.sum() > 0.5 * len(values):
            best = max(best, auc, 1 - auc)
    return best


def _auc(score: np.ndarray, positive: np.ndarray) -> float:
    hits = int(positive.sum())
    if hits in (0, len(positive)):
        return 0.5
    ranks = rankdata(score)
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * (len(positive) - hits)))


def _digest(values: np.ndarray) -> str:
    raw = "\0".join(values.tolist()).encode() if values.dtype == object else values.tobytes()
    return hashlib.sha256(raw).hexdigest()


def _twins(columns: RawColumns) -> list[tuple[str, str]]:
    first: dict[str, str] = {}
    pairs = []
    for name, values in columns.items():
        digest = _digest(values)
        if digest in first:
            pairs.append((first[digest], name))
        first.setdefault(digest, name)
    return pairs


def _shared_rows(columns: RawColumns, train: np.ndarray, test: np.ndarray) -> int:
    keys = np.stack([np.unique(_comparable(values), return_inverse=True)[1] for values in columns.values()], axis=1)
    rows = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    return int(np.isin(rows[test], rows[train]).sum())


def _comparable(values: np.ndarray) -> np.ndarray:
    return values.astype(str) if values.dtype == object else np.nan_to_num(values, nan=np.finfo(values.dtype).min)
