"""What changes where there are very many pairs, users or items: who is asked, what is tried, what is told."""

# U users, I items

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ludocast.models.recommend.item_item import NEIGHBOURS
from ludocast.models.recommend.memory import dense_items
from ludocast.models.recommend.rerank import RerankSettings
from scipy import sparse

MANY_PAIRS = 10_000_000  # beyond, each fit takes minutes
ASKED = 20_000  # users: NDCG@10 of so many has a standard error of about 0.002


def is_large(history: sparse.csr_matrix) -> bool:
    """Whether fewer settings are tried, and pairs are hidden for the network once only."""
    return bool(history.nnz > MANY_PAIRS)


def of_some_users(hidden: sparse.csr_matrix, seed: int, most: int | None = None) -> sparse.csr_matrix:
    """The hidden pairs of at most so many of the users that have any, drawn at random.

    Args:
        hidden: CSR [U, I].
        seed: Of the draw.
        most: Users; `ASKED` when None.
    """
    most = ASKED if most is None else most
    users = np.flatnonzero(np.diff(hidden.indptr))
    if len(users) <= most:
        return hidden
    is_asked = np.zeros(hidden.shape[0])
    is_asked[np.random.default_rng(seed).choice(users, most, replace=False)] = 1
    found = sparse.csr_matrix(sparse.diags(is_asked) @ hidden)
    found.eliminate_zeros()
    return found


def fewer_draws(settings: RerankSettings, history: sparse.csr_matrix) -> RerankSettings:
    """One draw of hidden pairs where each costs minutes."""
    return replace(settings, draws=1) if is_large(history) else settings


def notes_of_size(history: sparse.csr_matrix) -> list[str]:
    """A sentence for each thing that is done otherwise than with few pairs and items."""
    found = []
    if history.shape[1] > dense_items():
        found.append(
            f"a number for each pair of items has room for {dense_items():,} items here, not for {history.shape[1]:,}: "
            f"each item has weights from its {NEIGHBOURS} nearest items alone"
        )
    if is_large(history):
        found.append(
            f"{history.nnz:,} pairs: implicit ALS and some settings are not tried, and pairs are hidden for the "
            "network once only"
        )
    if history.shape[0] > ASKED:
        found.append(
            f"of {history.shape[0]:,} users at most {ASKED:,}, drawn at random, are asked about in validation and "
            "report, and as many teach the network"
        )
    return found
