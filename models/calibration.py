"""How sharp logits are to be, and from which probability on they say yes: from held-out rows."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax, softmax


def row_losses(scores: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Of each row, float64 [N]: cross-entropy of logits [N, C], or squared error where the label is float64 numbers.

    One logit is that of class 1. Of several labels, [N, L], it is the mean of their cross-entropies.
    """
    if label.dtype.kind == "f":
        return np.asarray((scores[:, 0] - label) ** 2)
    if label.ndim == 2:
        return np.asarray(np.logaddexp(0, (1 - 2 * label) * scores).mean(axis=1))
    if scores.shape[1] == 1:
        return np.asarray(np.logaddexp(0, (1 - 2 * label) * scores[:, 0]))
    return np.asarray(-log_softmax(scores, axis=1)[np.arange(len(label)), label])


def class_log_loss(logits: np.ndarray, label: np.ndarray) -> float:
    """Mean cross-entropy of logits [N, C]; one logit is that of class 1."""
    return float(row_losses(logits, label).mean())


def loss(scores: np.ndarray, label: np.ndarray) -> float:
    """Mean loss of scores [N, C]: cross-entropy of logits, or squared error where the label is float64 numbers."""
    return float(row_losses(scores, label).mean())


DOUBT = 0.5  # rows' worth, of those that a temperature is fitted on
SURE = 1e-5  # shares below it are taken as it: no leaf and no neighbourhood of rows tells so much


def logits_of(shares: np.ndarray) -> np.ndarray:
    """Logits float64 [N, C] of shares of classes [N, classes]; of two classes the log odds of the second, [N, 1]."""
    logs = np.log(np.maximum(shares, SURE))
    # Of both shares, not of one and what it lacks to 1, which float32 would not know well near 1.
    return np.asarray(logs[:, 1:] - logs[:, :1] if shares.shape[1] == 2 else logs)


def class_probabilities(logits: np.ndarray) -> np.ndarray:
    """float64 [N, classes]."""
    if logits.shape[1] == 1:
        p = 1 / (1 + np.exp(-logits))
        return np.hstack([1 - p, p])
    return np.asarray(softmax(logits, axis=1))


def fit_temperature(logits: np.ndarray, label: np.ndarray) -> float:
    """The temperature T that minimises the log loss of logits / T (Guo et al., ICML 2017, section 4.2).

    Half a row's worth of doubt is added, whose label may be any of the classes: rows that are all told apart would
    make the logits as sharp as they may be, and the first row that is not would cost all that was gained. (Platt, 1999,
    section 2.2, has a row's worth for each class.)
    """
    doubt = DOUBT / len(label)

    def doubted(t: float) -> float:
        sharp = logits / np.exp(t)
        return (1 - doubt) * class_log_loss(sharp, label) + doubt * _even_loss(sharp)

    return float(np.exp(minimize_scalar(doubted, bounds=(-2, 2), method="bounded").x))


def _even_loss(logits: np.ndarray) -> float:
    """Mean cross-entropy of logits [N, C] where each class is as likely as the others."""
    if logits.shape[1] == 1:
        return float((np.logaddexp(0, logits) - logits / 2).mean())
    return float(-log_softmax(logits, axis=1).mean())


def fit_drifting_temperature(logit: np.ndarray, label: np.ndarray, time: np.ndarray) -> float:
    """The temperature where the share of positives drifts: fitted beside a shift of the logits at each time.

    The shifts are dropped. A temperature by itself would take over what is a shift of a few times: with logits mostly
    below zero a lower share of positives looks like logits that are not sharp enough.

    Args:
        logit: Of class 1, float64 [N].
        label: int64 [N].
        time: Of each row, [N]; rows of one time share a shift.
    """
    times, at = np.unique(time, return_inverse=True)

    def loss(free: np.ndarray) -> tuple[float, np.ndarray]:
        sharpness = np.exp(-free[0])
        scaled = logit * sharpness + free[1:][at]
        error = (expit(scaled) - label) / len(label)
        slope = np.concatenate([[-(error * logit).sum() * sharpness], np.bincount(at, error, len(times))])
        return class_log_loss(scaled[:, None], label), slope

    found = minimize(loss, np.zeros(1 + len(times)), jac=True, method="L-BFGS-B", bounds=[(-2, 2)] * (1 + len(times)))
    return float(np.exp(found.x[0]))


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
