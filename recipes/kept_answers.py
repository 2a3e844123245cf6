"""What a training keeps for later: its answers on the test rows for comparisons, counts of its columns for drift."""

# N rows, C classes

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.reference import REFERENCE_FILE, ColumnReference, Reference, class_counts, describe_column
from ludocast.datamodules.schema import Schema
from ludocast.datamodules.user_item_splits import UserItemSplit
from ludocast.models.fitted import FittedLabels, FittedNumbers
from ludocast.models.recommend.metrics import user_metrics
from ludocast.recipes.labelled_table import LabelledTable
from ludocast.recipes.predictions import LabelPredictions, NumberPredictions, Predictions, UserScores

COMPARED_CUTS = (10, 20)


def keep_answers(
    folder: Path,
    table: LabelledTable,
    probabilities: np.ndarray,
    label: np.ndarray,
    decide: Callable[[np.ndarray], np.ndarray],
    rare: int,
) -> dict[str, bytes]:
    """Write the answers on the test rows into the run's folder; return what goes into the bundle.

    Args:
        folder: Of the run.
        table: It learnt from.
        probabilities: Of all test rows [N, C].
        label: Class index of these, int64 [N].
        decide: Probabilities to class index.
        rare: Texts of fewer training rows are not named in the bundle.
    """
    schema, split = table.schema, table.split
    rows = split.test + 1 if table.stream is None else np.arange(1, len(label) + 1)
    order = np.argsort(rows, kind="stable")
    Predictions(
        table.sha256, rows[order], label[order], decide(probabilities)[order], probabilities[order], schema.classes,
        schema.positive,
    ).write(folder)  # fmt: skip
    columns, train_label = table.part(split.train)
    return {REFERENCE_FILE: reference_of_training(schema, columns, train_label, probabilities, rare).to_json()}


def keep_numbers(
    folder: Path, table: LabelledTable, fitted: FittedNumbers, value: np.ndarray, rare: int
) -> dict[str, bytes]:
    """The same of a model of a number.

    Args:
        folder: Of the run.
        table: It learnt from.
        fitted: The model.
        value: Predicted for the test rows [N].
        rare: Texts of fewer training rows are not named in the bundle.
    """
    schema, test = table.schema, np.sort(table.split.test)
    order = np.argsort(table.split.test, kind="stable")
    bounds, coverage = fitted.bounds(value)[order], fitted.interval.coverage
    predictions = NumberPredictions(
        table.sha256, test + 1, table.label[test], value[order], bounds, coverage, fitted.loss
    )
    predictions.write(folder)
    columns, train_label = table.part(table.split.train)
    label = replace(describe_column(schema.label, "number", train_label), kind="label")
    score = replace(describe_column(f"predicted {schema.label}", "number", value), kind="score")
    return {REFERENCE_FILE: Reference((label,), (score,), _described(schema, columns, rare)).to_json()}


def keep_labels(
    folder: Path, table: LabelledTable, fitted: FittedLabels, probabilities: np.ndarray, rare: int
) -> dict[str, bytes]:
    """The same of a model of several labels.

    Args:
        folder: Of the run.
        table: It learnt from.
        fitted: The model.
        probabilities: Of the test rows [N, L].
        rare: Texts of fewer training rows are not named in the bundle.
    """
    schema, test = table.schema, np.sort(table.split.test)
    p = probabilities[np.argsort(table.split.test, kind="stable")]
    LabelPredictions(table.sha256, test + 1, table.label[test], fitted.decide(p), p, schema.classes).write(folder)
    columns, label = table.part(table.split.train)
    labels = tuple(
        class_counts(one.name, {one.no: int((has == 0).sum()), one.yes: int((has == 1).sum())})
        for one, has in zip(schema.labels, label.T, strict=True)
    )
    scores = tuple(
        replace(describe_column(f"probability of {name}", "number", one), kind="score")
        for name, one in zip(schema.classes, probabilities.T, strict=True)
    )
    return {REFERENCE_FILE: Reference(labels, scores, _described(schema, columns, rare)).to_json()}


def reference_of_training(
    schema: Schema, columns: RawColumns, label: np.ndarray, probabilities: np.ndarray, rare: int
) -> Reference:
    """Counts of a training.

    Args:
        schema: Of the table.
        columns: Of the training rows.
        label: Class index of these.
        probabilities: Of the test rows [N, C].
        rare: Texts of fewer rows are not named.
    """
    positive = schema.positive_index
    shown = probabilities.max(axis=1) if positive is None else probabilities[:, positive]
    title = "probability of the answer" if schema.positive is None else f"probability of {schema.positive}"
    score = replace(describe_column(title, "number", shown), kind="score")
    counts = np.bincount(label, minlength=len(schema.classes)).tolist()
    known = class_counts(schema.label, dict(zip(schema.classes, counts, strict=True)))
    return Reference((known,), (score,), _described(schema, columns, rare))


def _described(schema: Schema, columns: RawColumns, rare: int) -> tuple[ColumnReference, ...]:
    return tuple(describe_column(one.name, one.kind, columns[one.name], rare) for one in schema.inputs)


def keep_user_scores(folder: Path, sha256: str, split: UserItemSplit, ranked: np.ndarray) -> None:
    """Write how well each user was answered into the run's folder.

    Args:
        folder: Of the run.
        sha256: Of the table of pairs.
        split: What was hidden.
        ranked: Items by rank of the users of whom something is hidden, int64 [U, K].
    """
    users = np.flatnonzero(np.diff(split.hidden.indptr))
    sought = hashlib.sha256(split.hidden.indptr.tobytes() + split.hidden.indices.tobytes()).hexdigest()
    measures = user_metrics(ranked, split.hidden[users], COMPARED_CUTS)
    kept = {name: values for name, values in measures.items() if name.startswith(("ndcg", "recall"))}
    UserScores(sha256, f"{split.rule} ({sought[:16]})", users, kept).write(folder)
