"""Tower and segments together: the logits of the one and the logarithm of the other, which err in different ways."""

# B players of a batch, D numbers of a player, I items, L segments

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ludocast.models.recommend.segments import SegmentPopularity
from ludocast.models.recommend.user_tower import TowerScores

LEAST_SHARE = 1e-9  # of an item that nobody has


@dataclass(frozen=True)
class BlendScores:
    """Logits of a tower plus weighted logarithms of shares in a segment.

    Attributes:
        tower: Fitted.
        segments: Fitted.
        weight: Of the segments.
    """

    tower: TowerScores
    segments: SegmentPopularity
    weight: float

    @property
    def log_table(self) -> np.ndarray:
        """What a segment adds to each item, float64 [L, I]."""
        assert self.segments.table is not None
        return np.asarray(self.weight * np.log(np.maximum(self.segments.table, LEAST_SHARE)))

    def scores(self, vectors: np.ndarray) -> np.ndarray:
        """float64 [B, I] of float32 [B, D]."""
        assert self.segments.tree is not None
        return np.asarray(self.tower.scores(vectors) + self.log_table[self.segments.tree.segments(vectors)])
