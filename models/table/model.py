"""What a fitted learner of a table is."""

# N rows, C outputs

from __future__ import annotations

from typing import Protocol

import numpy as np
from ludocast.datamodules.preprocess import Encoded


class Model(Protocol):
    """A fitted learner."""

    def scores(self, encoded: Encoded) -> np.ndarray:
        """float64 [N, C]: logits, of two classes that of the second; or scaled numbers, [N, 1]."""
        ...
