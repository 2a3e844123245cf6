"""What sets each segment apart, with effect sizes and corrected tests."""

# N rows, K segments

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.schema import Column, Schema
from ludocast.models.segments.told import Teller
from ludocast.models.segments.trait import Trait, percent
from scipy.stats import norm, rankdata

MOST_VALUES = 20  # of a text column that are tested
FEWEST = 10  # rows of a segment, or rows alike, from which on its typical row is nobody's


@dataclass(frozen=True)
class Profile:
    """One segment.

    Attributes:
        name: Of the segment.
        rows: In it.
        share: Of all rows.
        traits: All features, the largest effect first.
        told: Those of them that set it apart, as `Teller` picks them.
        typical: A row of medians and most frequent values; None where it might be somebody's.
    """

    name: str
    rows: int
    share: float
    traits: tuple[Trait, ...]
    told: tuple[Trait, ...]
    typical: dict[str, object] | None

    def sentence(self) -> str:
        """Such as "Segment 2, 18 %: …"."""
        words = "; ".join(trait.words() for trait in self.told)
        return f"Segment {self.name}, {percent(self.share)}: {words or 'nothing sets it apart from the others'}"


@dataclass(frozen=True)
class _Feature:
    column: str
    value: str | None
    values: np.ndarray
    is_time: bool = False


def profile_segments(
    schema: Schema, columns: RawColumns, segment: np.ndarray, names: Sequence[str]
) -> tuple[Profile, ...]:
    """Compare each segment with all other rows, feature by feature.

    Args:
        schema: Its used columns are compared.
        columns: Raw columns.
        segment: Of each row, int64 [N].
        names: Of the segments.
    """
    traits = [trait for column in schema.inputs for trait in _traits(column, columns[column.name], segment, len(names))]
    corrected = holm(np.array([one.p for _, one in traits]))
    found: list[list[Trait]] = [[] for _ in names]
    for (k, trait), p in zip(traits, corrected, strict=True):
        found[k].append(replace(trait, p=float(p)))
    sizes = np.bincount(segment, minlength=len(names))
    used = {column.name: columns[column.name] for column in schema.inputs}
    teller, profiles = Teller(used), []
    for k, name in enumerate(names):
        every = tuple(sorted(found[k], key=lambda one: -abs(one.delta)))
        share = float(sizes[k] / len(segment))
        profiles.append(Profile(name, int(sizes[k]), share, every, teller.told(every), typical_row(used, segment == k)))
    return tuple(profiles)


def _traits(column: Column, values: np.ndarray, segment: np.ndarray, size: int) -> Iterator[tuple[int, Trait]]:
    for feature in _features(column, values):
        known = ~np.isnan(feature.values)
        x, owner = feature.values[known], segment[known]
        count = np.bincount(owner, minlength=size).astype(float)
        ranks = rankdata(x)
        sums = np.bincount(owner, weights=ranks, minlength=size)
        _, ties = np.unique(ranks, return_counts=True)
        rows = float(len(x))
        tied = 1 - float((ties.astype(float) ** 3 - ties).sum()) / max(rows**3 - rows, 1.0)
        for k in range(size):
            inside, outside = count[k], rows - count[k]
            if not inside or not outside:
                continue
            wins = sums[k] - inside * (inside + 1) / 2
            deviation = np.sqrt(inside * outside * (rows + 1) / 12 * tied)
            z = (wins - inside * outside / 2) / deviation if deviation > 0 else 0.0
            delta = float(2 * wins / (inside * outside) - 1)
            middle, both = _middles(x[owner == k], x[owner != k], delta, feature)
            p = float(2 * norm.sf(abs(z)))
            yield k, Trait(column.name, feature.value, delta, p, *both, middle, feature.is_time)


def _middles(
    inside: np.ndarray, outside: np.ndarray, delta: float, feature: _Feature
) -> tuple[str, tuple[float, float]]:
    means = float(inside.mean()), float(outside.mean())
    if feature.value is not None:
        return "mean", means
    medians = float(np.median(inside)), float(np.median(outside))
    if medians[0] == medians[1] and (means[0] > means[1]) == (delta > 0) and means[0] != means[1]:
        return "mean", means
    return "median", medians


def _features(column: Column, values: np.ndarray) -> Iterator[_Feature]:
    if values.dtype != object:
        gaps = np.isnan(values)
        yield _Feature(column.name, None, values.astype(np.float64), column.kind == "timestamp")
        if gaps.any():
            yield _Feature(column.name, "", gaps.astype(np.float64))
        return
    keys, counts = np.unique(values.astype(str), return_counts=True)
    for key in keys[np.argsort(-counts, kind="stable")[:MOST_VALUES]]:
        yield _Feature(column.name, str(key), (values == key).astype(np.float64))


def holm(p: np.ndarray) -> np.ndarray:
    """Corrected for the number of tests (Holm, 1979), float64."""
    order = np.argsort(p, kind="stable")
    raised = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    found = np.empty_like(raised)
    found[order] = raised
    return found


def typical_row(columns: RawColumns, inside: np.ndarray) -> dict[str, object] | None:
    """Medians and most frequent values of some rows; None if they are few, or a few rows of the table are so."""
    if int(inside.sum()) < FEWEST:
        return None
    row: dict[str, object] = {}
    alike = np.ones(len(inside), bool)
    for name, values in columns.items():
        part = values[inside]
        if values.dtype == object:
            keys, counts = np.unique(part.astype(str), return_counts=True)
            row[name] = str(keys[counts.argmax()])
            alike &= values == row[name]
            continue
        known = part[~np.isnan(part)]
        middle = float(np.quantile(known, 0.5, method="nearest")) if len(known) else float("nan")
        row[name] = middle
        alike &= (values == middle) if len(known) else np.isnan(values)
    return None if 0 < int(alike.sum()) < FEWEST else row
