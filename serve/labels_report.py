"""The report of a model of several labels: figures for `metrics.json`, and one self-contained HTML page."""

# N test rows, L labels

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.schema import Schema
from ludocast.models.importance import NumberImportance, label_importance
from ludocast.serve.charts import bar_chart
from ludocast.serve.measured_labels import LABEL_TITLES, MeasuredLabels, measure_labels
from ludocast.serve.page import render_page
from ludocast.serve.report import SHOWN_IMPORTANCES, column_rows
from ludocast.serve.search_report import SearchPart


@dataclass(frozen=True)
class LabelsReport:
    """All that the page shows; nothing in it is a row of the table.

    Attributes:
        name: Of the model.
        schema: Of the table.
        protocol: Sentences on split and choice.
        measured: Figures and charts.
        importance: The most important column first, and the rise of each label's log loss.
        described_rows: Training rows whose statistics the schema holds.
        entity: What a row is.
    """

    name: str
    schema: Schema
    protocol: Sequence[str]
    measured: MeasuredLabels
    importance: Sequence[tuple[NumberImportance, Sequence[float]]]
    described_rows: int
    entity: str

    def metrics(self) -> dict[str, Any]:
        """The figures as JSON."""
        return {
            "name": self.name,
            "rows": dict(self.measured.rows),
            "protocol": list(self.protocol),
            **self.measured.metrics(),
            "importance": [
                {**asdict(entry), "labels": dict(zip(self.schema.classes, each, strict=True))}
                for entry, each in self.importance
            ],
            "warnings": list(self.schema.warnings),
        }


def build_labels_report(
    *,
    name: str,
    schema: Schema,
    predict: Callable[[RawColumns], np.ndarray],
    decide: Callable[[np.ndarray], np.ndarray],
    thresholds: Sequence[float],
    test_columns: RawColumns,
    test_label: np.ndarray,
    leaderboard: Mapping[str, np.ndarray],
    rows: Mapping[str, int],
    protocol: Sequence[str],
    seed: int,
    described_rows: int,
    entity: str,
) -> LabelsReport:
    """Measure a model on its test rows.

    Args:
        name: Of the model.
        schema: Of the table.
        predict: Raw columns to probabilities [N, L].
        decide: Probabilities to labels answered, bool [N, L].
        thresholds: One a label.
        test_columns: Raw columns of the test rows.
        test_label: 0 or 1, int64 [N, L].
        leaderboard: Probabilities [N, L] of each candidate on the test rows, ours first.
        rows: Part to number of rows.
        protocol: Sentences on split and choice.
        seed: Of resamples and shuffles.
        described_rows: Training rows whose statistics the schema holds.
        entity: What a row is.
    """
    ours = next(iter(leaderboard.values()))
    return LabelsReport(
        name=name,
        schema=schema,
        protocol=protocol,
        measured=measure_labels(
            leaderboard, test_label, decide(ours), names=schema.classes, thresholds=thresholds, rows=rows, seed=seed,
            words=entity,
        ),
        importance=label_importance(predict, test_columns, test_label, seed),
        described_rows=described_rows,
        entity=entity,
    )  # fmt: skip


def write_labels_report(report: LabelsReport, path: Path, search: SearchPart | None = None) -> None:
    """Write the page: one file, no script, nothing from elsewhere; with what tells of a search, if there was one."""
    shown = report.importance[:SHOWN_IMPORTANCES]
    page = render_page(
        "labels_report.html.jinja",
        report=report,
        measured=report.measured,
        titles=LABEL_TITLES,
        importance=shown,
        importance_chart=bar_chart(
            "Permutation importance",
            [entry.column for entry, _ in shown],
            [entry.rise for entry, _ in shown],
            [entry.spread for entry, _ in shown],
            "rise of mean log loss when shuffled",
        ),
        columns=column_rows(report.schema, report.described_rows),
        search=search,
    )
    path.write_text(page, encoding="utf-8")
