"""How much each candidate of a blend counts, from held-out rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from ludocast.models.calibration import loss as mean_loss
from ludocast.models.learner import NOTICEABLE, Measure
from scipy.optimize import minimize
from scipy.special import softmax

WORTH = 0.1  # of the weight: what counts less is not worth its time at inference
ENOUGH_ROWS = 5_000  # held-out rows that can tell so small a share; with fewer a blend of more candidates is safer
PULL = 5.0  # rows' worth of evidence (in log loss) that it takes to leave equal weights


def blend_weights(
    logits: Mapping[str, np.ndarray], label: np.ndarray, measure: Measure = mean_loss
) -> dict[str, float]:
    """Weights, ≥ 0 with sum 1, that minimise the blend's loss plus a pull towards equal weights.

    The pull fades with the number of rows: with few held-out rows a choice would follow noise. While the lowest weight
    is not worth it, its candidate is left out and the others are weighed again; then, where rows are enough, the
    candidate that is missed least, while the log loss is not noticeably above that of all that were worth it.

    Args:
        logits: float64 [N, C] of each candidate on held-out rows.
        label: int64 [N], or scaled numbers, float64 [N].
        measure: Mean loss of scores, the lower the better.
    """
    weights, loss = _weigh(logits, label, measure)
    while min(weights.values()) < WORTH:
        weights, loss = _weigh(_without(logits, weights, min(weights, key=lambda name: weights[name])), label, measure)
    limit = loss * (1 + NOTICEABLE)
    while len(label) >= ENOUGH_ROWS and len(weights) > 1:
        tried = (_weigh(_without(logits, weights, out), label, measure) for out in weights)
        fewer, loss = min(tried, key=lambda pair: pair[1])
        if loss > limit:
            break
        weights = fewer
    return {name: weights.get(name, 0.0) for name in logits}


def _without(logits: Mapping[str, np.ndarray], kept: Iterable[str], out: str) -> dict[str, np.ndarray]:
    return {name: logits[name] for name in kept if name != out}


def _weigh(logits: Mapping[str, np.ndarray], label: np.ndarray, measure: Measure) -> tuple[dict[str, float], float]:
    """Weights of all, and the loss of their blend."""
    stacked = np.stack(list(logits.values()))
    equal = np.full(len(stacked), 1 / len(stacked))

    def loss(free: np.ndarray) -> float:
        weight = softmax(free)
        divergence = float(np.sum(equal * np.log(equal / np.maximum(weight, 1e-12))))
        return measure(np.tensordot(weight, stacked, 1), label) + PULL / len(label) * divergence

    found = minimize(loss, np.zeros(len(stacked)), method="L-BFGS-B", bounds=[(-8, 8)] * len(stacked))
    weight = softmax(found.x)
    blend = measure(np.tensordot(weight, stacked, 1), label)
    return dict(zip(logits, weight.tolist(), strict=True)), blend
