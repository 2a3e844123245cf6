"""From scores to ranked items: the highest first, of equal scores the item that comes first in the catalogue."""

# B users of a batch, I items, K ranks

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from scipy import sparse

NOBODY = -1  # stands at ranks for which no item is left
BATCH_SCORES = 1 << 21  # scores at once: 16 MB, of each model


class Recommender(Protocol):
    """What every model of this folder is."""

    def fit(self, history: sparse.csr_matrix) -> Recommender:
        """Learn from who had what.

        Args:
            history: 1 where a user had an item, CSR [U, I].
        """
        ...

    def scores(self, history: sparse.csr_matrix) -> np.ndarray:
        """How much each item suits each of B users, known or new; of one without history, what suits most.

        Args:
            history: 1 where a user has an item, CSR [B, I].

        Returns:
            float [B, I].
        """
        ...


def top_items(scores: np.ndarray, k: int, excluded: sparse.csr_matrix | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The k items of the highest scores.

    Args:
        scores: [B, I].
        k: At least 1; above I all items are ranked.
        excluded: Not 0 where an item is not to be ranked, CSR [B, I].

    Returns:
        Items, int64 [B, min(k, I)], `NOBODY` where none is left; their scores, minus infinity there.
    """
    if k < 1:
        raise ValueError(f"1 item or more is ranked, got {k}")
    scores = np.array(scores, copy=excluded is not None)
    if excluded is not None:
        users = np.repeat(np.arange(len(scores)), np.diff(excluded.indptr))
        scores[users, excluded.indices] = -np.inf
    k = min(k, scores.shape[1])
    limit = np.partition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k, None]
    taken = scores >= limit
    tied = np.flatnonzero(taken.sum(axis=1) > k)
    # Of the items at the limit those that come first fill what is left of the k.
    above, equal = scores[tied] > limit[tied], scores[tied] == limit[tied]
    taken[tied] = above | (equal & (equal.cumsum(axis=1) <= k - above.sum(axis=1, keepdims=True)))
    items = np.nonzero(taken)[1].reshape(len(scores), k)
    found = np.take_along_axis(scores, items, 1)
    order = np.argsort(-found, axis=1, kind="stable")
    items, found = np.take_along_axis(items, order, 1), np.take_along_axis(found, order, 1)
    return np.where(np.isneginf(found), NOBODY, items), found


@runtime_checkable
class RanksCandidates(Protocol):
    """A model whose scores depend on which items may be suggested, for it looks at the best of these closely."""

    def scores_among(self, history: sparse.csr_matrix, excluded: sparse.csr_matrix) -> np.ndarray:
        """As `Recommender.scores`, what is excluded (not 0 in CSR [B, I]) being no candidate."""
        ...


@runtime_checkable
class RanksAlone(Protocol):
    """A model that finds the best items without the scores of all."""

    def best(self, history: sparse.csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best items that are not in the history, of any number of users; as `top_items`."""
        ...


def recommend(
    model: Recommender,
    history: sparse.csr_matrix,
    k: int,
    exclude_owned: bool = True,
    excluded: sparse.csr_matrix | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Ranked items of any number of users, in batches.

    Args:
        model: Fitted.
        history: CSR [U, I].
        k: Ranks.
        exclude_owned: Whether items of a user's history are left out.
        excluded: Not 0 where an item is left out, CSR [U, I]; instead of what `exclude_owned` says.

    Returns:
        As `top_items`, of all users.
    """
    if excluded is None and exclude_owned and k >= 1 and isinstance(model, RanksAlone):
        return model.best(history, k)
    return rank_all(model, history, k, exclude_owned, excluded)


def rank_all(
    model: Recommender,
    history: sparse.csr_matrix,
    k: int,
    exclude_owned: bool = True,
    excluded: sparse.csr_matrix | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The same by the scores of all items."""
    if excluded is None:
        excluded = history if exclude_owned else sparse.csr_matrix(history.shape)
    found = [
        top_items(_scores(model, part, without), k, without)
        for part, without in zip(user_batches(history), user_batches(excluded), strict=True)
    ]
    width = min(k, history.shape[1])
    if not found:
        return np.zeros((0, width), np.int64), np.zeros((0, width))
    return np.concatenate([items for items, _ in found]), np.concatenate([scores for _, scores in found])


def _scores(model: Recommender, history: sparse.csr_matrix, excluded: sparse.csr_matrix) -> np.ndarray:
    return model.scores_among(history, excluded) if isinstance(model, RanksCandidates) else model.scores(history)


def user_batches(history: sparse.csr_matrix) -> Iterator[sparse.csr_matrix]:
    """Rows of a history, so many at once that their scores take bounded memory."""
    size = max(1, BATCH_SCORES // history.shape[1])
    for start in range(0, history.shape[0], size):
        yield history[start : start + size]
