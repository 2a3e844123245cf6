"""How good a model of several labels is on rows that it has never seen: figures and curves that reports share."""

# N rows, L labels

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ludocast.models.label_metrics import compare_labels, label_metrics, of_label, two_columns
from ludocast.models.metrics import NAMES, OF_LABEL, Interval, Standing
from ludocast.serve.measured import RESAMPLES, SHORT_TITLES, TITLES, Words, class_charts, resamples_of
from markupsafe import Markup

LABEL_TITLES = {
    **{name: f"{title}, mean of the labels" for name, title in TITLES.items() if name != "log_loss"},
    "log_loss": "log loss, mean of the labels (lower is better)",
    "precision": "precision, mean of the labels",
    "recall": "recall, mean of the labels",
    "micro_auc": "AUC of all labels' cells together",
    "micro_f1": "F1 of all labels' cells together",
    "subset_accuracy": "rows with every label right",
    "hamming_loss": "wrong cells, Hamming loss (lower is better)",
}
SHORT_LABEL_TITLES = {
    **SHORT_TITLES, "micro_auc": "micro AUC", "micro_f1": "micro F1", "subset_accuracy": "rows right in every label",
    "hamming_loss": "Hamming loss",
}  # fmt: skip
SHOWN_OF_LABEL = ("auc", "log_loss")  # of each label's measures, where models are set side by side
SHOWN_CHARTS = 12  # labels that get curves
SHOWN_PAIRS = 15
_CURVES = 3  # of `class_charts`: ROC, precision and recall, calibration


def is_shown(name: str) -> bool:
    """Whether a measure is one of all labels, or of those of a label that are set side by side."""
    measure, _, label = name.partition(OF_LABEL)
    return not label or measure in SHOWN_OF_LABEL


@dataclass(frozen=True)
class MeasuredLabel:
    """One of the labels.

    Attributes:
        name: Its column.
        threshold: From which probability on it is answered.
        share: Of the test rows that have it.
        answered: Of those that are answered to have it.
        values: Measures with their intervals.
        charts: SVG figures; empty where all rows have it, or none, and of labels behind the first `SHOWN_CHARTS`.
    """

    name: str
    threshold: float
    share: float
    answered: float
    values: Mapping[str, Interval]
    charts: Sequence[Markup]


@dataclass(frozen=True)
class Pair:
    """Two labels together, in test rows.

    Attributes:
        first: A label.
        second: Another one.
        rows: That have both.
        answered: That are answered to have both.
        by_probability: Sum of the products of both probabilities: what the model expects, were the labels unrelated but
            for what it reads.
        expected: Were they wholly unrelated.
    """

    first: str
    second: str
    rows: int
    answered: int
    by_probability: float
    expected: float


