"""The report of a model of amounts: figures for `metrics.json`, and one self-contained HTML page."""

# N test rows

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.schema import Schema
from ludocast.models.metrics import Interval
from ludocast.models.number_loss import NumberLoss
from ludocast.models.value.measures import (
    Tenth,
    ValueStanding,
    compare_values,
    tenth_table,
    value_metrics,
)
from ludocast.serve.measured import resamples_of
from ludocast.serve.number_report import NumberColumns, number_columns
from ludocast.serve.page import render_page
from ludocast.serve.report import column_rows
from ludocast.serve.value_charts import value_charts
from markupsafe import Markup

TITLES = {
    "gini": "normalised Gini (1 is the true order, 0 chance)",
    "spearman": "rank correlation, Spearman",
    "deviance": "Tweedie deviance (lower is better)",
    "decile_error": "spending predicted in the wrong tenth",
    "decile_mape": "mean error of a tenth's sum",
    "total": "predicted over true sum",
    "top_1": "share of the sum in the top 1 %",
    "top_5": "share of the sum in the top 5 %",
    "top_10": "share of the sum in the top 10 %",
    "rmse": "root mean squared error, RMSE",
    "mae": "mean absolute error, MAE",
    "r2": "R², share of the variance told",
    "coverage": "true values within their interval",
    "interval_width": "mean width of an interval",
}


@dataclass(frozen=True)
class ValueReport:
    """All that the page shows; nothing in it tells a row's other columns.

    Attributes:
        name: Of the model.
        schema: Of the table.
        entity: What a row is, as "player".
        protocol: Sentences on split and choice.
        rows: Part to number of rows.
        values: Measures with their intervals.
        leaderboard: Ours first, then the others on the same rows.
        tenths: The lowest first.
        charts: SVG figures.
        by_column: What columns mean to the model.
        coverage: Share that was to lie inside.
        nothing: Share of the test rows of 0.
        mean: Of the label.
        described_rows: Training rows whose statistics the schema holds.
    """

    name: str
    schema: Schema
    entity: str
    protocol: Sequence[str]
    rows: Mapping[str, int]
    values: Mapping[str, Interval]
    leaderboard: Sequence[ValueStanding]
    tenths: Sequence[Tenth]
    charts: Sequence[Markup]
    by_column: NumberColumns
    coverage: float
    nothing: float
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
            "rows_of_nothing": self.nothing,
            "tenths": [asdict(entry) for entry in self.tenths],
            "leaderboard": [asdict(entry) for entry in self.leaderboard],
            "importance": [asdict(entry) for entry in self.by_column.importance],
            "warnings": list(self.schema.warnings),
        }

    def headline(self) -> list[str]:
        """The first sentences of the page."""
        top, total, gini, inside = (self.values[name].value for name in ("top_10", "total", "gini", "coverage"))
        return [
            f"The tenth of the {self.entity}s with the highest predictions holds {100 * top:.0f} % of all "
            f"{self.schema.label} among rows that the model has never seen; {100 * self.nothing:.0f} % have nothing.",
            f"All predictions add up to {100 * total:.0f} % of what was (the mean is {self.mean:,.4g}); the ranking "
            f"has a Gini of {gini:.3f}, where the true order has 1.",
            f"{100 * inside:.1f} % of the true values lie within their interval; {100 * self.coverage:.0f} % were to"
            f"{self._why_more()}.",
        ]

    def _why_more(self) -> str:
        """Where more lie inside than were to: most rows have nothing, and an interval that holds 0 holds them all."""
        most = max(1 - entry.above_zero for entry in self.tenths)
        if most <= self.coverage:
            return ""
        return f", but of the lowest predictions up to {100 * most:.0f} % have nothing, and 0 is one point"

    def verdict(self) -> str:
        """The leaderboard in a sentence or two."""
        close = [e for e in self.leaderboard[1:] if e.deviance_behind is not None and e.deviance_behind.low <= 0]
        if not close:
            return "Ours is ahead of every other one here by more than chance explains."
        best = min(close, key=lambda entry: entry.deviance.value)
        return (
            f"Another one is as good here: the difference to {best.name} (deviance {best.deviance.value:,.4g}) is "
            "within chance. If that one is easier for you, take it."
        )


def build_value_report(
    *,
    name: str,
    schema: Schema,
    entity: str,
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
) -> ValueReport:
    """Measure a model on its test rows.

    Args:
        name: Of the model.
        schema: Of the table.
        entity: What a row is.
        predict: Raw columns to amounts [N].
        bounds: Amounts [N] to lower and upper bounds [N, 2].
        coverage: Share of true amounts that is to lie inside.
        test_columns: Raw columns of the test rows.
        test_label: float64 [N].
        leaderboard: Amounts [N] of each candidate on the test rows, ours first.
        rows: Part to number of rows.
        protocol: Sentences on split and choice.
        seed: Of resamples and shuffles.
        described_rows: Training rows whose statistics the schema holds.
    """
    drawn = {"seed": seed, "resamples": resamples_of(len(test_label))}
    ours = next(iter(leaderboard.values()))
    around = bounds(ours)
    tenths = tenth_table(ours, test_label, **drawn)
    return ValueReport(
        name=name,
        schema=schema,
        entity=entity,
        protocol=protocol,
        rows=rows,
        values=value_metrics(ours, around, test_label, **drawn),
        leaderboard=compare_values(leaderboard, test_label, **drawn),
        tenths=tenths,
        charts=value_charts(schema.label, entity, ours, around, test_label, tenths, coverage),
        by_column=number_columns(predict, test_columns, test_label, NumberLoss("tweedie"), seed),
        coverage=coverage,
        nothing=float(np.mean(test_label == 0)),
        mean=float(test_label.mean()),
        described_rows=described_rows,
    )


def write_value_report(report: ValueReport, path: Path) -> None:
    """Write the page: one file, no script, nothing from elsewhere."""
    page = render_page(
        "value_report.html.jinja",
        report=report,
        titles=TITLES,
        importance_chart=report.by_column.importance_chart("the deviance"),
        effect_charts=report.by_column.effect_charts(report.schema.label),
        columns=column_rows(report.schema, report.described_rows),
    )
    path.write_text(page, encoding="utf-8")
