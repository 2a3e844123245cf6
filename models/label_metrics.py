"""How good predictions of several labels are: each by itself, their means, and whole rows, on the same resamples."""

# N rows, L labels, B resamples, M measures

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from ludocast.models.metrics import (
    NAMES,
    OF_LABEL,
    Interval,
    Standing,
    bootstrap,
    interval,
    macro_auc_of_weights,
    measures_of_weights,
    reflected,
    standings,
)

# Of all labels: what `NAMES` tell is the mean over labels (macro); `micro_auc` and `micro_f1` take all cells together,
# as if each were a row; a row is right in `subset_accuracy` where all its labels are; `hamming_loss` is the share of
# cells that are wrong.
LABEL_NAMES = (
    *(name for name in NAMES if name != "accuracy"),
    "micro_auc",
    "micro_f1",
    "subset_accuracy",
    "hamming_loss",
)


def of_label(measure: str, label: str) -> str:
    """Name of a label's measure among all."""
    return f"{measure}{OF_LABEL}{label}"


def label_measure_names(labels: tuple[str, ...]) -> tuple[str, ...]:
    """What `label_measures_of_weights` gives, in its order."""
    return (*LABEL_NAMES, *(of_label(measure, label) for label in labels for measure in NAMES))


def two_columns(probability: np.ndarray) -> np.ndarray:
    """Probabilities [N, 2] of not having a label and of having it, of the latter [N]."""
    return np.stack([1 - probability, probability], axis=1)


def label_measures_of_weights(
    probabilities: np.ndarray, label: np.ndarray, predicted: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """What `bootstrap` resamples: row weights [B, N] to measures [B, M]; NaN where one is not defined.

    Args:
        probabilities: float [N, L].
        label: 0 or 1, int64 [N, L].
        predicted: Which labels were answered, bool [N, L].
    """
    answered = predicted.astype(np.int64)
    each = [
        measures_of_weights(two_columns(p), one, 1, said)
        for p, one, said in zip(probabilities.T, label.T, answered.T, strict=True)
    ]
    wrong = answered != label
    rows = np.stack(
        [(answered & label).sum(axis=1), (answered + label).sum(axis=1), ~wrong.any(axis=1), wrong.mean(axis=1)], axis=1
    ).astype(np.float64)
    cells = macro_auc_of_weights(two_columns(probabilities.ravel()), label.ravel(), 1)
    macro = [NAMES.index(name) for name in LABEL_NAMES if name in NAMES]

    def all_of(weights_BN: np.ndarray) -> np.ndarray:
        found_BLM = np.stack([one(weights_BN) for one in each], axis=1)
        known = np.isfinite(found_BLM)
        means = np.where(known, found_BLM, 0).sum(axis=1) / known.sum(axis=1)
        both, either, exact, wrong_share = (weights_BN @ rows).T
        total = weights_BN.sum(axis=1)
        pooled = cells(np.repeat(weights_BN, label.shape[1], axis=1))
        of_rows = np.stack([pooled, 2 * both / np.maximum(either, 1), exact / total, wrong_share / total], axis=1)
        return np.hstack([means[:, macro], of_rows, found_BLM.reshape(len(weights_BN), -1)])

    return all_of


def label_metrics(
    probabilities: np.ndarray,
    label: np.ndarray,
    predicted: np.ndarray,
    labels: tuple[str, ...],
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> dict[str, Interval]:
    """All measures with their intervals, as `classification_metrics`; one that the rows do not define is left out.

    Args:
        probabilities: float [N, L].
        label: 0 or 1, int64 [N, L].
        predicted: Which labels were answered, bool [N, L].
        labels: Their names.
        seed: Of the resamples.
        resamples: Number of resamples.
    """
    measures = label_measures_of_weights(probabilities, label, predicted)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = measures(np.ones((1, len(label))))[0]
        resampled = bootstrap(measures, len(label), seed, resamples)
    found = {}
    for k, name in enumerate(label_measure_names(labels)):
        if np.isfinite(values[k]):
            around = interval(values[k], resampled[:, k])
            found[name] = reflected(around) if name.partition(OF_LABEL)[0] == "ece" else around
    return found


def compare_labels(
    candidates: Mapping[str, np.ndarray], label: np.ndarray, *, seed: int = 0, resamples: int = 1000
) -> list[Standing]:
    """Candidates by their probabilities [N, L] on the same rows: macro AUC and mean log loss, as `compare`."""
    aucs = [
        [macro_auc_of_weights(two_columns(p), one, 1) for p, one in zip(found.T, label.T, strict=True)]
        for found in candidates.values()
    ]
    losses = np.stack([row_log_losses(found, label).mean(axis=1) for found in candidates.values()], axis=1)

    def both(weights_BN: np.ndarray) -> np.ndarray:
        macro = [np.nanmean([one(weights_BN) for one in each], axis=0) for each in aucs]
        return np.stack([*macro, *(weights_BN @ losses / weights_BN.sum(axis=1, keepdims=True)).T], axis=1)

    with np.errstate(invalid="ignore", divide="ignore"):
        value = both(np.ones((1, len(label))))[0]
        resampled = bootstrap(both, len(label), seed, resamples)
    return standings(tuple(candidates), value, resampled)


def row_log_losses(probabilities: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Of each row and label, in nats, float64 [N, L]; clipped as `models.metrics.log_loss`."""
    epsilon = np.finfo(np.float64).eps
    chance = np.where(label == 1, probabilities, 1 - probabilities).astype(np.float64)
    return np.asarray(-np.log(np.clip(chance, epsilon, 1 - epsilon)))
