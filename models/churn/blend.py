"""How much each candidate counts, how sharp the blend is, and where it says "leaves": all from held-out rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax

WORTH = 0.1  # of the weight: what counts less is not worth its time at inference
NOTICEABLE = 5e-4  # share of the log loss: what gains less is not worth its time either
ENOUGH_ROWS = 5_000  # held-out rows that can tell so small a share; with fewer a blend of more candidates is safer
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
    """Weights, ≥ 0 with sum 1, that minimise the blend's log loss plus a pull towards equal weights.

    The pull fades with the number of rows: with few held-out rows a choice would follow noise. While the lowest weight
    is not worth it, its candidate is left out and the others are weighed again; then, where rows are enough, the
    candidate that is missed least, while the log loss is not noticeably above that of all that were worth it.

    Args:
        logits: float64 [N, C] of each candidate on held-out rows.
        label: int64 [N].
    """
    weights, loss = _weigh(logits, label)
    while min(weights.values()) < WORTH:
        weights, loss = _weigh(_without(logits, weights, min(weights, key=lambda name: weights[name])), label)
    limit = loss * (1 + NOTICEABLE)
    while len(label) >= ENOUGH_ROWS and len(weights) > 1:
        fewer, loss = min((_weigh(_without(logits, weights, out), label) for out in weights), key=lambda pair: pair[1])
        if loss > limit:
            break
        weights = fewer
    return {name: weights.get(name, 0.0) for name in logits}


def _without(logits: Mapping[str, np.ndarray], kept: Iterable[str], out: str) -> dict[str, np.ndarray]:
    return {name: logits[name] for name in kept if name != out}


def _weigh(logits: Mapping[str, np.ndarray], label: np.ndarray) -> tuple[dict[str, float], float]:
    """Weights of all, and the log loss of their blend."""
    stacked = np.stack(list(logits.values()))
    equal = np.full(len(stacked), 1 / len(stacked))

    def loss(free: np.ndarray) -> float:
        weight = softmax(free)
        divergence = float(np.sum(equal * np.log(equal / np.maximum(weight, 1e-12))))
        return class_log_loss(np.tensordot(weight, stacked, 1), label) + PULL / len(label) * divergence

    found = minimize(loss, np.zeros(len(stacked)), method="L-BFGS-B", bounds=[(-8, 8)] * len(stacked))
    weight = softmax(found.x)
    blend = class_log_loss(np.tensordot(weight, stacked, 1), label)
    return dict(zip(logits, weight.tolist(), strict=True)), blend


def least_setting(settings: Mapping[float, np.ndarray], label: np.ndarray) -> float:
    """The first setting whose log loss is not noticeably above the lowest; of boosting, that with the fewest rounds.

    Args:
        settings: Setting to logits float64 [N, C] on held-out rows, the cheapest first.
        label: int64 [N].
    """
    losses = {setting: class_log_loss(logits, label) for setting, logits in settings.items()}
    limit = min(losses.values()) * (1 + NOTICEABLE)
    return next(setting for setting, loss in losses.items() if loss <= limit)


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
