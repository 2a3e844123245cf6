"""One feature of one segment against all other rows, and how it is said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LARGE = 0.474  # of Cliff's delta (Romano et al., 2006)
ALONG = 3  # columns alike that are named


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
        alike: Other columns that tell the segment by nearly the same rows.
    """

    column: str
    value: str | None
    delta: float
    p: float
    inside: float
    outside: float
    middle: str = "median"
    is_time: bool = False
    alike: tuple[str, ...] = ()

    def words(self) -> str:
        """Such as "spent higher (median 42 against 3.1), along with level"."""
        left = len(self.alike) - ALONG
        more = f" and {left} more" if left > 0 else ""
        return self._claim() + (f", along with {', '.join(self.alike[:ALONG])}{more}" if self.alike else "")

    def _claim(self) -> str:
        if self.value is None:
            told = _time if self.is_time else _number
            more, less = ("later", "earlier") if self.is_time else ("higher", "lower")
            much = "much " if abs(self.delta) >= LARGE else ""
            word = more if self.delta > 0 else less
            return f"{self.column} {much}{word} ({self.middle} {told(self.inside)} against {told(self.outside)})"
        what = f"{self.column} missing" if self.value == "" else f"{self.column} = {self.value}"
        often = "more" if self.delta > 0 else "less"
        return f"{what} {often} often ({percent(self.inside)} against {percent(self.outside)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _time(value: float) -> str:
    return str(np.datetime64(int(value), "s").astype("datetime64[D]"))


def percent(share: float) -> str:
    """A share in whole per cent, near 0 and 1 with a digit more."""
    return f"{100 * share:.0f} %" if 0.01 <= share <= 0.99 or share in (0, 1) else f"{100 * share:.1f} %"
