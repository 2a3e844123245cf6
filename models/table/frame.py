"""A model from a pandas frame, as the recipes fit it on their training part; for benchmarks and notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from ludocast.datamodules.infer import RawColumns, describe, infer_schema, label_index, label_values, raw_columns
from ludocast.datamodules.number_label import Task, number_label
from ludocast.datamodules.read import from_frame
from ludocast.datamodules.schema import Schema
from ludocast.datamodules.split import inner_split
from ludocast.models.fitted import Fitted
from ludocast.models.number_loss import SQUARED, NumberLoss
from ludocast.models.table.deep import AS_USUAL, Training
from ludocast.models.table.fit import Combine, FittedTable, fit_table

if TYPE_CHECKING:
    import pandas as pd

VALIDATION = 0.1
Rows = tuple[Schema, RawColumns, np.ndarray, tuple[RawColumns, np.ndarray] | None]


def fit_frame(
    frame: pd.DataFrame,
    label: str,
    positive: str | None = None,
    *,
    exclude: Sequence[str] = (),
    task: Task = "auto",
    names: str | Sequence[str] = "all",
    combine: Combine = "blend",
    seed: int = 0,
    training: Training = AS_USUAL,
    loss: NumberLoss = SQUARED,
) -> FittedTable:
    """Fit on all rows of a frame; where they are many, a tenth of them are held out to choose by.

    Args:
        frame: The rows.
        label: Column to predict.
        positive: The class whose probability is wanted.
        exclude: Columns to leave out.
        task: What the label is.
        names: Of learners.
        combine: See `fit_table`, as for the next two.
        seed: Of everything random.
        training: Of the network.
        loss: Of a number.

    Raises:
        ValueError: If the table does not serve; the sentence says why.
    """
    rows = rows_of_frame(frame, label, positive, exclude=exclude, task=task, seed=seed)
    return fit_table(*rows, names=names, combine=combine, seed=seed, training=training, loss=loss)


def rows_of_frame(
    frame: pd.DataFrame,
    label: str,
    positive: str | None = None,
    *,
    exclude: Sequence[str] = (),
    task: Task = "auto",
    seed: int = 0,
) -> Rows:
    """What `fit_table` and `search_table` learn from: schema, columns, label, and of many rows those held out.

    Args:
        frame: The rows.
        label: Column to predict.
        positive: The class whose probability is wanted.
        exclude: Columns to leave out.
        task: What the label is.
        seed: Of what is held out.

    Raises:
        ValueError: If the table does not serve; the sentence says why.
    """
    table = from_frame(frame)
    schema = infer_schema(table, label, positive, exclude, task=task)
    columns, _ = raw_columns(table, schema)
    missing = frozenset(schema.missing_tokens)
    known = (
        label_index(label_values(table, label, missing), schema)
        if schema.classes
        else number_label(table, label, missing)
    )
    train, held = inner_split(known, VALIDATION, seed)
    schema = describe(schema, columns, train)
    taken = {name: values[train] for name, values in columns.items()}
    validation = None if held is None else ({name: values[held] for name, values in columns.items()}, known[held])
    return schema, taken, known[train], validation


def predict_frame(fitted: Fitted, frame: pd.DataFrame) -> np.ndarray:
    """Probabilities float64 [N, classes] of a frame, or [N, labels], or values float64 [N]."""
    return fitted.predict(raw_columns(from_frame(frame), fitted.schema)[0])
