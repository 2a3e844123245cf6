"""How good ranked items are, exactly: every item is ranked, nothing is sampled.

With n hidden items, and h_r = 1 where rank r is one of them (r from 1):

- NDCG@k: Σ_{r ≤ k} h_r / log2(r + 1) over its highest value, Σ_{r ≤ min(n, k)} 1 / log2(r + 1) (Järvelin & Kekäläinen,
  TOIS 2002, binary gains).
- Recall@k: hits / n. Capped recall@k: hits / min(n, k), so that 1 can be reached (Liang et al., WWW 2018, eq. 6).
  Precision@k: hits / k. Hit rate@k: whether there is a hit.
- MAP@k: Σ_{r ≤ k} h_r · (hits up to r) / r over min(n, k). MRR@k: 1 / rank of the first hit, 0 without one.
- Coverage@k: share of the items that anyone is shown. Gini@k: of how often items are shown, 0 where all are equally
  often. Novelty@k: mean of −log2(share of users who have the item) over what is shown.
"""

# U users with hidden items, K ranks, I items

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ludocast.models.metrics import Interval
from ludocast.models.recommend.ranking import NOBODY
from scipy import sparse

CUTS = (1, 5, 10, 20)
RESAMPLES = 500


def user_metrics(ranked: np.ndarray, hidden: sparse.csr_matrix, cuts: Sequence[int] = CUTS) -> dict[str, np.ndarray]:
    """Each measure of each user, such as "ndcg@10", float64 [U].

    Args:
        ranked: Items by rank, int64 [U, K], `NOBODY` where there is none; ranks beyond K count as no hits.
        hidden: Not 0 where an item is hidden, at least one a user, CSR [U, I].
        cuts: Of the measures.

    Raises:
        ValueError: If a user has nothing hidden.
    """
    count = np.diff(hidden.indptr)
    if (count == 0).any():
        raise ValueError(f"user {int(np.argmin(count))} of these has no hidden item, so nothing can be measured")
    hits = _hits(ranked, hidden)
    ranks = np.arange(1, ranked.shape[1] + 1)
    discount = 1 / np.log2(np.arange(2, max([*cuts, ranked.shape[1]]) + 2))
    so_far = hits.cumsum(axis=1)
    found: dict[str, np.ndarray] = {}
    for k in cuts:
        h, most = hits[:, :k], np.minimum(count, k)
        number = h.sum(axis=1)
        found |= {
            f"ndcg@{k}": h @ discount[: h.shape[1]] / np.cumsum(discount)[most - 1],
            f"recall@{k}": number / count,
            f"capped_recall@{k}": number / most,
            f"precision@{k}": number / k,
            f"map@{k}": (h * so_far[:, :k] / ranks[:k]).sum(axis=1) / most,
            f"mrr@{k}": (h / ranks[:k]).max(axis=1, initial=0),
            f"hit@{k}": np.minimum(number, 1),
        }
    return found


def mean_metrics(
    ranked: np.ndarray, hidden: sparse.csr_matrix, cuts: Sequence[int] = CUTS, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """Means over users, with 95 % percentile intervals of a bootstrap over users.

    Args:
        ranked: As of `user_metrics`.
        hidden: The same.
        cuts: Of the measures.
        seed: Of the resamples.
        resamples: Number of them.
    """
    each = user_metrics(ranked, hidden, cuts)
    values = np.stack(list(each.values()), axis=1)
    generator = np.random.default_rng(seed)
    users = len(values)
    means = np.stack([generator.multinomial(users, np.full(users, 1 / users)) @ values for _ in range(resamples)])
    low, high = np.percentile(means / users, (2.5, 97.5), axis=0)
    mean = values.mean(axis=0)
    return {name: Interval(float(mean[n]), float(low[n]), float(high[n])) for n, name in enumerate(each)}


def catalogue_metrics(ranked: np.ndarray, history: sparse.csr_matrix, cuts: Sequence[int] = CUTS) -> dict[str, float]:
    """Coverage, Gini and novelty of what all users are shown.

    Args:
        ranked: Items by rank, int64 [U, K].
        history: What tells how many users have an item, CSR [·, I].
        cuts: Of the measures.
    """
    users, items = history.shape
    owners = np.bincount(history.indices, minlength=items)
    surprise = -np.log2(np.maximum(owners, 1) / users)  # an item of nobody counts as one of a single user
    found: dict[str, float] = {}
    for k in cuts:
        shown = ranked[:, :k]
        shown = shown[shown != NOBODY]
        times = np.bincount(shown, minlength=items)
        found |= {
            f"coverage@{k}": float((times > 0).mean()),
            f"gini@{k}": gini(times),
            f"novelty@{k}": float(surprise[shown].mean()) if len(shown) else 0.0,
        }
    return found


def gini(counts: np.ndarray) -> float:
    """Mean absolute difference of all pairs over twice the mean; 0 without counts.

    Args:
        counts: 0 or more, [I].
    """
    ascending, n = np.sort(counts.astype(np.float64)), len(counts)
    total = ascending.sum()
    return float((2 * np.arange(1, n + 1) - n - 1) @ ascending / (n * total)) if total > 0 else 0.0


def _hits(ranked: np.ndarray, hidden: sparse.csr_matrix) -> np.ndarray:
    """1 where a rank holds a hidden item, float64 [U, K]."""
    users = np.repeat(np.arange(len(ranked)), ranked.shape[1])
    wanted = np.repeat(np.arange(len(ranked)), np.diff(hidden.indptr)) * hidden.shape[1] + hidden.indices
    place = np.isin(users * hidden.shape[1] + ranked.ravel(), wanted) & (ranked.ravel() != NOBODY)
    return np.asarray(place.reshape(ranked.shape), np.float64)
