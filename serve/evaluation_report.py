"""The page of an evaluation: how good a bundle is on another table, then and now, and which columns have moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ludocast.models.drift import Drift
from ludocast.models.metrics import OF_LABEL, Interval, independent_difference, is_better_low, shown
from ludocast.serve.charts import bar_chart
from ludocast.serve.manifest import Manifest
from ludocast.serve.measured import TITLES, Measured
from ludocast.serve.measured_labels import LABEL_TITLES, SHORT_LABEL_TITLES, MeasuredLabels, is_shown
from ludocast.serve.measured_numbers import NUMBER_TITLES, SHORT_NUMBER_TITLES, MeasuredNumbers, loss_of
from ludocast.serve.page import render_page

SHOWN_BARS = 15
SHORT = {**SHORT_LABEL_TITLES, **SHORT_NUMBER_TITLES}


@dataclass(frozen=True)
class EvaluationReport:
    """All that the page shows.

    Attributes:
        manifest: Of the bundle.
        data: Name of the table.
        rows: All of the table.
        measured: None where no row has a label.
        drifts: The largest first; None of a bundle that keeps nothing of its training.
        shares: Segments by name, each with its share of the training's rows and of these; None of another task, and
            where the bundle keeps nothing.
        notes: Sentences on the table.
    """

    manifest: Manifest
    data: str
    rows: int
    measured: Measured | MeasuredLabels | MeasuredNumbers | None
    drifts: Sequence[Drift] | None
    shares: Mapping[str, tuple[float, float]] | None
    notes: Sequence[str]

    def then(self) -> dict[str, Interval]:
        """Measures of the training's own test, as the bundle holds them."""
        return {name: Interval(**entry) for name, entry in self.manifest.metrics.items() if _is_interval(entry)}

    def changes(self) -> dict[str, Interval]:
        """Now minus then, of what is known of both."""
        if self.measured is None:
            return {}
        then = self.then()
        return {
            name: independent_difference(then[name], now) for name, now in self.measured.values.items() if name in then
        }

    def metrics(self) -> dict[str, Any]:
        """The figures as JSON."""
        now = None if self.measured is None else self.measured.metrics()
        of_classes, of_numbers = ("threshold", "metrics", "gain", "confusion"), ("metrics", "wanted_coverage")
        of_labels = ("metrics", "labels", "pairs")
        kept = {"classification": of_classes, "labels": of_labels, "regression": of_numbers}.get(self.manifest.task, ())
        return {
            "evaluation_of": {"name": self.manifest.name, "version": self.manifest.version},
            "data": self.data,
            "rows": {"all": self.rows, "labelled": 0 if self.measured is None else self.measured.rows["test"]},
            **{name: None if now is None else now[name] for name in kept},
            "metrics_in_training": {name: asdict(value) for name, value in self.then().items()},
            "changes": {name: asdict(value) for name, value in self.changes().items()},
            **({} if self.shares is None else {"segments": self._segments()}),
            "drift": None if self.drifts is None else [asdict(one) for one in self.drifts],
            "warnings": self.warnings(),
        }

    def _segments(self) -> list[dict[str, Any]]:
        assert self.shares is not None
        return [{"name": name, "then": then, "now": now} for name, (then, now) in self.shares.items()]

    def lead(self) -> list[str]:
        """The page in a few sentences."""
        return [self._quality(), self._drift()]

    def _quality(self) -> str:
        measured = self.measured
        if self.manifest.task == "segments":
            return self._shares_in_words()
        if measured is None:
            labels = "a label" if self.manifest.labels is None else "all labels"
            return f"None of the {self.rows:,} rows has {labels}, so only what the model was asked about can be judged."
        decisive = (loss_of(self.manifest).measure,) if self.manifest.task == "regression" else ("auc", "accuracy")
        name = next(name for name in decisive if name in measured.values)
        now, then = measured.values[name], self.then().get(name)
        title, rows = title_of(name), measured.rows["test"]
        title = f"mean {title}" if self.manifest.labels is not None else title
        said = f"On {rows:,} labelled rows the {title} is {shown(now.value)} ({shown(now.low)} to {shown(now.high)})"
        if then is None:
            return f"{said}."
        change = self.changes()[name]
        size, before = shown(abs(change.value), of=then.value), shown(then.value)
        if change.low <= 0 <= change.high:
            return f"{said}; in training's own test it was {before}, and chance explains the difference."
        way = "less" if change.value < 0 else "more"
        return f"{said}: {size} {way} than the {before} of training's own test, and chance does not explain it."

    def _shares_in_words(self) -> str:
        if self.shares is None:
            return f"{self.rows:,} rows got their segments."
        found = sorted(self.shares.items(), key=lambda one: -one[1][1])
        said = ", ".join(f"segment {name} {now:.1%} (then {then:.1%})" for name, (then, now) in found[:5])
        return f"Of {self.rows:,} rows: {said}{', …' if len(found) > 5 else ''}."

    def _drift(self) -> str:
        if self.drifts is None:
            return "The bundle keeps nothing of its training's columns, so drift is not told; train again to have it."
        moved = [one for one in self.drifts if one.level != "none"]
        if not moved:
            usual = "scores and labels" if self.manifest.labels is not None else "score and label"
            among = "segment and score" if self.manifest.task == "segments" else usual
            return f"None of {len(self.drifts)} columns ({among} among them) has moved more than chance explains."
        names = ", ".join(f'"{one.name}"' for one in moved[:5])
        return f"{len(moved)} of {len(self.drifts)} columns have moved: {names}{', …' if len(moved) > 5 else ''}."

    def warnings(self) -> list[str]:
        """A sentence for each column that has moved, each measure that is worse, and each of the table."""
        then = self.then()
        worse = [
            f"{title_of(name)} is worse than in training by {shown(abs(one.value), of=then[name].value)} "
            f"({' to '.join(shown(end, of=then[name].value) for end in sorted((abs(one.low), abs(one.high))))})"
            for name, one in self.changes().items()
            if is_shown(name)
            if (one.low > 0 if is_better_low(name) else one.high < 0)
        ]
        moved = [] if self.drifts is None else [one.sentence() for one in self.drifts if one.level != "none"]
        return [*worse, *moved, *self.notes]


