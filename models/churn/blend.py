"""How much each candidate counts, how sharp the blend is, and where it says "leaves": all from held-out rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax

WORTH = 0.1  # of the weight: what counts less is not worth its time at inference
PULL = 5.0  # rows' worth of evidence (in log loss) that it takes to leave equal weights


def class_log_loss(logits: np.ndarray, label: np.ndarray) -> float:
    """Mean cross-entropy of logits [N, C]; one logit is that of class 1."""
    if logits.shape[1] == 1:
        sign = 1 - 2 * label[:, None]
        return float(np.logaddexp(0, sign * logits).mean())
    return float(-log_softmax(logits, axis=1)[np.arange(len(label)), label].mean())


def class_probabilities(logits: np.ndarray) -> np.ndarray:
    """float64 [N, classes]."""
    if logits.shape[1] == 1:
        p = 1 / (1 + np.exp(-logits))
        return np.hstack([1 - p, p])
    return np.asarray(softmax(logits, axis=1))


def blend_weights(logits: Mapping[str, np.ndarray], label: np.ndarray) -> dict[str, float]:
    """Weights, 0 or `WORTH` at least, with sum 1, that minimise the blend's log loss plus a pull towards equal weights.

    The pull fades with the number of rows: with few held-out rows a choice would follow noise. While the lowest weight
    is not worth it, its candidate is left out and the others are weighed again.

    Args:
        logits: float64 [N, C] of each candidate on held-out rows.
        label: int64 [N].
    """
    kept = list(logits)
    weight = _weigh([logits[name] for name in kept], label)
    while weight.min() < WORTH:
        del kept[int(weight.argmin())]
        weight = _weigh([logits[name] for name in kept], label)
    found = dict(zip(kept, weight.tolist(), strict=True))
    return {name: found.get(name, 0.0) for name in logits}


def _weigh(logits: Sequence[np.ndarray], label: np.ndarray) -> np.ndarray:
    stacked = np.stack(logits)
    equal = np.full(len(stacked), 1 / len(stacked))

    def loss(free: np.ndarray) -> float:
        weight = softmax(free)
        divergence = float(np.sum(equal * np.log(equal / np.maximum(weight, 1e-12))))
        return class_log_loss(np.tensordot(weight, stacked, 1), label) + PULL / len(label) * divergence

    found = minimize(loss, np.zeros(len(stacked)), method="L-BFGS-B", bounds=[(-8, 8)] * len(stacked))
    return np.asarray(softmax(found.x))


def fit_temperature(logits: np.ndarray, label: np.ndarray) -> float:
    """The temperature T that minimises the log loss of logits / T (Guo et al., ICML 2017, section 4.2)."""
    found = minimize_scalar(lambda t: class_log_loss(logits / np.exp(t), label), bounds=(-2, 2), method="bounded")
    return float(np.exp(found.x))


def cost_threshold(cost_missed: float = 1.0, cost_false_alarm: float = 1.0) -> float:
    """The probability from which acting costs less than not acting, for calibrated probabilities.

    A missed leaver costs `cost_missed`, an alarm for one who stays `cost_false_alarm`: act where
    p · cost_missed ≥ (1 − p) · cost_false_alarm (Elkan, IJCAI 2001, equation 2).
    """
    return cost_false_alarm / (cost_missed + cost_false_alarm)


def f1_threshold(probability: np.ndarray, positive: np.ndarray) -> float:
    """The threshold with the highest F1 on held-out rows: midway between two neighbouring probabilities."""
    order = np.argsort(-probability, kind="stable")
    p, hit = probability[order], positive[order]
    chosen = np.arange(1, len(p) + 1)
    f1 = 2 * np.cumsum(hit) / (chosen + hit.sum())
    f1[:-1][p[:-1] == p[1:]] = -1  # a threshold cannot part equal probabilities
    best = int(f1.argmax())
    return float(p[best] if best + 1 == len(p) else (p[best] + p[best + 1]) / 2)
