"""What sets each segment apart, with effect sizes and corrected tests."""

# N rows, K segments

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.schema import Column, Schema
from scipy.stats import norm, rankdata

LARGE, MEDIUM, SMALL = 0.474, 0.33, 0.147  # of Cliff's delta (Romano et al., 2006)
LEVEL = 0.01  # of the corrected tests
TOLD = 4  # features a segment
MOST_VALUES = 20  # of a text column that are tested
FEWEST = 10  # rows of a segment, or rows alike, from which on its typical row is nobody's


@dataclass(frozen=True)
class Trait:
    """One feature of one segment against all other rows.

    Attributes:
        column: Of the table.
        value: The category; "" for missing; None of numbers and times.
        delta: Cliff's delta, P(inside > outside) − P(inside < outside); of a category the difference of its shares.
        p: Of the two-sided Mann-Whitney test, corrected by Holm over all segments and features.
        inside: Middle of the segment's known values, or share of the category in it.
        outside: The same of all other rows.
        middle: "median", or "mean" where medians are equal and means differ as the effect has it.
        is_time: Whether medians are times.
    """

    column: str
    value: str | None
    delta: float
    p: float
    inside: float
    outside: float
    middle: str = "median"
    is_time: bool = False

    def words(self) -> str:
        """Such as "spent higher (median 42 against 3.1)"."""
        if self.value is None:
            told = _time if self.is_time else _number
            more, less = ("later", "earlier") if self.is_time else ("higher", "lower")
            much = "much " if abs(self.delta) >= LARGE else ""
            word = more if self.delta > 0 else less
            return f"{self.column} {much}{word} ({self.middle} {told(self.inside)} against {told(self.outside)})"
        what = f"{self.column} missing" if self.value == "" else f"{self.column} {self.value}"
        often = "more" if self.delta > 0 else "less"
        return f"{what} {often} often ({_percent(self.inside)} against {_percent(self.outside)})"


@dataclass(frozen=True)
class Profile:
    """One segment.

    Attributes:
        name: Of the segment.
        rows: In it.
        share: Of all rows.
        traits: All features, the largest effect first.
        typical: A row of medians and most frequent values; None where it might be somebody's.
    """

    name: str
    rows: int
    share: float
    traits: tuple[Trait, ...]
    typical: dict[str, object] | None

    @property
    def told(self) -> tuple[Trait, ...]:
        """What sets it apart: effects from `SMALL` on whose test is significant, one a column, at most `TOLD`."""
        found: dict[str, Trait] = {}
        for trait in self.traits:
            if abs(trait.delta) >= SMALL and trait.p < LEVEL and trait.column not in found:
                found[trait.column] = trait
        return tuple(found.values())[:TOLD]

    def sentence(self) -> str:
        """Such as "Segment 2, 18 %: …"."""
        words = "; ".join(trait.words() for trait in self.told)
        return f"Segment {self.name}, {_percent(self.share)}: {words or 'nothing sets it apart from the others'}"


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
    return tuple(
        Profile(
            name,
            int(sizes[k]),
            float(sizes[k] / len(segment)),
            tuple(sorted(found[k], key=lambda one: -abs(one.delta))),
            typical_row({column.name: columns[column.name] for column in schema.inputs}, segment == k),
        )
        for k, name in enumerate(names)
    )


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


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _time(value: float) -> str:
    return str(np.datetime64(int(value), "s").astype("datetime64[D]"))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if 0.01 <= share <= 0.99 or share in (0, 1) else f"{100 * share:.1f} %"
