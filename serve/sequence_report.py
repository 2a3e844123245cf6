"""The report of a network on sequences: one page for each of the four tasks, in the look and parts of the table's."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ludocast.datamodules.event_log import NO_EVENT
from ludocast.datamodules.time_features import DAY
from ludocast.models.history import History
from ludocast.models.sequence.timelines import Timeline
from ludocast.serve.charts import Series, Steps, line_chart, nice_range, nice_top, step_chart
from ludocast.serve.measured import TITLES, Measured
from ludocast.serve.page import render_page
from markupsafe import Markup

LISTED = 40  # rows of a table before a fold
SHARES = ("auc", "f1", "accuracy", "hit_rate_10", "mrr_10")  # drawn over the epochs, as far as they were measured
MEASURES = {
    "auc": "AUC", "loss": "cross-entropy, nats", "accuracy": "right tags", "precision": "precision of chunks",
    "recall": "recall of chunks", "f1": "F1 of chunks", "hit_rate_1": "is the first answer",
    "hit_rate_5": "among the first 5", "hit_rate_10": "among the first 10", "hit_rate_20": "among the first 20",
    "mrr_10": "mean reciprocal rank, first 10", "mrr_20": "mean reciprocal rank, first 20",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Cells as texts: names in the first column, numbers in the others; `is_folded` shows the title alone at first."""

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_folded: bool = False
    numbers_from: int = 1

    @property
    def parts(self) -> list[Sequence[Sequence[str]]]:
        """The rows before the fold, and those behind it."""
        return [self.rows[:LISTED], self.rows[LISTED:]]


@dataclass(frozen=True)
class Guess:
    """A step of the test part: what went before, what came, and the likeliest answers with their probabilities."""

    before: Sequence[str]
    came: str
    answers: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class TaggedWord:
    """A word, its tag, and the one found."""

    word: str
    tag: str
    found: str


@dataclass(frozen=True)
class SequenceReport:
    """All that the page shows; `leaving` goes with `timelines`, the other fields with the other tasks.

    Attributes:
        name: Of the model.
        question: What it answers, as the title says it.
        lead: First sentences.
        history: Of the training.
        rows: Part to number of sequences.
        protocol: Sentences on split and choice.
        settings: Title and value.
        numbers: Title to measure, where there is no `leaving`.
        leaving: Measures of who leaves.
        timelines: The answer over time for some players.
        active_within: Days after the last event in which a player is asked about.
        by_event: Whether players are asked about after each event too.
        tables: In the order of the page.
        guesses: Of the next token or event.
        sentences: With wrong tags.
    """

    name: str
    question: str
    lead: Sequence[str]
    history: History
    rows: Mapping[str, int]
    protocol: Sequence[str]
    settings: Sequence[tuple[str, str]]
    numbers: Mapping[str, float] = field(default_factory=dict)
    leaving: Measured | None = None
    timelines: Sequence[Timeline] = ()
    active_within: float = 0.0
    by_event: bool = False
    tables: Sequence[Table] = ()
    guesses: Sequence[Guess] = ()
    sentences: Sequence[Sequence[TaggedWord]] = ()


def write_sequence_report(report: SequenceReport, path: Path) -> None:
    """Write the page: one file, no script, nothing from elsewhere."""
    top = max((float(line.probability.max()) for line in report.timelines), default=1.0)
    page = render_page(
        "sequence_report.html.jinja",
        report=report,
        titles=TITLES,
        measured=report.leaving,
        timeline_charts=[timeline_chart(line, min(1.0, nice_top(max(top, 1e-3)))) for line in report.timelines],
        learning_charts=learning_charts(report.history),
    )
    path.write_text(page, encoding="utf-8")


