"""What a bundle keeps of the rows that its model learnt from, to tell later whether others still look like them.

Counts alone: of numbers in about a hundred bins of `FEWEST` rows or more, whose edges are rounded between their
neighbours, so that none is the value of a row; of texts the most frequent ones by name.
"""

# N rows, K edges

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

REFERENCE_FILE = "reference.json"
FORMAT = 3
ONE_LABEL = 2  # format of what has one label, which older releases read
CLASSES_ALONE = 1  # format of bundles whose label can only be a class
BINS = 100
FEWEST = 5  # rows of a bin
LISTED = 50  # categories that are counted by name
NUMBERS = ("number", "timestamp")
SEGMENT = "segment"  # kind of the label where the model finds groups: rows of each


@dataclass(frozen=True)
class ColumnReference:
    """How often a column held what.

    Attributes:
        name: Of the column.
        kind: As in the schema.
        missing: Rows without a value.
        edges: Of numbers and times: bin i holds the values from edges[i − 1] on and below edges[i]; None for texts.
        counts: Rows of each bin, one more than there are edges; of texts of each name.
        names: Of texts the most frequent ones, as the counts are; None for numbers.
        others: Of texts rows with any other name.
        distinct: Of texts how many names there were.
    """

    name: str
    kind: str
    missing: int
    counts: tuple[int, ...]
    edges: tuple[float, ...] | None = None
    names: tuple[str, ...] | None = None
    others: int = 0
    distinct: int = 0

    @property
    def rows(self) -> int:
        """All of them."""
        return sum(self.counts) + self.others + self.missing

    @property
    def lists_all(self) -> bool:
        """Whether every text that training has seen is named."""
        return self.names is not None and self.distinct == len(self.names)

    def count(self, values: np.ndarray[Any, Any]) -> ColumnReference:
        """The same bins and names, with how often other values [N] fall in each; as `describe_column` takes them."""
        if self.names is None:
            assert self.edges is not None
            gap = np.isnan(values)
            counts = np.bincount(np.searchsorted(self.edges, values[~gap], side="right"), minlength=len(self.edges) + 1)
            return replace(self, missing=int(gap.sum()), counts=tuple(counts.tolist()))
        found, numbers = np.unique(values.astype(str), return_counts=True)
        by_name = dict(zip(found.tolist(), numbers.tolist(), strict=True))
        missing = by_name.pop("", 0)
        listed = tuple(by_name.pop(name, 0) for name in self.names)
        distinct = sum(count > 0 for count in listed) + len(by_name)
        return replace(self, missing=missing, counts=listed, others=sum(by_name.values()), distinct=distinct)

    def __add__(self, more: ColumnReference) -> ColumnReference:
        """Both counts of the same bins or names; `distinct` is the larger one."""
        counts = tuple(a + b for a, b in zip(self.counts, more.counts, strict=True))
        return replace(
            self, missing=self.missing + more.missing, counts=counts, others=self.others + more.others,
            distinct=max(self.distinct, more.distinct),
        )  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """What a model learnt from, and what it answered on its test rows.

    Attributes:
        labels: In training: rows of each class or segment, or the bins of numbers; one, or of several labels each.
        scores: Of the test rows the probability of the positive class, else of the likeliest one; or predicted numbers.
            Of segments, of the training rows, the distance to their own or its probability. As many as labels.
        columns: That the model reads.
    """

    labels: tuple[ColumnReference, ...]
    scores: tuple[ColumnReference, ...]
    columns: tuple[ColumnReference, ...]

    @property
    def finds_segments(self) -> bool:
        """Whether the label is what the model finds, no column."""
        return self.labels[0].kind == SEGMENT

    def to_json(self) -> bytes:
        """Content of `REFERENCE_FILE`."""
        document: dict[str, Any] = {"format": FORMAT, **asdict(self)}
        if len(self.labels) == 1:
            (label,), (score,) = document.pop("labels"), document.pop("scores")
            document = {**document, "format": ONE_LABEL, "label": label, "score": score}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def class_counts(name: str, classes: Mapping[str, int]) -> ColumnReference:
    """A label of classes, by the rows of each."""
    return ColumnReference(name, "label", 0, tuple(classes.values()), names=tuple(classes), distinct=len(classes))


