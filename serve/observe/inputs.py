"""How far what a model is asked about is from what it learnt from: counts by column, off the way of a request."""

# C columns, N rows or steps

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ludocast.serve.feeds import Feeds, by_type
from ludocast.serve.manifest import Input, Manifest
from ludocast.serve.sequence_feeds import SequenceFeeds

WHAT = ("values", "missing", "unknown", "outside")
InputCounts = dict[tuple[str, str, str], list[int]]
"""By model, version and column, numbers in the order of `WHAT`."""

_MOST_WAITING = 2048  # rows or steps that are kept to be counted together: a millisecond's work
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _Column:
    """What training has seen of one."""

    name: str
    tensor: str
    range: tuple[float, float]
    known: frozenset[str] | None  # "" among them; None where all are


class InputCounter:
    """Counts values, missing ones, categories that the bundle does not list, and numbers outside of training's range.

    A bundle lists all categories of a column, or of more than 50 the most frequent; of a recommender's history all
    items of its catalogue are known. A number that was taken as missing counts as missing. Of lists each step counts.

    Args:
        manifest: Of the bundle.
    """

    def __init__(self, manifest: Manifest) -> None:
        lists = [item.column for item in manifest.inputs if item.form != "cell"]
        catalogue = lists[0] if manifest.task == "items" else None
        self._columns = [
            _column(item, manifest.classes if item.column == catalogue else item.categories)
            for item in by_type(manifest.inputs)
        ]
        self._model = manifest.name, manifest.version
        self._counts = np.zeros((len(self._columns), len(WHAT)), np.int64)
        self._waiting: deque[Feeds | SequenceFeeds] = deque()
        self._size = 0
        self._lock = threading.Lock()

    def add(self, feeds: Feeds | SequenceFeeds) -> None:
        """Rows that were predicted."""
        self._waiting.append(feeds)
        self._size += feeds.rows if isinstance(feeds, Feeds) else feeds.rows + int(feeds.lengths.sum())
        if self._size >= _MOST_WAITING:  # threads may lose a bit of the size, never of what waits
            with self._lock:
                self._count()

    def take(self) -> InputCounts:
        """What was counted since this was asked last."""
        with self._lock:
            self._count()
            counts, self._counts = self._counts.tolist(), np.zeros_like(self._counts)
        return {(*self._model, column.name): row for column, row in zip(self._columns, counts, strict=True) if row[0]}

    def _count(self) -> None:
        self._size = 0
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        blocks = [feeds for feeds in waiting if isinstance(feeds, Feeds) and feeds.blocks]
        if blocks:
            start = 0
            for parts in zip(*(feeds.blocks for feeds in blocks), strict=True):  # one type after the other
                block = np.concatenate(parts, axis=1)[..., 0]  # [C, N]
                here = slice(start, start + len(block))
                self._counts[here] += _count_block(self._columns[here], block)
                start += len(block)
        for feeds in waiting:
            if isinstance(feeds, SequenceFeeds):
                tensors = {**{name: values[:-1] for name, values in feeds.steps.items()}, **feeds.cells}
            elif not feeds.blocks:
                tensors = feeds.tensors
            else:
                continue
            for place, column in enumerate(self._columns):
                self._counts[place] += _count_block([column], tensors[column.tensor].reshape(1, -1))[0]


def add_counts(total: InputCounts, more: InputCounts) -> None:
    """Add to a total."""
    for of, counts in more.items():
        known = total.get(of, [0] * len(WHAT))
        total[of] = [a + b for a, b in zip(known, counts, strict=True)]


def _count_block(columns: Sequence[_Column], block: Array) -> Array:
    """Numbers [C, len(WHAT)] of columns of one type, [C, N]."""
    if block.dtype == object:
        return np.array([_count_texts(column, texts) for column, texts in zip(columns, block.tolist(), strict=True)])
    # Rounded as the values are: the largest value of the training is not above itself.
    bounds = np.array([column.range for column in columns], block.dtype)
    found = np.zeros((len(block), len(WHAT)), np.int64)
    found[:, 0] = block.shape[1]
    found[:, 1] = np.count_nonzero(np.isnan(block), axis=1)
    found[:, 3] = np.count_nonzero((block < bounds[:, :1]) | (block > bounds[:, 1:]), axis=1)
    return found


def _count_texts(column: _Column, texts: list[str]) -> tuple[int, int, int, int]:
    known = len(texts) if column.known is None else sum(map(column.known.__contains__, texts))
    return len(texts), texts.count(""), len(texts) - known, 0


def _column(item: Input, known: Sequence[str] | None) -> _Column:
    bounds = (-np.inf, np.inf) if item.range is None else item.range
    return _Column(item.column, item.tensor, bounds, None if known is None else frozenset((*known, "")))
