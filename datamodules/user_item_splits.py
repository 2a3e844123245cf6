"""What of each user is known and what is hidden: a share of the items, the last ones, or all after a moment."""

# U users, I items, P pairs

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.user_items import UserItems
from scipy import sparse

BLOCK_USERS = 50_000


@dataclass(frozen=True)
class UserItemSplit:
    """Histories to learn and to answer from, and what is to be found.

    Attributes:
        known: The pairs that are not hidden; users and items are those of all the data.
        hidden: 1 where a pair is hidden, CSR float64 [U, I].
        rule: The protocol, as a sentence's part.
    """

    known: UserItems
    hidden: sparse.csr_matrix
    rule: str

    @property
    def asked(self) -> np.ndarray:
        """Users of whom something is hidden, int64."""
        return np.flatnonzero(np.diff(self.hidden.indptr))

    @property
    def without(self) -> np.ndarray:
        """Ids of the users of whom nothing is hidden: no measure counts them."""
        return np.asarray(self.known.users[np.diff(self.hidden.indptr) == 0])


def split_by_share(data: UserItems, share: float = 0.2, seed: int = 0) -> UserItemSplit:
    """Hide a random share of each user's items: max(1, floor(share n)) of n; of a user's only item nothing.

    Pairs are sorted by (user, item), `default_rng(seed).random(P)` draws a key for each, and each user's pairs of the
    lowest keys are hidden.

    Args:
        data: All pairs.
        share: Above 0, below 1.
        seed: Of the keys.

    Raises:
        ValueError: If the share is none, or nothing can be hidden.
    """
    if not 0 < share < 1:
        raise ValueError(f"the share of a user's items to hide lies between 0 and 1, got {share:g}")
    key = np.random.default_rng(seed).random(data.matrix.nnz)
    lengths = np.diff(data.matrix.indptr)
    count = np.where(lengths > 1, np.maximum(1, np.floor(share * lengths)), 0).astype(np.int64)
    return _split(data, _first_of_each(data, key, count), f"{share:.0%} of each user's items hidden, seed {seed}")


def split_last(data: UserItems, count: int = 1) -> UserItemSplit:
    """Hide each user's latest items; at least one stays known, and of equal times the items first in order do.

    Args:
        data: With times.
        count: Items to hide of each user.

    Raises:
        ValueError: If there are no times, or nothing can be hidden.
    """
    if data.time is None:
        raise ValueError("the last items are those of the latest times; name the column of times")
    if count < 1:
        raise ValueError(f"1 item or more is hidden of each user, got {count}")
    lengths = np.diff(data.matrix.indptr)
    _, item = data.pairs()
    latest_first = np.empty(len(item), np.int64)
    latest_first[np.lexsort((-item, -data.time))] = np.arange(len(item))
    is_hidden = _first_of_each(data, latest_first, np.minimum(count, np.maximum(lengths - 1, 0)))
    return _split(data, is_hidden, f"each user's last {'item' if count == 1 else f'{count} items'} hidden")


def split_by_time(data: UserItems, share: float = 0.2) -> UserItemSplit:
    """Hide all pairs from one moment on, so that no future is known to anyone.

    Args:
        data: With times.
        share: Of the pairs, about so many are hidden; those of one time are never parted.

    Raises:
        ValueError: If there are no times, the share is none, or all pairs have nearly one time.
    """
    if data.time is None:
        raise ValueError("a split by time needs times; name the column of times")
    if not 0 < share < 1:
        raise ValueError(f"the share of the pairs to hide lies between 0 and 1, got {share:g}")
    moment = np.quantile(data.time, 1 - share, method="higher")
    if moment <= data.time.min():
        raise ValueError("all pairs have nearly one time, so there is no past to learn from; split by share")
    when = np.datetime64(int(moment), "s")
    return _split(data, data.time >= moment, f"all from {when} UTC on hidden")


def _first_of_each(data: UserItems, key: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Whether a pair is among the `count` lowest keys of its user, bool [P]; some users after the other."""
    indptr, found = data.matrix.indptr, np.zeros(len(key), bool)
    for begin in range(0, len(count), BLOCK_USERS):
        own = indptr[begin : begin + BLOCK_USERS + 1]
        user = np.repeat(np.arange(len(own) - 1), np.diff(own))
        order = np.lexsort((key[own[0] : own[-1]], user))
        is_low = np.arange(len(user)) - (own[:-1] - own[0])[user] < count[begin : begin + BLOCK_USERS][user]
        found[own[0] + order[is_low]] = True
    return found


def _split(data: UserItems, is_hidden: np.ndarray, rule: str) -> UserItemSplit:
    if not is_hidden.any():
        raise ValueError("no user has an item to hide and one to know; take a longer period")
    if is_hidden.all():
        raise ValueError("all pairs would be hidden; hide fewer")
    return UserItemSplit(data.kept(~is_hidden), data.kept(is_hidden).history, rule)
