"""Small made histories with a known answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import sparse


def checkerboard(size: int = 24) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Users of even number have all even items but one, those of odd number all odd ones but one; the missing ones.

    Each item is missing to one user, so that no model can go by popularity.
    """
    user, item = np.indices((size, size))
    missing = (np.arange(size) + 2 * (size // 4)) % size
    matrix = ((user + item) % 2 == 0) & (item != missing[:, None])
    return sparse.csr_matrix(matrix.astype(np.float64)), missing


def random_history(users: int = 60, items: int = 25, share: float = 0.2, seed: int = 0) -> sparse.csr_matrix:
    """Two tastes, and popularity of a long tail; each user has one item or more."""
    generator = np.random.default_rng(seed)
    taste = np.arange(users)[:, None] % 2 == np.arange(items)[None] % 2
    p = np.where(taste, 2 * share, share / 3) / np.sqrt(1 + np.arange(items) / 4)
    matrix = generator.random((users, items)) < p
    matrix[np.arange(users), generator.integers(0, items, users)] = True
    return sparse.csr_matrix(matrix.astype(np.float64))


def write_pairs(history: sparse.csr_matrix, path: Path) -> None:
    """A CSV file of the columns user_id and item_id."""
    pairs = history.tocoo()
    lines = [f"u{user:03d},i{item:03d}" for user, item in zip(pairs.row, pairs.col, strict=True)]
    path.write_text("\n".join(["user_id,item_id", *lines]) + "\n")
