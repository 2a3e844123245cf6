"""Which items are bought again by those who have them: what is used up rather than owned."""

# I items, P distinct pairs

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.user_items import UserItems

THRESHOLD = 0.25  # of an item's buyers who bought it again
WEIGHT = 10.0  # buyers that the share among all pairs counts as
SHOWN = 5


@dataclass(frozen=True)
class Repeats:
    """How often items are bought again.

    Attributes:
        share: Of each item's buyers those who bought it at two times or more, smoothed, float64 [I].
        overall: The same of all pairs.
    """

    share: np.ndarray
    overall: float

    @property
    def is_repeated(self) -> np.ndarray:
        """Whether the share passes the threshold, bool [I]."""
        return np.asarray(self.share >= THRESHOLD)

    def note(self, items: np.ndarray, is_used: bool) -> str:
        """A sentence of what was found, and whether it changes what is suggested; "" where nothing was.

        Args:
            items: Ids [I].
            is_used: Whether repeated items are suggested though they are owned.
        """
        if not self.is_repeated.any():
            return ""
        order = [k for k in np.argsort(-self.share, kind="stable").tolist() if self.is_repeated[k]]
        some = ", ".join(f"{items[k]} {self.share[k]:.0%}" for k in order[:SHOWN]) + (", …" if order[SHOWN:] else "")
        does = (
            "they are suggested to those who have them too"
            if is_used
            else "they are not suggested to those who have them; --repeats auto would"
        )
        return (
            f"{len(order):,} of {len(items):,} items are bought again by {THRESHOLD:.0%} of their buyers or more "
            f"({some}; smoothed as if {WEIGHT:.0f} more buyers had the {self.overall:.0%} of all pairs): {does}"
        )


def repeats_of(data: UserItems) -> Repeats:
    """Learn from the rows of each pair: (again + w p) / (buyers + w) of an item, p being that share of all pairs.

    This is the mean of a beta-binomial posterior whose prior has mean p and the weight of w buyers.

    Args:
        data: Whose `rows` tell at how many times each pair was met.
    """
    buyers = np.bincount(data.matrix.indices, minlength=len(data.items))
    if data.rows is None or not len(data.rows):
        return Repeats(np.zeros(len(data.items)), 0.0)
    again = np.bincount(data.matrix.indices, data.rows > 1, minlength=len(data.items))
    overall = float((data.rows > 1).mean())
    return Repeats((again + WEIGHT * overall) / (buyers + WEIGHT), overall)
