"""How good a classifier is on rows that it has never seen: the figures and curves that all reports share."""

# N rows, C classes

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ludocast.models import curves
from ludocast.models.metrics import Interval, Standing, classification_metrics, compare
from ludocast.serve.charts import Series, line_chart
from markupsafe import Markup

SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
RESAMPLES = 1000
RESAMPLED_ROWS = 200_000_000  # in all of them together; an interval of more rows is narrow, and needs fewer
LEAST_RESAMPLES = 100
TITLES = {
    "auc": "AUC (1 is perfect, 0.5 chance)",
    "average_precision": "average precision",
    "log_loss": "log loss (lower is better)",
    "brier": "Brier score (lower is better)",
    "ece": "calibration error, ECE (lower is better)",
    "f1": "F1",
}
SHORT_TITLES = {name: re.split(r",| \(", title)[0] for name, title in TITLES.items()}


@dataclass(frozen=True)
class Gain:
    """The share of all positives among the top `share` by score, and how many times chance that is."""

    share: float
    reached: float
    lift: float


@dataclass(frozen=True)
class Words:
    """How a page speaks of rows.

    Attributes:
        entity: What a row is, as "player".
        wanted: Those of the positive class, as "those who leave".
        others: The others.
    """

    entity: str = "player"
    wanted: str = "those who leave"
    others: str = "those who stay"


PLAYERS = Words()


@dataclass(frozen=True)
class Measured:
    """What the test rows say of a classifier.

    Attributes:
        classes: Names, C.
        positive: The class whose probability is wanted; None with more than two.
        who: Whom it names, as "players with churned = yes".
        rows: Part to number of rows.
        threshold: From which probability on the positive class is answered.
        values: Measures with their intervals.
        leaderboard: Ours first, then the others on the same rows.
        gains: Empty with more than two classes, or rows of one alone, as are the charts.
        confusion: int [C, C]: rows are what was.
        charts: SVG figures.
        best_possible: AUC of the true probabilities, where they are known.
    """

    classes: Sequence[str]
    positive: str | None
    who: str
    rows: Mapping[str, int]
    threshold: float | None
    values: Mapping[str, Interval]
    leaderboard: Sequence[Standing]
    gains: Sequence[Gain]
    confusion: np.ndarray
    charts: Sequence[Markup]
    best_possible: float | None = None

    def metrics(self) -> dict[str, Any]:
        """The figures as JSON."""
        return {
            "threshold": self.threshold,
            "metrics": {name: asdict(value) for name, value in self.values.items()},
            "best_possible_auc": self.best_possible,
            "leaderboard": [asdict(entry) for entry in self.leaderboard],
            "gain": [asdict(gain) for gain in self.gains],
            "confusion": {
                name: dict(zip(self.classes, row, strict=True))
                for name, row in zip(self.classes, self.confusion.tolist(), strict=True)
            },
        }

    def headline(self) -> list[str]:
        """The first sentences of a page; there is none on an AUC where all rows are of one class."""
        auc = self.values.get("auc")
        if auc is None:
            return []
        sentences = [
            f"On rows it has never seen the model reaches an AUC of {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})."
        ]
        if self.gains:
            tenth = next(gain for gain in self.gains if gain.share == 0.1)
            sentences.append(
                f"Contact the top 10 % by score: {100 * tenth.reached:.0f} % of all {self.who} are among them, "
                f"{tenth.lift:.1f} times as many as by chance."
            )
        if self.best_possible is not None:
            sentences.append(f"This table is simulated: nobody could do better than {self.best_possible:.3f}.")
        return sentences

    def verdict(self) -> str:
        """The leaderboard in a sentence or two."""
        behind = {entry: entry.auc_behind for entry in self.leaderboard[1:] if "alone" not in entry.name}
        close = [entry for entry, gap in behind.items() if gap is not None and gap.low <= 0]
        if not close:
            return "Ours is ahead of every classic model here by more than chance explains."
        best = max(close, key=lambda entry: entry.auc.value)
        return (
            f"A simple model is as good here: the difference to {best.name} (AUC {best.auc.value:.4f}) is within "
            "chance. If that one is easier for you, take it."
        )