def title_of(measure: str) -> str:
    """A measure in few words; of one of several labels, such as "auc:churned", with its name."""
    name, _, label = measure.partition(OF_LABEL)
    title = SHORT.get(name, name.replace("ndcg", "NDCG").replace("_", " "))
    return f"{title} of {label}" if label else title


def _is_interval(entry: Any) -> bool:
    return (
        isinstance(entry, Mapping)
        and set(entry) == {"value", "low", "high"}
        and all(type(number) in (int, float) for number in entry.values())
    )


def write_evaluation(report: EvaluationReport, path: Path) -> None:
    """Write the page: one file, no script, nothing from elsewhere."""
    drifts = report.drifts if report.drifts is not None else ()
    bars = [one for one in drifts if one.psi >= 0.005][:SHOWN_BARS]
    chart = None
    if bars:
        names, values = [one.name for one in bars], [one.psi for one in bars]
        chart = bar_chart("Which columns have moved", names, values, [0.0] * len(bars), "stability index, PSI", False)
    page = render_page(
        "evaluation.html.jinja",
        name=report.manifest.name,
        version=report.manifest.version,
        data=report.data,
        rows=report.rows,
        lead=report.lead(),
        measured=report.measured,
        shares=report.shares,
        is_number=isinstance(report.measured, MeasuredNumbers),
        is_labels=isinstance(report.measured, MeasuredLabels),
        titles={**(LABEL_TITLES if report.manifest.labels is not None else TITLES), **NUMBER_TITLES},
        title_of=title_of,
        shown=shown,
        then=report.then(),
        changes={name: one for name, one in report.changes().items() if is_shown(name)},
        warnings=report.warnings(),
        drifts=report.drifts,
        drift_chart=chart,
    )
    path.write_text(page, encoding="utf-8")