@dataclass(frozen=True)
class MeasuredLabels:
    """What the test rows say of a model of several labels.

    Attributes:
        rows: Part to number of rows.
        values: Measures of all labels, then those of each, see `models.label_metrics.label_measure_names`.
        labels: Each by itself.
        pairs: Those that come together, or shun each other, most.
        leaderboard: Ours first, then the others on the same rows.
    """

    rows: Mapping[str, int]
    values: Mapping[str, Interval]
    labels: Sequence[MeasuredLabel]
    pairs: Sequence[Pair]
    leaderboard: Sequence[Standing]

    @property
    def of_all(self) -> dict[str, Interval]:
        """Measures of all labels."""
        return {name: one for name, one in self.values.items() if OF_LABEL not in name}

    def metrics(self) -> dict[str, Any]:
        """The figures as JSON."""
        return {
            "metrics": {name: asdict(value) for name, value in self.values.items()},
            "labels": [
                {"name": one.name, "threshold": one.threshold, "share": one.share, "answered": one.answered}
                for one in self.labels
            ],
            "pairs": [asdict(one) for one in self.pairs],
            "leaderboard": [asdict(entry) for entry in self.leaderboard],
        }

    def headline(self) -> list[str]:
        """The first sentences of a page."""
        known = [one for one in self.labels if "auc" in one.values]
        if not known:
            return []
        auc = self.values["auc"]
        best, worst = (pick(known, key=lambda one: one.values["auc"].value) for pick in (max, min))
        right, wrong = self.values["subset_accuracy"], self.values["hamming_loss"]
        return [
            f"On rows it has never seen the model reaches a mean AUC of {auc.value:.3f} ({auc.low:.3f} to "
            f"{auc.high:.3f}) over {len(self.labels)} labels: best of {best.name} ({best.values['auc'].value:.3f}), "
            f"least of {worst.name} ({worst.values['auc'].value:.3f}).",
            f"In {100 * right.value:.0f} % of the rows every label is answered right; of all single answers "
            f"{100 * (1 - wrong.value):.0f} % are.",
        ]

    def verdict(self) -> str:
        """The leaderboard in a sentence or two."""
        behind = {entry: entry.log_loss_behind for entry in self.leaderboard[1:]}
        close = [entry for entry, gap in behind.items() if gap is not None and gap.low <= 0]
        if not close:
            return "Ours is ahead of every other model here by more than chance explains."
        best = min(close, key=lambda entry: entry.log_loss.value)
        return (
            f"Another model is as good here: the difference to {best.name} (log loss {best.log_loss.value:.4f}) is "
            "within chance. If that one is easier for you, take it."
        )


def measure_labels(
    leaderboard: Mapping[str, np.ndarray],
    label: np.ndarray,
    predicted: np.ndarray,
    *,
    names: Sequence[str],
    thresholds: Sequence[float],
    rows: Mapping[str, int],
    seed: int = 0,
    resamples: int = RESAMPLES,
    words: str = "row",
) -> MeasuredLabels:
    """Measure the first of some candidates, and set the others beside it.

    Args:
        leaderboard: Probabilities [N, L] of each candidate, ours first.
        label: 0 or 1, int64 [N, L].
        predicted: What ours answers, bool [N, L].
        names: Of the labels.
        thresholds: Of ours, one a label.
        rows: See `MeasuredLabels`.
        seed: Of the resamples.
        resamples: For each interval; fewer, down to 100, of more than 200,000 rows and labels.
        words: What a row is.
    """
    resamples = resamples_of(label.size, resamples)
    ours = next(iter(leaderboard.values()))
    values = label_metrics(ours, label, predicted, tuple(names), seed=seed, resamples=resamples)
    labels = []
    for k, name in enumerate(names):
        hit = label[:, k] == 1
        has_charts = k < SHOWN_CHARTS and hit.any() and not hit.all()
        told = Words(words, f"those with {name}", "the others")
        charts = class_charts({name: two_columns(ours[:, k])}, hit, 1, told)[:_CURVES] if has_charts else ()
        own = {measure: values[of_label(measure, name)] for measure in NAMES if of_label(measure, name) in values}
        labels.append(MeasuredLabel(name, thresholds[k], float(hit.mean()), float(predicted[:, k].mean()), own, charts))
    return MeasuredLabels(
        rows,
        values,
        labels,
        _pairs(ours, label, predicted, names),
        compare_labels(leaderboard, label, seed=seed, resamples=resamples),
    )


def _pairs(probabilities: np.ndarray, label: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> list[Pair]:
    answered, p = predicted.astype(np.int64), probabilities.astype(np.float64)
    true, said, products = label.T @ label, answered.T @ answered, p.T @ p
    had = label.sum(axis=0)
    expected = np.outer(had, had) / len(label)
    # How far a pair is from chance, in standard deviations of a count of so rare an event.
    away = np.abs(true - expected) / np.sqrt(np.maximum(expected, 1e-9))
    first, second = np.triu_indices(len(names), 1)
    order = np.argsort(-away[first, second], kind="stable")[:SHOWN_PAIRS]
    return [
        Pair(names[a], names[b], int(true[a, b]), int(said[a, b]), float(products[a, b]), float(expected[a, b]))
        for a, b in zip(first[order].tolist(), second[order].tolist(), strict=True)
    ]
