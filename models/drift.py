"""Whether rows still look like those that a model learnt from, column by column."""

# B bins

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ludocast.datamodules.reference import ColumnReference
from scipy.stats import chi2, kstwobign

BINS = 10  # of the population stability index, as is usual
MODERATE, LARGE = 0.1, 0.25  # of it, the usual rule of thumb
KS_MODERATE = 0.1
ERROR_RATE = 0.01  # that any column at all is told to have moved where none has


@dataclass(frozen=True)
class Drift:
    """One column, then and now.

    Attributes:
        name: Of the column.
        kind: As in the schema.
        psi: Population stability index over ten bins of about equal mass, or the listed names; missing is one more.
        psi_chance: How likely chance alone gives one as large.
        ks: Largest difference of the distribution functions of the known values; None for texts.
        ks_chance: How likely chance alone gives one as large.
        missing_then: Share in training.
        missing_now: Share now.
        unlisted_then: Of texts the share of names that the bundle does not list.
        unlisted_now: The same, now.
        lists_all: Whether these are names that training has not seen.
        level: "none", "moderate" or "large"; "none" where chance explains it.
    """

    name: str
    kind: str
    psi: float
    psi_chance: float
    ks: float | None
    ks_chance: float | None
    missing_then: float
    missing_now: float
    unlisted_then: float | None
    unlisted_now: float | None
    lists_all: bool
    level: str

    def sentence(self) -> str:
        """What moved, in words; of no use where the level is "none"."""
        parts = [f'"{self.name}" has moved {"a lot" if self.level == "large" else "somewhat"} (PSI {self.psi:.2f}']
        parts.append(f", KS {self.ks:.2f})" if self.ks is not None else ")")
        if abs(self.missing_now - self.missing_then) >= 0.02:
            parts.append(f"; missing in {self.missing_now:.1%} of rows, in training in {self.missing_then:.1%}")
        if self.unlisted_now is not None and self.unlisted_then is not None:
            if self.lists_all and self.unlisted_now > 0:
                parts.append(f"; {self.unlisted_now:.1%} of rows hold values that training has not seen")
            elif self.unlisted_now - self.unlisted_then >= 0.02:
                parts.append(
                    f"; {self.unlisted_now:.1%} of rows hold rare or new values, then {self.unlisted_then:.1%}"
                )
        return "".join(parts)


def drifts(then: Sequence[ColumnReference], now: Sequence[ColumnReference]) -> list[Drift]:
    """Every column; the largest drift first.

    Chance is kept out: a column counts as moved only where chance explains its index or its KS statistic with less than
    1 % over all columns together (Bonferroni).

    Args:
        then: What training has seen.
        now: The same columns' counts of other rows.
    """
    level = ERROR_RATE / max(2 * len(then), 1)  # two tests a column
    found = [_drift(a, b, level) for a, b in zip(then, now, strict=True)]
    order = {"large": 0, "moderate": 1, "none": 2}
    return sorted(found, key=lambda drift: (order[drift.level], -drift.psi))


def _drift(then: ColumnReference, now: ColumnReference, level: float) -> Drift:
    cells_then, cells_now = _cells(then, now)
    psi = stability_index(cells_then, cells_now)
    psi_chance = _index_chance(psi, len(cells_then), then.rows, now.rows)
    ks = ks_chance = None
    if then.edges is not None:
        ks, ks_chance = _kolmogorov(np.array(then.counts), np.array(now.counts))
    is_text = then.names is not None
    moved = psi >= MODERATE and psi_chance < level
    shifted = ks is not None and ks_chance is not None and ks >= KS_MODERATE and ks_chance < level
    return Drift(
        then.name, then.kind, psi, psi_chance, ks, ks_chance, then.missing / max(then.rows, 1),
        now.missing / max(now.rows, 1), then.others / max(then.rows, 1) if is_text else None,
        now.others / max(now.rows, 1) if is_text else None, then.lists_all,
        "large" if moved and psi >= LARGE else "moderate" if moved or shifted else "none",
    )  # fmt: skip


def _cells(then: ColumnReference, now: ColumnReference) -> tuple[np.ndarray, np.ndarray]:
    """Counts of the index's cells, then and now; cells that are empty both times are none."""
    if then.edges is None:
        pair = np.array([[*one.counts, one.others, one.missing] for one in (then, now)], np.float64)
    else:
        ends = np.cumsum(then.counts)
        place = np.minimum((ends - np.array(then.counts) / 2) * BINS / max(ends[-1], 1), BINS - 1).astype(np.int64)
        pair = np.array(
            [[*np.bincount(place, one.counts, BINS), one.missing] for one in (then, now)], np.float64
        )  # fmt: skip
    kept = pair[:, pair.sum(axis=0) > 0]
    return kept[0], kept[1]


def stability_index(then: np.ndarray[Any, Any], now: np.ndarray[Any, Any]) -> float:
    """Population stability index, Σ (q − p) ln(q / p); half a row more in each cell, so that none is empty.

    Args:
        then: Counts [B].
        now: Counts [B].
    """
    p, q = ((counts + 0.5) / (counts + 0.5).sum() for counts in (then, now))
    return float(((q - p) * np.log(q / p)).sum())


def _index_chance(psi: float, cells: int, then: int, now: int) -> float:
    """Where nothing has moved, psi / (1/n + 1/m) follows χ² with B − 1 degrees of freedom (Yurdakul 2018, th. 4.2)."""
    if cells < 2 or then == 0 or now == 0:
        return 1.0
    return float(chi2.sf(psi / (1 / then + 1 / now), cells - 1))


def _kolmogorov(then: np.ndarray, now: np.ndarray) -> tuple[float | None, float | None]:
    """The statistic at the bins' edges, and its chance (at edges alone, so rather too likely)."""
    n, m = int(then.sum()), int(now.sum())
    if n == 0 or m == 0:
        return None, None
    largest = float(np.abs(np.cumsum(then) / n - np.cumsum(now) / m).max())
    return largest, float(kstwobign.sf(largest * np.sqrt(n * m / (n + m))))
