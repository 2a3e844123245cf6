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
from ludocast.models.metrics import Interval
from ludocast.models.number_metrics import NumberStanding, compare_numbers, number_metrics
from ludocast.serve.charts import Series, bar_chart, dot_chart, effect_chart, line_chart, nice_range
from ludocast.serve.measured import LEAST_RESAMPLES, RESAMPLED_ROWS, RESAMPLES
from ludocast.serve.page import render_page
from ludocast.serve.report import SHOWN_IMPORTANCES, TOP_EFFECTS, column_rows
from markupsafe import Markup

SHOWN_ROWS = 1_000  # dots of a chart
OUTER = (0.5, 99.5)  # percentiles between which charts show all
BINS = 30
TENTHS = 10
TITLES = {
    "rmse": "root mean squared error, RMSE (lower is better)",
    "mae": "mean absolute error, MAE (lower is better)",
    "r2": "R², share of the variance told",
    "coverage": "true values within their interval",
    "interval_width": "mean width of an interval",
}


@dataclass(frozen=True)
class NumberReport:
    """All that the page shows; nothing in it tells a row's other columns.

    Attributes:
        name: Of the model.
        schema: Of the table.
        protocol: Sentences on split and choice.
        rows: Part to number of rows.
        values: Measures with their intervals.
        leaderboard: Ours first, then the others on the same rows.
        charts: SVG figures of what was predicted and what was.
        importance: The most important column first.
        effects: Of the most important columns.
        coverage: Share that was to lie inside.
        mean: Of the label, for a sense of scale.
        described_rows: Training rows whose statistics the schema holds.
    """

    name: str
    schema: Schema
    protocol: Sequence[str]
    rows: Mapping[str, int]
    values: Mapping[str, Interval]
    leaderboard: Sequence[NumberStanding]
    charts: Sequence[Markup]
    importance: Sequence[NumberImportance]
    effects: Sequence[Effect]
    coverage: float
    mean: float
    described_rows: int

    def metrics(self) -> dict[str, Any]:
        """The figures as JSON."""
        return {
            "name": self.name,
            "rows": dict(self.rows),
            "protocol": list(self.protocol),
            "metrics": {name: asdict(value) for name, value in self.values.items()},
            "wanted_coverage": self.coverage,
            "leaderboard": [asdict(entry) for entry in self.leaderboard],
            "importance": [asdict(entry) for entry in self.importance],
            "warnings": list(self.schema.warnings),
        }

    def headline(self) -> list[str]:
        """The first sentences of the page."""
        mae, r2, inside = (self.values[name].value for name in ("mae", "r2", "coverage"))
        return [
            f"On rows it has never seen the model is off by {mae:,.4g} on average (the mean is {self.mean:,.4g}), "
            f"and tells {100 * r2:.0f} % of the variance.",
            f"{100 * inside:.1f} % of the true values lie within their interval; {100 * self.coverage:.0f} % were to.",
        ]

    def verdict(self) -> str:
        """The leaderboard in a sentence or two."""
        close = [
            entry for entry in self.leaderboard[1:] if entry.rmse_behind is not None and entry.rmse_behind.low <= 0
        ]
        if not close:
            return "Ours is ahead of every other one here by more than chance explains."
        best = min(close, key=lambda entry: entry.rmse.value)
        return (
            f"Another one is as good here: the difference to {best.name} (RMSE {best.rmse.value:,.4g}) is within "
            "chance. If that one is easier for you, take it."
        )


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
    """
    resamples = min(RESAMPLES, max(LEAST_RESAMPLES, RESAMPLED_ROWS // len(test_label)))
    ours = next(iter(leaderboard.values()))
    around = bounds(ours)
    importance = number_importance(predict, test_columns, test_label, seed)
    top = [entry.column for entry in importance[:TOP_EFFECTS]]
    return NumberReport(
        name=name,
        schema=schema,
        protocol=protocol,
        rows=rows,
        values=number_metrics(ours, around, test_label, seed=seed, resamples=resamples),
        leaderboard=compare_numbers(leaderboard, test_label, seed=seed, resamples=resamples),
        charts=_charts(schema.label, ours, around, test_label, coverage, seed),
        importance=importance,
        effects=effects(lambda columns: predict(columns)[:, None], test_columns, top, 0, seed),
        coverage=coverage,
        mean=float(test_label.mean()),
        described_rows=described_rows,
    )


def _charts(
    name: str, value: np.ndarray, bounds: np.ndarray, label: np.ndarray, coverage: float, seed: int
) -> list[Markup]:
    shown = np.random.default_rng(seed).permutation(len(label))[:SHOWN_ROWS]
    residual = label - value
    both = nice_range(*np.percentile(np.concatenate([value, label]), OUTER).tolist())
    off = nice_range(*np.percentile(residual, OUTER).tolist())
    edges = np.linspace(*off, BINS + 1)
    count = np.histogram(np.clip(residual, *off), edges)[0] / len(residual)
    inside = (bounds[:, 0] <= label) & (label <= bounds[:, 1])
    tenths = np.array_split(np.argsort(value, kind="stable"), min(TENTHS, len(value)))
    share = [float(inside[rows].mean()) for rows in tenths]
    at = [(k + 0.5) / len(tenths) for k in range(len(tenths))]
    return [
        dot_chart(
            "Predicted and actual", value[shown], label[shown], ("predicted", name), (both, both),
            [(both[0], both[0]), (both[1], both[1])],
        ),
        dot_chart(
            "Residuals", value[shown], residual[shown], ("predicted", "actual − predicted"), (both, off),
            [(both[0], min(max(0.0, off[0]), off[1])), (both[1], min(max(0.0, off[0]), off[1]))],
        ),
        line_chart(
            "How large residuals are",
            [Series("share", np.repeat(edges, 2)[1:-1], np.repeat(count, 2))],
            "actual − predicted", "share of rows", off, (0.0, float(max(count.max() * 1.1, 1e-6))),
        ),
        line_chart(
            "Within the interval, by predicted value",
            [Series("within", at, share, marks=True), Series("(wanted)", [0, 1], [coverage, coverage])],
            "rows from the lowest to the highest prediction", "share within",
        ),
    ]  # fmt: skip


def write_number_report(report: NumberReport, path: Path) -> None:
    """Write the page: one file, no script, nothing from elsewhere."""
    shown = report.importance[:SHOWN_IMPORTANCES]
    every = [value for entry in report.effects for value in entry.probability]
    y_range = nice_range(min(every), max(every)) if every else (0.0, 1.0)
    page = render_page(
        "number_report.html.jinja",
        report=report,
        titles=TITLES,
        importance_chart=bar_chart(
            "Permutation importance",
            [entry.column for entry in shown],
            [entry.rmse for entry in shown],
            [entry.spread for entry in shown],
            "rise of RMSE when shuffled",
        ),
        effect_charts=[
            effect_chart(entry.column, entry.values, entry.probability, y_range, f"mean {report.schema.label}")
            for entry in report.effects
        ],
        columns=column_rows(report.schema, report.described_rows),
    )
    path.write_text(page, encoding="utf-8")
