"""How far what a model is asked about is from what it learnt from: counts by column, off the way of a request."""

# C columns, N rows or steps

from __future__ import annotations

import threading
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

_MOST_WAITING = 1024  # rows or steps that are kept to be counted together: half a millisecond's work
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _Column:
    """What training has seen of one."""

    name: str
    tensor: str
    range: tuple[float, float]
    known: frozenset[str] | None  # "" among them; None where all are

    def count(self, values: Array) -> tuple[int, int, int, int]:
        """In the order of `WHAT`, of any shape."""
        if values.dtype == object:
            texts = values.ravel().tolist()
            known = len(texts) if self.known is None else sum(map(self.known.__contains__, texts))
            return len(texts), texts.count(""), len(texts) - known, 0
        # Rounded as the values are: the largest value of the training is not above itself.
        low, high = np.array(self.range, values.dtype)
        outside = np.count_nonzero((values < low) | (values > high))
        return values.size, int(np.count_nonzero(np.isnan(values))), 0, int(outside)


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
        self._waiting: list[Feeds | SequenceFeeds] = []
        self._rows = 0
        self._lock = threading.Lock()

    def add(self, feeds: Feeds | SequenceFeeds) -> None:
        """Rows that were predicted."""
        with self._lock:
            self._waiting.append(feeds)
            self._rows += feeds.rows if isinstance(feeds, Feeds) else int(feeds.lengths.sum())
            if self._rows >= _MOST_WAITING:
                self._count()

    def take(self) -> InputCounts:
        """What was counted since this was asked last."""
        with self._lock:
            self._count()
            counts, self._counts = self._counts.tolist(), np.zeros_like(self._counts)
        return {(*self._model, column.name): row for column, row in zip(self._columns, counts, strict=True) if row[0]}

    def _count(self) -> None:
        waiting, self._waiting, self._rows = self._waiting, [], 0
        blocks = [feeds for feeds in waiting if isinstance(feeds, Feeds) and feeds.blocks]
        if blocks:
            start = 0
            for parts in zip(*(feeds.blocks for feeds in blocks), strict=True):  # one type after the other
                block = np.concatenate(parts, axis=1)  # [C, N, 1]
                for place, values in enumerate(block, start):
                    self._counts[place] += self._columns[place].count(values)
                start += len(block)
        for feeds in waiting:
            if isinstance(feeds, SequenceFeeds):
                tensors = {**{name: values[:-1] for name, values in feeds.steps.items()}, **feeds.cells}
            elif not feeds.blocks:
                tensors = feeds.tensors
            else:
                continue
            for place, column in enumerate(self._columns):
                self._counts[place] += column.count(tensors[column.tensor])


def add_counts(total: InputCounts, more: InputCounts) -> None:
    """Add to a total."""
    for of, counts in more.items():
        known = total.get(of, [0] * len(WHAT))
        total[of] = [a + b for a, b in zip(known, counts, strict=True)]


def _column(item: Input, known: Sequence[str] | None) -> _Column:
    bounds = (-np.inf, np.inf) if item.range is None else item.range
    return _Column(item.column, item.tensor, bounds, None if known is None else frozenset((*known, "")))