def learning_charts(history: History) -> list[Markup]:
    """Loss over the steps; over the epochs perplexity and shares, where these were measured."""
    if not history.epochs:
        return []
    steps = nice_top(max(1.0, history.epochs[-1]["step"]))
    validation = [(epoch["step"], epoch["validation_loss"]) for epoch in history.epochs if "validation_loss" in epoch]
    lines = [_settled(*history.curve(), validation), Series("validation", *_columns(validation), marks=True)]
    charts = [_chart("Loss", lines, "step", "cross-entropy, nats", (0.0, steps))]
    count = float(4 * math.ceil(history.epochs[-1]["epoch"] / 4))  # whole epochs at each quarter
    if any("validation_perplexity" in epoch for epoch in history.epochs):
        known = [epoch for epoch in history.epochs if epoch["train_loss"] < 700]
        lines = [
            Series("training", *_columns([(e["epoch"], math.exp(e["train_loss"])) for e in known]), marks=True),
            Series("validation", *_columns(_over_epochs(history, "perplexity")), marks=True),
        ]
        charts.append(_chart("Perplexity", lines, "epoch", "perplexity", (0.0, count)))
    shares = {MEASURES[name]: _over_epochs(history, name) for name in SHARES}
    lines = [Series(title, *_columns(points), marks=True) for title, points in shares.items() if points]
    if lines:
        label = lines[0].name if len(lines) == 1 else "share"
        charts.append(_chart("On the validation part", lines, "epoch", label, (0.0, count)))
    return charts


def _settled(steps: np.ndarray, losses: np.ndarray, validation: Sequence[tuple[float, float]]) -> Series:
    """The training loss without its first steps, which lie far above the rest and all of validation."""
    known = losses[np.isfinite(losses)]
    if not len(known):
        return Series("training", [], [])
    top = max([float(np.quantile(known, 0.9)), *_columns(validation)[1]])
    begin = int(np.argmax(losses <= top))
    return Series("training", steps[begin:], losses[begin:])


def _over_epochs(history: History, name: str) -> list[tuple[float, float]]:
    key = f"validation_{name}"
    return [(epoch["epoch"], epoch[key]) for epoch in history.epochs if key in epoch]


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    kept = [(x, y) for x, y in points if math.isfinite(y)]
    return [x for x, _ in kept], [y for _, y in kept]


def _chart(title: str, lines: list[Series], x_label: str, y_label: str, x_range: tuple[float, float]) -> Markup:
    known = [float(y) for line in lines for y in line.y if math.isfinite(y)] or [0.0]
    return line_chart(title, lines, x_label, y_label, x_range, nice_range(min(known), max(known)))


def timeline_chart(line: Timeline, top: float) -> Markup:
    """The answer over a player's time, with the steepest rise marked and told."""
    breaks = np.flatnonzero(np.diff(line.time) > 1.01 * DAY) + 1
    pieces = list(zip(np.split(line.time, breaks), np.split(line.probability, breaks), strict=True))
    ends = (None, None) if line.rise is None else tuple(
        (float(line.time[k]), float(line.probability[k])) for k in (line.rise - 1, line.rise)
    )  # fmt: skip
    title = f"{line.player}: {line.why}"
    return step_chart(title, Steps(pieces, line.events, *ends), "probability of leaving", top, timeline_words(line))


def timeline_words(line: Timeline) -> str:
    """Where the risk rose most, and what came after the snapshot."""
    answer = line.probability[line.time == line.snapshot]
    end = (
        f"At the snapshot of {_day(line.snapshot)} the answer was {answer[0]:.1%}: the player "
        if len(answer)
        else "The player "
    )
    end += "then left." if line.left else "then stayed."
    if line.rise is None:
        return f"The risk never rose in this time. {end}"
    time, (before, after) = float(line.time[line.rise]), line.probability[line.rise - 1 : line.rise + 1]
    return f"The risk rose most on {_day(time)}, from {before:.1%} to {after:.1%}, {_cause(line, time)}. {end}"


def _cause(line: Timeline, time: float) -> str:
    last = int(np.searchsorted(line.events, time)) - 1
    silence = time - line.events[last]
    if silence <= 1:
        name = str(line.names[last])
        return "right after an event" if name in ("", NO_EVENT) else f"right after “{name}”"
    days = int(silence // DAY)
    if days == 0:
        return "within a day of an event"
    return f"after {days} day{'s' if days > 1 else ''} without an event"


def _day(seconds: float) -> str:
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return f"{moment.day} {moment:%B %Y}"
