"""The report of a table's classifier: figures for `metrics.json`, and one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ludocast.datamodules.cells import DTYPES
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.schema import Column, Schema
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
from ludocast.serve.charts import bar_chart, effect_chart
from ludocast.serve.measured import PLAYERS, TITLES, Measured, Words, measure
from ludocast.serve.page import render_page
from ludocast.serve.search_report import SearchPart

TOP_EFFECTS = 5
SHOWN_IMPORTANCES = 15


@dataclass(frozen=True)
class Report:
    """All that the page shows; nothing in it is a row of the table."""

    name: str
    schema: Schema
    protocol: Sequence[str]
    measured: Measured
    importance: Sequence[Importance]
    effects: Sequence[Effect]
    player: Sequence[Contribution]
    player_probability: float
    described_rows: int
    words: Words = PLAYERS

    def metrics(self) -> dict[str, Any]:
        """The figures as JSON."""
        return {
            "name": self.name,
            "rows": dict(self.measured.rows),
            "protocol": list(self.protocol),
            **self.measured.metrics(),
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
    shown: np.ndarray | None,
    described_rows: int,
    words: Words = PLAYERS,
) -> Report:
    """Measure a model on its test rows.

    Args:
        name: Of the model.
        schema: Of the table.
        predict: Raw columns to probabilities [N, C].
        decide: Probabilities to class index [N].
        threshold: From which probability on the positive class is answered.
        test_columns: Raw columns of the test rows, or of those in `shown`.
        test_label: Of all test rows, int64 [N].
        leaderboard: Probabilities [N, C] of each candidate on the test rows, ours first.
        rows: Part to number of rows.
        protocol: Sentences on split and choice.
        true_probability: Of the positive class [N], for simulated tables.
        seed: Of resamples and shuffles.
        shown: Which of the test rows tell what the model goes by; None for all.
        described_rows: Training rows whose statistics the schema holds.
        words: How the page speaks of rows.
    """
    of_all = slice(None) if shown is None else shown
    positive = schema.positive_index
    ours = next(iter(leaderboard.values()))
    importance = permutation_importance(predict, test_columns, test_label[of_all], positive, seed)
    top = [entry.column for entry in importance[:TOP_EFFECTS]]
    index = 0 if positive is None else positive
    player = _player(test_columns, ours[of_all, index])
    return Report(
        name=name,
        schema=schema,
        protocol=protocol,
        described_rows=described_rows,
        words=words,
        measured=measure(
            leaderboard, test_label, decide(ours), classes=schema.classes, positive=schema.positive,
            who=f"{words.entity}s with {schema.label} = {schema.positive}", rows=rows, threshold=threshold,
            true_probability=true_probability, seed=seed, words=words,
        ),
        importance=importance,
        effects=effects(predict, test_columns, top, index, seed),
        player=contributions(predict, test_columns, player, index, seed),
        player_probability=float(
            predict({k: np.array([player[k]], dtype=v.dtype) for k, v in test_columns.items()})[0, index]
        ),
    )  # fmt: skip


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


def write_report(report: Report, path: Path, search: SearchPart | None = None) -> None:
    """Write the page: one file, no script, nothing from elsewhere; with what tells of a search, if there was one."""
    shown, player = report.importance[:SHOWN_IMPORTANCES], report.player[:10]
    top = max((max(entry.probability) for entry in report.effects), default=1.0)
    page = render_page(
        "report.html.jinja",
        name=report.name,
        label=report.schema.label,
        positive=report.schema.positive,
        measured=report.measured,
        titles=TITLES,
        warnings=report.schema.warnings,
        importance_chart=bar_chart(
            "Permutation importance",
            [entry.column for entry in shown],
            [entry.auc for entry in shown],
            [entry.spread for entry in shown],
            "fall of AUC when shuffled",
        ),
        effect_charts=[
            effect_chart(entry.column, entry.values, entry.probability, (0.0, min(1.0, 1.15 * top)))
            for entry in report.effects
        ],
        player=player,
        player_probability=report.player_probability,
        player_chart=bar_chart(
            "What moved the score",
            [f"{entry.column} = {entry.value}" for entry in player],
            [entry.log_odds for entry in player],
            [0.0] * len(player),
            "log odds",
        ),
        protocol=report.protocol,
        columns=column_rows(report.schema, report.described_rows),
        words=report.words,
        search=search,
    )
    path.write_text(page, encoding="utf-8")


def column_rows(schema: Schema, rows: int) -> list[dict[str, Any]]:
    """The columns of a schema as a page lists them, with their statistics of so many rows."""
    return [_column_row(column, rows) for column in schema.columns]


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
