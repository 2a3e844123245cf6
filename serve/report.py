"""The report of a classifier: figures for `metrics.json`, and one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader
from ludocast.datamodules.cells import DTYPES
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.schema import Column, Schema
from ludocast.models import curves
from ludocast.models.importance import (
    Contribution,
    Effect,
    Importance,
    Predict,
    contributions,
    effects,
    permutation_importance,
    shown_value,
)
from ludocast.models.metrics import Interval, Standing, classification_metrics, compare
from ludocast.serve.charts import Series, bar_chart, effect_chart, line_chart
from markupsafe import Markup

SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
TOP_EFFECTS = 5
SHOWN_IMPORTANCES = 15
TITLES = {
    "auc": "AUC (1 is perfect, 0.5 chance)",
    "average_precision": "average precision",
    "log_loss": "log loss (lower is better)",
    "brier": "Brier score (lower is better)",
    "ece": "calibration error, ECE (lower is better)",
    "f1": "F1",
}


@dataclass(frozen=True)
class Gain:
    """The share of all positives among the top `share` by score, and how many times chance that is."""

    share: float
    reached: float
    lift: float


@dataclass(frozen=True)
class Report:
    """All that the page shows; nothing in it is a player's row."""

    name: str
    schema: Schema
    rows: Mapping[str, int]
    protocol: Sequence[str]
    threshold: float | None
    values: Mapping[str, Interval]
    best_possible: float | None
    leaderboard: Sequence[Standing]
    gains: Sequence[Gain]
    confusion: np.ndarray
    importance: Sequence[Importance]
    effects: Sequence[Effect]
    player: Sequence[Contribution]
    player_probability: float
    charts: Sequence[str]

    def metrics(self) -> dict[str, Any]:
        """The figures as JSON."""
        return {
            "name": self.name,
            "rows": dict(self.rows),
            "protocol": list(self.protocol),
            "threshold": self.threshold,
            "metrics": {name: asdict(value) for name, value in self.values.items()},
            "best_possible_auc": self.best_possible,
            "leaderboard": [asdict(entry) for entry in self.leaderboard],
            "gain": [asdict(gain) for gain in self.gains],
            "confusion": {
                name: dict(zip(self.schema.classes, row, strict=True))
                for name, row in zip(self.schema.classes, self.confusion.tolist(), strict=True)
            },
            "importance": [asdict(entry) for entry in self.importance],
            "warnings": list(self.schema.warnings),
        }


def build_report(
    *,
    name: str,
    schema: Schema,
    predict: Predict,
    decide: Callable[[np.ndarray], np.ndarray],
    threshold: float | None,
    test_columns: RawColumns,
    test_label: np.ndarray,
    leaderboard: Mapping[str, np.ndarray],
    rows: Mapping[str, int],
    protocol: Sequence[str],
    true_probability: np.ndarray | None,
    seed: int,
) -> Report:
    """Measure a model on its test rows.

    Args:
        name: Of the model.
        schema: Of the table.
        predict: Raw columns to probabilities [N, C].
        decide: Probabilities to class index [N].
        threshold: From which probability on the positive class is answered.
        test_columns: Raw columns of the test rows.
        test_label: int64 [N].
        leaderboard: Probabilities [N, C] of each candidate on the test rows, ours first.
        rows: Part to number of rows.
        protocol: Sentences on split and choice.
        true_probability: Of the positive class [N], for simulated tables.
        seed: Of resamples and shuffles.
    """
    positive = schema.positive_index
    ours = next(iter(leaderboard.values()))
    predicted = decide(ours)
    importance = permutation_importance(predict, test_columns, test_label, positive, seed)
    top = [entry.column for entry in importance[:TOP_EFFECTS]]
    index = 0 if positive is None else positive
    player = _player(test_columns, ours[:, index])
    best = None
    if true_probability is not None and positive is not None:
        two = np.stack([1 - true_probability, true_probability], axis=1)[:, :: 1 if positive == 1 else -1]
        best = classification_metrics(two, test_label, positive, two.argmax(axis=1), resamples=2)["auc"].value
    return Report(
        name=name,
        schema=schema,
        rows=rows,
        protocol=protocol,
        threshold=threshold,
        values=classification_metrics(ours, test_label, positive, predicted, seed=seed),
        best_possible=best,
        leaderboard=compare(leaderboard, test_label, positive, seed=seed),
        gains=() if positive is None else _gains(ours[:, positive], test_label == positive),
        confusion=curves.confusion(test_label, predicted, len(schema.classes)),
        importance=importance,
        effects=effects(predict, test_columns, top, index, seed),
        player=contributions(predict, test_columns, player, index, seed),
        player_probability=float(
            predict({k: np.array([player[k]], dtype=v.dtype) for k, v in test_columns.items()})[0, index]
        ),
        charts=() if positive is None else _charts(leaderboard, test_label == positive, positive),
    )