def resamples_of(rows: int, most: int = RESAMPLES) -> int:
    """How many resamples so many rows get."""
    return min(most, max(LEAST_RESAMPLES, RESAMPLED_ROWS // rows))


def measure(
    leaderboard: Mapping[str, np.ndarray],
    label: np.ndarray,
    predicted: np.ndarray,
    *,
    classes: Sequence[str],
    positive: str | None,
    who: str,
    rows: Mapping[str, int],
    threshold: float | None,
    true_probability: np.ndarray | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    words: Words = PLAYERS,
) -> Measured:
    """Measure the first of some candidates, and set the others beside it.

    Args:
        leaderboard: Probabilities [N, C] of each candidate, ours first.
        label: int64 [N].
        predicted: What ours answers, int [N].
        classes: See `Measured`, as for all that follow up to `threshold`.
        positive: The same.
        who: The same.
        rows: The same.
        threshold: The same.
        true_probability: Of the positive class [N], where it is known.
        seed: Of the resamples.
        resamples: For each interval; fewer, down to 100, of more than 200,000 rows.
        words: Of the charts.
    """
    resamples = resamples_of(len(label), resamples)
    index = None if positive is None else classes.index(positive)
    has_curves = index is not None and len(np.unique(label)) == 2
    ours = next(iter(leaderboard.values()))
    best = None
    if true_probability is not None and index is not None:
        two = np.stack([1 - true_probability, true_probability], axis=1)[:, :: 1 if index == 1 else -1]
        best = classification_metrics(two, label, index, two.argmax(axis=1), resamples=2)["auc"].value
    return Measured(
        classes=classes,
        positive=positive,
        who=who,
        rows=rows,
        threshold=threshold,
        values=classification_metrics(ours, label, index, predicted, seed=seed, resamples=resamples),
        leaderboard=compare(leaderboard, label, index, seed=seed, resamples=resamples),
        gains=_gains(ours[:, index], label == index) if has_curves and index is not None else (),
        confusion=curves.confusion(label, predicted, len(classes)),
        charts=class_charts(leaderboard, label == index, index, words) if has_curves and index is not None else (),
        best_possible=best,
    )


def _gains(score: np.ndarray, positive: np.ndarray) -> list[Gain]:
    reached = curves.reached_by(score, positive, np.array(SHARES))
    return [Gain(share, float(part), float(part / share)) for share, part in zip(SHARES, reached, strict=True)]


def class_charts(leaderboard: Mapping[str, np.ndarray], hit: np.ndarray, positive: int, words: Words) -> list[Markup]:
    """ROC, precision and recall, calibration, gain and lift.

    Args:
        leaderboard: Probabilities [N, C] of each candidate, ours first.
        hit: Which rows are of the positive class, bool [N]; both kinds are there.
        positive: Its index.
        words: Of the axes.
    """
    scores = {name: p[:, positive] for name, p in leaderboard.items()}
    names = list(scores)
    shown = [names[0], *(name for name in names[1:] if "alone" not in name)][:4]
    roc = [curves.roc_curve(scores[name], hit) for name in shown]
    pr = [curves.precision_recall_curve(scores[name], hit) for name in shown]
    ours = scores[names[0]]
    calibration = curves.calibration_curve(ours, hit)
    gain = curves.gain_curve(ours, hit)
    rate = float(hit.mean())
    diagonal = Series("(chance)", [0, 1], [0, 1])
    contacted = gain.contacted[1:]
    lift_top = max(2.0, float(np.ceil(np.max(gain.lift))))
    return [
        line_chart(
            "ROC", [*(Series(n, c.x, c.y) for n, c in zip(shown, roc, strict=True)), diagonal],
            f"false alarms, of {words.others}", f"found, of {words.wanted}",
        ),
        line_chart(
            "Precision and recall",
            [*(Series(n, c.x, c.y) for n, c in zip(shown, pr, strict=True)), Series("(chance)", [0, 1], [rate, rate])],
            "recall", "precision",
        ),
        line_chart(
            "Calibration",
            [
                Series(names[0], calibration.predicted, calibration.observed, True, calibration.low, calibration.high),
                Series("(perfect)", [0, 1], [0, 1]),
            ],
            "predicted probability", "observed share (95 %)",
        ),
        line_chart(
            "Cumulative gain", [Series(names[0], gain.contacted, gain.reached), diagonal],
            f"contacted, of all {words.entity}s", f"reached, of {words.wanted}",
        ),
        line_chart(
            "Lift",
            [Series(names[0], contacted, gain.lift), Series("(chance)", [0, 1], [1, 1])],
            f"contacted, of all {words.entity}s", "times chance", (0.0, 1.0), (0.0, lift_top),
        ),
    ]  # fmt: skip
