"""The report of segments: figures for `metrics.json`, and one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ludocast.datamodules.schema import Schema
from ludocast.models.importance import shown_value
from ludocast.models.segments.choose import RULE, SAMPLE, Candidate, Choice
from ludocast.models.segments.compare import Drift
from ludocast.models.segments.methods import Fit
from ludocast.models.segments.partition import Prototypes
from ludocast.models.segments.profiles import Profile
from ludocast.models.segments.told import ALIKE, LEVEL, SMALL
from ludocast.serve.charts import Series, bar_chart, line_chart
from ludocast.serve.manifest import DTYPES
from ludocast.serve.page import render_page
from ludocast.serve.segment_charts import map_chart, tree_chart
from markupsafe import Markup

IN_WORDS = {
    "kmeans": "k-means",
    "mixture": "a mixture of normal distributions",
    "hierarchical": "a hierarchy over k-means prototypes (Ward)",
}
WEAK = 0.25  # silhouette below which segments are rather slices than groups (Kaufman & Rousseeuw, 1990)


@dataclass(frozen=True)
class SegmentReport:
    """All that the page shows; nothing in it is a player's row.

    Attributes:
        name: Of the model.
        schema: Of the table.
        choice: What was tried.
        final: What was measured of the segments of all rows.
        profiles: Of the segments.
        stability: Of each segment, float64 [K].
        told: Column to a sentence on its scale and weight.
        points: The first two components of some rows, float64 [M, 2].
        point_segments: Their segments.
        held: Share of the variance that the two components hold.
        fit: With the tree of a hierarchy.
        scores: Anomaly scores of all rows, or None.
        drift: To another table, or None.
        other: Its name.
        entity: What a row is, such as "customer".
    """

    name: str
    schema: Schema
    choice: Choice
    final: Candidate
    profiles: Sequence[Profile]
    stability: np.ndarray
    told: Mapping[str, str]
    points: np.ndarray
    point_segments: np.ndarray
    held: float
    fit: Fit
    scores: np.ndarray | None
    drift: Drift | None
    other: str
    entity: str

    def metrics(self) -> dict[str, Any]:
        """The figures as JSON."""
        final = self.final
        drifted = None
        if self.drift is not None:
            drifted = {**asdict(self.drift), "before": self.drift.before.tolist(), "after": self.drift.after.tolist()}
        return {
            "name": self.name,
            "metrics": {"silhouette": final.silhouette, "stability": final.stability, "bic": final.bic},
            "rows": {"all": sum(one.rows for one in self.profiles)},
            "method": final.method,
            "rule": RULE,
            "candidates": [asdict(one) for one in self.choice.candidates],
            "segments": [
                {
                    "name": one.name, "rows": one.rows, "share": one.share, "stability": float(stability),
                    "sentence": one.sentence(), "told": [asdict(trait) for trait in one.told],
                }
                for one, stability in zip(self.profiles, self.stability, strict=True)
            ],
            "anomaly_quantiles": None
            if self.scores is None
            else {f"{q:g}": float(np.quantile(self.scores, q)) for q in (0.5, 0.9, 0.99, 0.999)},
            "drift": drifted,
            "scales": dict(self.told),
            "warnings": list(self.warnings()),
        }  # fmt: skip

    def warnings(self) -> tuple[str, ...]:
        """Of the table, then of the segments."""
        found = list(self.schema.warnings)
        final = self.final
        if final.silhouette < WEAK:
            found.append(
                f"the segments are slices of a whole rather than groups apart (silhouette "
                f"{final.silhouette:.2f}, groups have {WEAK} or more)"
            )
        if final.stability < 0.8:
            half = f"half of the {self.entity}s"
            found.append(f"found again on {half}, the segments differ (stability {final.stability:.2f} of 1)")
        return tuple(found)


def write_segments_report(report: SegmentReport, path: Path) -> None:
    """Write the page: one file, no script, nothing from elsewhere."""
    names, rows = [one.name for one in report.profiles], f"{report.entity}s"
    chosen = report.choice.chosen
    charts = [
        map_chart(
            "Map", report.points, report.point_segments, names,
            f"Some {rows} by the first two principal components, which hold {report.held:.0%} of the variance.",
        ),
        bar_chart(
            "Sizes", [f"segment {name}" for name in names], [one.share for one in report.profiles],
            [0.0] * len(names), f"share of the {rows}", is_difference=False,
        ),
    ]  # fmt: skip
    partition = report.fit.partition
    if report.fit.tree is not None and isinstance(partition, Prototypes):
        charts.append(
            tree_chart(
                "Tree", report.fit.tree, partition.owner, names,
                f"{len(partition.centres)} prototypes, each for the {rows} around it; higher joins lie farther apart.",
            )
        )  # fmt: skip
    page = render_page(
        "segments.html.jinja",
        report=report,
        chosen=chosen,
        method=IN_WORDS[chosen.method],
        in_words=IN_WORDS,
        rows=rows,
        rule=RULE,
        sample=SAMPLE,
        level=LEVEL,
        small=SMALL,
        alike=ALIKE,
        charts=charts,
        criteria=_criteria(report.choice),
        typical=_typical(report),
        warnings=report.warnings(),
        odd=None if report.scores is None else [float(np.quantile(report.scores, q)) for q in (0.5, 0.99, 0.999)],
        kinds={column.name: (column.kind, column.reason) for column in report.schema.columns},
    )
    path.write_text(page, encoding="utf-8")


def _criteria(choice: Choice) -> list[Markup]:
    sizes = sorted({one.k for one in choice.candidates})
    if len(sizes) < 2:
        return []
    ends = (float(sizes[0]), float(sizes[-1]))
    by_method = {one.method: [c for c in choice.candidates if c.method == one.method] for one in choice.candidates}

    def lines(value: str) -> list[Series]:
        return [
            Series(
                IN_WORDS[name].partition(" over")[0],
                [c.k for c in found],
                [getattr(c, value) for c in found],
                marks=True,
            )
            for name, found in by_method.items()
        ]

    low = min(0.0, min(one.silhouette for one in choice.candidates))
    return [
        line_chart("Silhouette", lines("silhouette"), "segments", "silhouette", ends, (math.floor(4 * low) / 4, 1.0)),
        line_chart("Stability", lines("stability"), "segments", "adjusted Rand index", ends, (min(low, 0.0), 1.0)),
    ]


def _typical(report: SegmentReport) -> list[tuple[str, list[str]]]:
    """Column and its value in each segment, a dash where there is no typical row."""
    rows = []
    for column in report.schema.inputs:
        dtype = np.dtype(DTYPES[column.kind] if DTYPES[column.kind] != "string" else object)
        cells = [
            "–" if one.typical is None else shown_value(one.typical[column.name], dtype) for one in report.profiles
        ]
        rows.append((column.name, cells))
    return rows
