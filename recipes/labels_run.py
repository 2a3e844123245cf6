"""What a run on a table of several labels has of its own: their names, thresholds, report, and what is kept."""

# N rows, L labels

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ludocast.datamodules.infer import RawColumns
from ludocast.models.calibration import cost_threshold, f1_threshold
from ludocast.models.fitted import FittedLabels
from ludocast.models.learner import HeldOut
from ludocast.recipes.labelled_table import LabelledTable
from ludocast.serve.labels_report import LabelsReport, build_labels_report
from ludocast.serve.manifest_labels import LabelValues


def asked_labels(label: str | None, labels: Sequence[str] | None) -> str | tuple[str, ...]:
    """What is to be predicted: one column, or several.

    Raises:
        ValueError: If neither or both are told.
    """
    if (label is None) == (labels is None):
        raise ValueError("give --label, the column to predict, or --labels, several of two values each, and not both")
    if label is not None:
        return label
    assert labels is not None
    return tuple(name.strip() for name in labels)


def with_thresholds(
    fitted: FittedLabels, held_out: HeldOut, by: str, cost_missed: float, cost_false_alarm: float
) -> FittedLabels:
    """The model with the threshold of each label, by costs or by its highest F1 on held-out rows."""
    if by == "cost":
        return replace(fitted, thresholds=np.full(len(fitted.classes), cost_threshold(cost_missed, cost_false_alarm)))
    p = fitted.predict_scored(held_out.logits)
    each = [f1_threshold(one, label == 1) for one, label in zip(p.T, held_out.label.T, strict=True)]
    return replace(fitted, thresholds=np.array(each))


def labels_report(
    table: LabelledTable,
    fitted: FittedLabels,
    held_out: HeldOut,
    leaderboard: Callable[[RawColumns], Mapping[str, np.ndarray]],
    choice: str,
    name: str,
    seed: int,
    entity: str,
) -> tuple[LabelsReport, np.ndarray]:
    """Measure a model on the test part: the report, and its probabilities of the test rows.

    Args:
        table: With its test part.
        fitted: The model.
        held_out: What was chosen by.
        leaderboard: Probabilities [N, L] of ours and the others, of some rows.
        choice: What was chosen beside calibration and thresholds, in words.
        name: Of the model.
        seed: Of resamples and shuffles.
        entity: What a row is.
    """
    columns, label = table.part(table.split.test)
    every = leaderboard(columns)
    report = build_labels_report(
        name=name,
        schema=fitted.schema,
        predict=fitted.predict,
        decide=fitted.decide,
        thresholds=fitted.thresholds.tolist(),
        test_columns=columns,
        test_label=label,
        leaderboard=every,
        rows=table.rows,
        protocol=[
            f"The split is {table.split.rule}; everything fitted is fitted on the training part alone.",
            f"{choice}, calibration and thresholds of each label come from {held_out.protocol}; the test part was used "
            "for this report only.",
        ],
        seed=seed,
        described_rows=len(table.split.train),
        entity=entity,
    )
    return report, next(iter(every.values()))


def label_answers(fitted: FittedLabels) -> dict[str, Any]:
    """What `write_bundle` has to know of the answers."""
    pairs = zip(fitted.schema.labels, fitted.thresholds.tolist(), strict=True)
    return {
        "task": "labels",
        "classes": fitted.classes,
        "labels": [LabelValues(label.no, label.yes, threshold) for label, threshold in pairs],
    }