def _gains(score: np.ndarray, positive: np.ndarray) -> list[Gain]:
    reached = curves.reached_by(score, positive, np.array(SHARES))
    return [Gain(share, float(part), float(part / share)) for share, part in zip(SHARES, reached, strict=True)]


def _player(columns: RawColumns, score: np.ndarray) -> dict[str, object]:
    """Medians and most frequent values of the tenth of the rows with the highest score: typical, and nobody's row."""
    high = score >= np.quantile(score, 0.9)
    player: dict[str, object] = {}
    for name, values in columns.items():
        part = values[high]
        if values.dtype == object:
            names, counts = np.unique(part.astype(str), return_counts=True)
            player[name] = str(names[counts.argmax()])
        else:
            known = part[~np.isnan(part)]
            player[name] = float(np.quantile(known, 0.5, method="nearest")) if len(known) else float("nan")
    return player


def _charts(leaderboard: Mapping[str, np.ndarray], hit: np.ndarray, positive: int) -> list[str]:
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
            "false alarms, of those who stay", "found, of those who leave",
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
            "contacted, of all players", "reached, of those who leave",
        ),
        line_chart(
            "Lift",
            [Series(names[0], contacted, gain.lift), Series("(chance)", [0, 1], [1, 1])],
            "contacted, of all players", "times chance", (0.0, 1.0), (0.0, lift_top),
        ),
    ]  # fmt: skip


def write_report(report: Report, path: Path) -> None:
    """Write the page: one file, no script, nothing from elsewhere."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    shown = report.importance[:SHOWN_IMPORTANCES]
    top = max((max(entry.probability) for entry in report.effects), default=1.0)
    page = environment.get_template("report.html.jinja").render(
        name=report.name,
        label=report.schema.label,
        positive=report.schema.positive,
        classes=report.schema.classes,
        headline=_headline(report),
        metrics=report.values,
        titles=TITLES,
        rows=report.rows,
        threshold=report.threshold,
        warnings=report.schema.warnings,
        leaderboard=report.leaderboard,
        leaderboard_sentence=_leaderboard_sentence(report),
        curves=[Markup(chart) for chart in report.charts],
        gains=report.gains,
        confusion=report.confusion.tolist(),
        importance_chart=Markup(
            bar_chart(
                "Permutation importance",
                [entry.column for entry in shown],
                [entry.auc for entry in shown],
                [entry.spread for entry in shown],
                "fall of AUC when shuffled",
            )
        ),
        effect_charts=[
            Markup(effect_chart(entry.column, entry.values, entry.probability, min(1.0, 1.15 * top)))
            for entry in report.effects
        ],
        player=report.player[:10],
        player_probability=report.player_probability,
        player_chart=Markup(
            bar_chart(
                "What moved the score",
                [f"{entry.column} = {entry.value}" for entry in report.player[:10]],
                [entry.log_odds for entry in report.player[:10]],
                [0.0] * len(report.player[:10]),
                "log odds",
            )
        ),
        protocol=report.protocol,
        columns=[_column_row(column, report.rows["training"]) for column in report.schema.columns],
    )
    path.write_text(page, encoding="utf-8")


def _column_row(column: Column, rows: int) -> dict[str, Any]:
    values = ""
    if column.categories is not None:
        values = ", ".join(f"{name} ({count:,})" for name, count in list(column.categories.items())[:5])
        values += ", …" if len(column.categories) > 5 else ""
    elif column.quantiles is not None:
        dtype = np.dtype(DTYPES[column.kind])
        low, middle, high = (shown_value(column.quantiles[k], dtype) for k in (0, 3, -1))
        values = f"{low} to {high}, median {middle}"
    return {
        "name": column.name, "kind": column.kind, "reason": column.reason, "missing": column.missing / max(rows, 1),
        "distinct": column.distinct, "examples": values,
    }  # fmt: skip


def _headline(report: Report) -> list[str]:
    auc = report.values["auc"]
    sentences = [
        f"On rows it has never seen the model reaches an AUC of {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})."
    ]
    if report.gains:
        tenth = next(gain for gain in report.gains if gain.share == 0.1)
        sentences.append(
            f"Contact the top 10 % by score: {tenth.reached:.0%} of all players with {report.schema.label} = "
            f"{report.schema.positive} are among them, {tenth.lift:.1f} times as many as by chance."
        )
    if report.best_possible is not None:
        sentences.append(f"This game is simulated: nobody could do better than {report.best_possible:.3f}.")
    return sentences


def _leaderboard_sentence(report: Report) -> str:
    simple = [entry for entry in report.leaderboard[1:] if "alone" not in entry.name and entry.auc_behind is not None]
    close = [entry for entry in simple if entry.auc_behind is not None and entry.auc_behind.low <= 0]
    if not close:
        return "Ours is ahead of every classic model here by more than chance explains."
    best = max(close, key=lambda entry: entry.auc.value)
    return (
        f"A simple model is as good here: the difference to {best.name} (AUC {best.auc.value:.4f}) is within chance. "
        "If that one is easier for you, take it."
    )
