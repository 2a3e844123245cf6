"""Which traits of a segment are told: large and significant ones, each with the columns that say the same."""

# S rows of a sample

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from ludocast.datamodules.infer import RawColumns
from ludocast.models.segments.trait import Trait
from scipy.stats import rankdata

SMALL = 0.147  # of Cliff's delta (Romano et al., 2006)
LEVEL = 0.01  # of the corrected tests
TOLD = 4  # features a segment
ALIKE = 0.9  # rank correlation, either way, from which on two features say the same
SAMPLE = 20_000  # rows that it is measured on


class Teller:
    """Picks traits to tell.

    Args:
        columns: Raw columns of a table.
    """

    def __init__(self, columns: RawColumns) -> None:
        rows = len(next(iter(columns.values())))
        some = np.unique(np.linspace(0, rows - 1, min(rows, SAMPLE)).astype(np.int64))
        self._columns: Mapping[str, np.ndarray] = {name: values[some] for name, values in columns.items()}
        self._known: dict[tuple[str, str | None], np.ndarray] = {}

    def told(self, traits: Sequence[Trait]) -> tuple[Trait, ...]:
        """Effects from `SMALL` on whose test is significant, one a column, at most `TOLD`, none like one before it.

        Args:
            traits: Of a segment, the largest effect first.
        """
        found: list[Trait] = []
        for trait in traits:
            if abs(trait.delta) < SMALL or trait.p >= LEVEL or any(one.column == trait.column for one in found):
                continue
            twin = next((place for place, one in enumerate(found) if self._are_alike(one, trait)), None)
            if twin is None and len(found) < TOLD:
                found.append(trait)
            elif twin is not None and trait.column not in found[twin].alike:
                found[twin] = replace(found[twin], alike=(*found[twin].alike, trait.column))
        told = {one.column for one in found}
        return tuple(replace(one, alike=tuple(name for name in one.alike if name not in told)) for one in found)

    def _are_alike(self, one: Trait, other: Trait) -> bool:
        x, y = self._values(one), self._values(other)
        known = ~(np.isnan(x) | np.isnan(y))
        ranks = [rankdata(values[known]) for values in (x, y)]
        if known.sum() < 2 or any(rank.min() == rank.max() for rank in ranks):
            return False
        return bool(abs(np.corrcoef(ranks)[0, 1]) >= ALIKE)

    def _values(self, trait: Trait) -> np.ndarray:
        """The trait's number, or whether its value is there, float64 [S]."""
        key = (trait.column, trait.value)
        if key not in self._known:
            values = self._columns[trait.column]
            if trait.value is None:
                self._known[key] = values.astype(np.float64)
            else:
                has = values == trait.value if values.dtype == object else np.isnan(values)
                self._known[key] = has.astype(np.float64)
        return self._known[key]
