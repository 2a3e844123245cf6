"""The report of a model of a number: figures for `metrics.json`, and one self-contained HTML page."""

# N test rows

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.schema import Schema
from ludocast.models.importance import Effect, NumberImportance, effects, number_importance
from ludocast.models.number_loss import SQUARED, NumberLoss
from ludocast.serve.charts import bar_chart, effect_chart, nice_range
from ludocast.serve.measured_numbers import NUMBER_TITLES, MeasuredNumbers, measure_numbers
from ludocast.serve.page import render_page
from ludocast.serve.report import SHOWN_IMPORTANCES, TOP_EFFECTS, column_rows
from ludocast.serve.search_report import SearchPart
from markupsafe import Markup


@dataclass(frozen=True)
class NumberColumns:
    """Measured on test rows.

    Attributes:
        importance: The most important column first.
        effects: Of the most important columns.
    """

    importance: Sequence[NumberImportance]
    effects: Sequence[Effect]

    def importance_chart(self, words: str) -> Markup:
        """Of the most important columns; `words` is what a shuffled column makes rise."""
        shown = self.importance[:SHOWN_IMPORTANCES]
        return bar_chart(
            "Permutation importance",
            [entry.column for entry in shown],
            [entry.rise for entry in shown],
            [entry.spread for entry in shown],
            f"rise of {words} when shuffled",
        )

    def effect_charts(self, label: str) -> list[Markup]:
        """One a column, all on one scale; `label` is what is predicted."""
        every = [value for entry in self.effects for value in entry.probability]
        y_range = nice_range(min(every), max(every)) if every else (0.0, 1.0)
        return [
            effect_chart(entry.column, entry.values, entry.probability, y_range, f"mean {label}")
            for entry in self.effects
        ]


def number_columns(
    predict: Callable[[RawColumns], np.ndarray], columns: RawColumns, label: np.ndarray, loss: NumberLoss, seed: int
) -> NumberColumns:
    """Measure columns.

    Args:
        predict: Raw columns to numbers [N].
        columns: Raw columns of the test rows.
        label: float64 [N].
        loss: That rises where a column is shuffled.
        seed: Of the shuffles.
    """
    importance = number_importance(predict, columns, label, loss, seed)
    top = [entry.column for entry in importance[:TOP_EFFECTS]]
    return NumberColumns(importance, effects(lambda some: predict(some)[:, None], columns, top, 0, seed))


@dataclass(frozen=True)
class NumberReport:
    """All that the page shows; nothing in it tells a row's other columns.

    Attributes:
        name: Of the model.
        schema: Of the table.
        protocol: Sentences on split and choice.
        measured: Figures and charts.
        by_column: What columns mean to the model.
        described_rows: Training rows whose statistics the schema holds.
    """

    name: str
    schema: Schema
    protocol: Sequence[str]
    measured: MeasuredNumbers
    by_column: NumberColumns
    described_rows: int

    def metrics(self) -> dict[str, Any]:
        """The figures as JSON."""
        return {
            "name": self.name,
            "rows": dict(self.measured.rows),
            "protocol": list(self.protocol),
            **self.measured.metrics(),
            "importance": [asdict(entry) for entry in self.by_column.importance],
            "warnings": list(self.schema.warnings),
        }


def build_number_report(
    *,
    name: str,
    schema: Schema,
    predict: Callable[[RawColumns], np.ndarray],
    bounds: Callable[[np.ndarray], np.ndarray],
    coverage: float,
    test_columns: RawColumns,
    test_label: np.ndarray,
    leaderboard: Mapping[str, np.ndarray],
    rows: Mapping[str, int],
    protocol: Sequence[str],
    seed: int,
    described_rows: int,
    loss: NumberLoss = SQUARED,
) -> NumberReport:
    """Measure a model on its test rows.

    Args:
        name: Of the model.
        schema: Of the table.
        predict: Raw columns to numbers [N].
        bounds: Numbers [N] to lower and upper bounds [N, 2].
        coverage: Share of true values that is to lie inside.
        test_columns: Raw columns of the test rows.
        test_label: float64 [N].
        leaderboard: Numbers [N] of each candidate on the test rows, ours first.
        rows: Part to number of rows.
        protocol: Sentences on split and choice.
        seed: Of resamples and shuffles.
        described_rows: Training rows whose statistics the schema holds.
        loss: By which the number is predicted.
    """
    ours = next(iter(leaderboard.values()))
    return NumberReport(
        name=name,
        schema=schema,
        protocol=protocol,
        measured=measure_numbers(
            leaderboard, bounds(ours), test_label, name=schema.label, coverage=coverage, rows=rows, loss=loss, seed=seed
        ),
        by_column=number_columns(predict, test_columns, test_label, loss, seed),
        described_rows=described_rows,
    )


def write_number_report(report: NumberReport, path: Path, search: SearchPart | None = None) -> None:
    """Write the page: one file, no script, nothing from elsewhere; with what tells of a search, if there was one."""
    words = report.measured.leaderboard[0].loss_words or "RMSE"
    page = render_page(
        "number_report.html.jinja",
        report=report,
        measured=report.measured,
        titles=NUMBER_TITLES,
        importance_chart=report.by_column.importance_chart(words),
        effect_charts=report.by_column.effect_charts(report.schema.label),
        columns=column_rows(report.schema, report.described_rows),
        search=search,
    )
    path.write_text(page, encoding="utf-8")
