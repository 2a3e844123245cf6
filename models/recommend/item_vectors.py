"""Vectors of items whose cosine tells how alike their users are: what diverse suggestions are measured by."""

# U users, I items, D numbers of a vector

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

SIZE = 32
MOST_USERS = 100_000  # of more, so many drawn ones are as good and take bounded time


def item_vectors(history: sparse.csr_matrix, size: int = SIZE, seed: int = 0) -> np.ndarray:
    """Of each item a vector of length 1, all 0 for one without users; float32 [I, D].

    The truncated singular value decomposition of the pairs, each item's column at length 1: the products of V S are the
    best approximation of rank D to the cosines of the items' users (Eckart & Young 1936).

    Args:
        history: 1 where a user had an item, CSR [U, I].
        size: D, at most; fewer where there are fewer users or items.
        seed: Of the decomposition's start, and of the users drawn where there are many.
    """
    generator = np.random.default_rng(seed)
    users, items = history.shape
    drawn = np.arange(users)
    if users > MOST_USERS:
        drawn = np.sort(generator.choice(users, MOST_USERS, replace=False))
    known = sparse.csr_matrix(history[drawn])
    of_item = np.bincount(known.indices, minlength=items)
    scaled = sparse.csr_matrix(known @ sparse.diags(1 / np.sqrt(np.maximum(of_item, 1.0))))
    _, strength, V = randomized_svd(scaled, min(size, len(drawn), items), random_state=seed)
    vectors = V.T * strength
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-9)
    return np.asarray(unit, np.float32)
