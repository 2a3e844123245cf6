"""The matrix that all learners but trees read: scaled numbers, plain numbers, and codes one-hot."""

# N rows, D scaled numbers, R raw numbers, V codes of all columns, P = D + R + V

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.interactions import one_hot
from ludocast.datamodules.preprocess import Encoded, Preprocessing
from ludocast.models.table.linear import fit_scale, plain_values
from scipy import sparse

HALF = float(np.float32(np.sqrt(0.5)))  # two categories that differ are then 1 apart, as numbers of one deviation are


@dataclass(frozen=True)
class Design:
    """How rows become a matrix.

    Attributes:
        centre: Of the raw numbers, float64 [R]; empty where only the scaled ones are read.
        width: Of the same.
        code_sizes: Codes of each code column.
        hot: What stands where a code is.
    """

    centre: np.ndarray
    width: np.ndarray
    code_sizes: tuple[int, ...]
    hot: float = 1.0

    def matrix(self, encoded: Encoded) -> sparse.csr_matrix:
        """float64 [N, P], its values those of float32."""
        parts = [encoded.numbers]
        if len(self.centre):
            parts.append(plain_values(encoded.raw, self.centre, self.width))
        codes = one_hot(encoded.codes, list(self.code_sizes)) * np.float32(self.hot)
        joined = sparse.hstack([sparse.csr_matrix(np.hstack(parts)), codes])
        return sparse.csr_matrix(joined, dtype=np.float64)


def fit_design(encoded: Encoded, preprocessing: Preprocessing, *, plain: bool, hot: float = 1.0) -> Design:
    """Of training rows.

    Args:
        encoded: The rows.
        preprocessing: Tells the codes.
        plain: Whether plain numbers are read beside the scaled ones.
        hot: What stands where a code is.
    """
    centre, width = fit_scale(encoded.raw) if plain else (np.zeros(0), np.zeros(0))
    return Design(centre, width, tuple(preprocessing.code_sizes), hot)
