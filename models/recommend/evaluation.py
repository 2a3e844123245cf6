"""All that a report tells of ranked items: measures with intervals, by history length, by the popularity of items."""

# U users that are asked, I items, K ranks

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ludocast.models.metrics import Interval
from ludocast.models.recommend.metrics import catalogue_metrics, mean_metrics, user_metrics
from ludocast.models.recommend.products import owners
from ludocast.models.recommend.ranking import NOBODY, Recommender, recommend
from scipy import sparse

RANKS = 20
LENGTHS = ((0, 0), (1, 4), (5, 19), (20, None))
TENTHS = 10


@dataclass(frozen=True)
class Group:
    """Users or hidden pairs of one kind.

    Attributes:
        name: Such as "5–19 items".
        count: How many.
        value: Their measure; None where there are none.
    """

    name: str
    count: int
    value: float | None


@dataclass(frozen=True)
class Evaluation:
    """A model on hidden pairs.

    Attributes:
        ranked: Items by rank of the users asked, int64 [U, K].
        metrics: Each measure with its interval.
        catalogue: Coverage, Gini and novelty.
        by_history: NDCG@10 of users by the length of what is known of them.
        by_popularity: Share of hidden pairs found in 20 ranks, by tenths of items, the least owned first.
    """

    ranked: np.ndarray
    metrics: dict[str, Interval]
    catalogue: dict[str, float]
    by_history: tuple[Group, ...]
    by_popularity: tuple[Group, ...]


def evaluate(model: Recommender, known: sparse.csr_matrix, hidden: sparse.csr_matrix, seed: int = 0) -> Evaluation:
    """Rank all items for every user of whom something is hidden.

    Args:
        model: Fitted on what is known.
        known: CSR [·, I].
        hidden: CSR [·, I].
        seed: Of the resamples of intervals.
    """
    asked = np.flatnonzero(np.diff(hidden.indptr))
    history, sought = known[asked], hidden[asked]
    ranked, _ = recommend(model, history, RANKS)
    return Evaluation(
        ranked,
        mean_metrics(ranked, sought, seed=seed),
        catalogue_metrics(ranked, known),
        _by_history(user_metrics(ranked, sought, (10,))["ndcg@10"], np.diff(history.indptr)),
        _by_popularity(ranked, sought, owners(known)),
    )


def _by_history(ndcg: np.ndarray, length: np.ndarray) -> tuple[Group, ...]:
    found = []
    for low, high in LENGTHS:
        of = (length >= low) & (length <= (np.inf if high is None else high))
        name = f"{low}+" if high is None else f"{low}" if low == high else f"{low}–{high}"
        found.append(Group(name, int(of.sum()), float(ndcg[of].mean()) if of.any() else None))
    return tuple(found)


def _by_popularity(ranked: np.ndarray, hidden: sparse.csr_matrix, count: np.ndarray) -> tuple[Group, ...]:
    """Tenths of the catalogue; of items of equal popularity those that come first are in the lower one."""
    items = len(count)
    tenth = np.empty(items, np.int64)
    tenth[np.argsort(count, kind="stable")] = np.arange(items) * TENTHS // items
    users = np.repeat(np.arange(len(ranked)), np.diff(hidden.indptr))
    shown = np.repeat(np.arange(len(ranked)), ranked.shape[1]) * items + ranked.ravel()
    is_found = np.isin(users * items + hidden.indices, shown[ranked.ravel() != NOBODY])
    of = tenth[hidden.indices]
    number, hits = np.bincount(of, minlength=TENTHS), np.bincount(of, is_found, minlength=TENTHS)
    return tuple(
        Group(_tenth_name(k), int(number[k]), float(hits[k] / number[k]) if number[k] else None) for k in range(TENTHS)
    )


def _tenth_name(k: int) -> str:
    return "least owned" if k == 0 else "most owned" if k == TENTHS - 1 else f"tenth {k + 1}"
