"""How much each of many fitted learners counts together: greedy selection with replacement, on resampled rows.

Caruana et al., ICML 2004: from the best one on, again and again the learner is added that makes the mean of all that
were added best (section 2, with replacement 2.1), on several draws of rows whose bags are put together (2.3), so that
no single row decides.
"""

# N rows, C outputs, M learners

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ludocast.models.calibration import loss
from ludocast.models.learner import NOTICEABLE

STEPS = 20  # learners in a bag at most
MEMBERS = 8  # distinct learners at most
DRAWS = 12  # of the rows; fewer of many rows
DRAWN_ROWS = 60_000  # in all draws together
LEAST = 0.04  # of the weight: what counts less is left out


def ensemble_weights(scores: Mapping[str, np.ndarray], label: np.ndarray, seed: int) -> dict[str, float]:
    """Weights above 0 with sum 1 of the learners that are taken.

    Args:
        scores: Calibrated, float64 [N, C] of each learner on held-out rows.
        label: int64 [N], or scaled numbers, float64 [N].
        seed: Of the draws.
    """
    names = list(scores)
    stacked = np.stack([scores[name] for name in names])
    generator = np.random.default_rng([seed, len(label)])
    rows = min(len(label), DRAWN_ROWS)
    draws = max(min(DRAWS, DRAWN_ROWS // rows), 1)
    total = np.zeros(len(names))
    for _ in range(draws):
        drawn = np.sort(generator.integers(0, len(label), rows))
        total += _bag(stacked[:, drawn], label[drawn], np.arange(len(names)))
    kept = np.argsort(-total, kind="stable")[:MEMBERS]
    kept = np.sort(kept[total[kept] >= LEAST * draws])
    weight = total[kept] / total[kept].sum()
    return {names[k]: float(one) for k, one in zip(kept, weight, strict=True)}


def _bag(stacked: np.ndarray, label: np.ndarray, candidates: Sequence[int] | np.ndarray) -> np.ndarray:
    """Shares of the learners in one bag, float64 [M]."""
    count = np.zeros(len(stacked))
    mean = np.zeros_like(stacked[0])
    best = np.inf
    for step in range(STEPS):
        tried = {k: loss((mean * step + stacked[k]) / (step + 1), label) for k in candidates}
        k = min(tried, key=lambda one: tried[one])
        if tried[k] > best * (1 - NOTICEABLE):
            break
        best = tried[k]
        mean = (mean * step + stacked[k]) / (step + 1)
        count[k] += 1
    return np.asarray(count / count.sum())