def describe_column(name: str, kind: str, values: np.ndarray[Any, Any], rare: int = 0) -> ColumnReference:
    """Bins or names of a column, and their counts.

    Args:
        name: Of the column.
        kind: As in the schema.
        values: Numbers [N] (NaN is missing) or objects [N] of str ("" is missing).
        rare: Texts of fewer rows are not named.
    """
    if kind in NUMBERS:
        return _merged(ColumnReference(name, kind, 0, (), _edges(values)).count(values))
    found, numbers = np.unique(values[values != ""].astype(str), return_counts=True)
    order = np.lexsort((found, -numbers))[:LISTED]
    names = tuple(str(found[i]) for i in order if numbers[i] >= rare)
    return ColumnReference(name, kind, 0, (), names=names).count(values)


def _edges(values: np.ndarray[Any, Any]) -> tuple[float, ...]:
    """Quantiles, each rounded to less than the gap to its nearest neighbour."""
    known = values[~np.isnan(values)].astype(np.float64)
    bins = min(BINS, len(known) // FEWEST)
    if bins < 2:
        return ()
    cuts = np.unique(np.quantile(known, np.arange(bins + 1) / bins, method="higher"))
    gap = np.diff(cuts)
    nearest = np.minimum(gap, np.append(gap[1:], np.inf))
    return tuple(sorted({_round(float(cut), float(width)) for cut, width in zip(cuts[1:], nearest, strict=True)}))


def _round(cut: float, gap: float) -> float:
    """To the decimal place that is at most as wide as the gap, so that no two cuts become one."""
    return round(cut, -math.floor(math.log10(gap)))


def _merged(column: ColumnReference) -> ColumnReference:
    """Each bin of too few rows made one with the next, the last with the one before."""
    assert column.edges is not None
    edges: list[float] = []
    counts: list[int] = []
    open_count = 0
    for edge, count in zip((*column.edges, math.inf), column.counts, strict=True):
        open_count += count
        if open_count >= FEWEST:
            edges.append(edge)
            counts.append(open_count)
            open_count = 0
    if not counts:
        return replace(column, edges=(), counts=(open_count,))
    counts[-1] += open_count
    return replace(column, edges=tuple(edges[:-1]), counts=tuple(counts))


def read_reference(content: bytes) -> Reference:
    """Read what `Reference.to_json` wrote.

    Raises:
        ValueError: If it is something else.
    """
    try:
        document = json.loads(content)
        columns = tuple(_column(entry) for entry in document["columns"])
        if document["format"] == FORMAT:
            labels, scores = (tuple(_column(entry) for entry in document[key]) for key in ("labels", "scores"))
            if not labels or len(labels) != len(scores):
                raise ValueError("it has one score a label")
            return Reference(labels, scores, columns)
        if document["format"] == CLASSES_ALONE:
            classes = {str(name): _count(count) for name, count in document["classes"].items()}
            label = class_counts(str(document["label"]), classes)
        elif document["format"] == ONE_LABEL:
            label = _column(document["label"])
        else:
            raise ValueError(f"it has format {document['format']}, and this ludocast reads up to {FORMAT}")
        return Reference((label,), (_column(document["score"]),), columns)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(f"{REFERENCE_FILE} is not as training writes it ({type(error).__name__} {error})") from error


def _column(entry: Mapping[str, Any]) -> ColumnReference:
    edges, names = entry["edges"], entry["names"]
    counts = tuple(_count(count) for count in entry["counts"])
    if (edges is None) == (names is None):
        raise ValueError("a column has either edges or names")
    if len(counts) != (len(names) if edges is None else len(edges) + 1):
        raise ValueError("a column has as many counts as bins or names")
    if edges is not None and not _ascend(edges):
        raise ValueError("edges are numbers that ascend")
    return ColumnReference(
        str(entry["name"]), str(entry["kind"]), _count(entry["missing"]), counts,
        None if edges is None else tuple(map(float, edges)), None if names is None else tuple(map(str, names)),
        _count(entry["others"]), _count(entry["distinct"]),
    )  # fmt: skip


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise ValueError(f"a count is a whole number from 0 on, got {value!r}")
    return value


def _ascend(edges: Sequence[Any]) -> bool:
    numbers = np.array(edges, np.float64)
    return bool(np.isfinite(numbers).all() and (np.diff(numbers) > 0).all())
