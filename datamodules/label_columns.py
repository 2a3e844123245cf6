"""Several columns of two values each that are predicted at once: which of the values means yes, and their rows."""

# N rows, L labels

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from ludocast.datamodules.infer import check_column, check_inputs, infer_columns, label_classes, label_values
from ludocast.datamodules.schema import MISSING_TOKENS, LabelColumn, Schema

YES = {"yes": "no", "true": "false", "1": "0", "y": "n", "t": "f"}  # and its opposite, in any case
_SHOWN = 5


def infer_label_schema(
    table: pa.Table,
    names: Sequence[str],
    positive: str | None = None,
    exclude: Sequence[str] = (),
    missing_tokens: Sequence[str] = MISSING_TOKENS,
) -> Schema:
    """As `infer_schema`, where several columns are predicted.

    Args:
        table: The table as read.
        names: The columns to predict.
        positive: The values that mean yes, with commas between them, where it is not evident.
        exclude: Columns to leave out.
        missing_tokens: Texts that mean "missing".

    Raises:
        ValueError: If the table does not serve; the sentence says why.
    """
    missing = frozenset(missing_tokens)
    for name in (*names, *exclude):
        check_column(table, name)
    labels = label_columns(table, names, positive, missing)
    columns, warnings = infer_columns(
        table.drop_columns(list(names)), [name for name in exclude if name not in names], missing
    )
    schema = Schema(
        tuple(columns), ", ".join(names), tuple(names), None, tuple(missing_tokens), tuple(warnings), labels
    )
    check_inputs(schema)
    return schema


def label_columns(
    table: pa.Table, names: Sequence[str], positive: str | None, missing: frozenset[str]
) -> tuple[LabelColumn, ...]:
    """Which of each label's two values means yes.

    Args:
        table: The rows.
        names: Columns of the labels.
        positive: Values that mean yes, with commas between them, where it is not evident.
        missing: Texts that mean "missing".

    Raises:
        ValueError: If a label has missing cells, or other than two values, or nothing tells which of them means yes.
    """
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise ValueError(f'--labels names "{twice}" twice; give each column once')
    if len(names) < 2:
        raise ValueError("--labels takes two columns or more, with commas between them; one alone is for --label")
    wanted = [] if positive is None else [value.strip() for value in positive.split(",")]
    found = tuple(_label_column(name, label_classes(table, name, missing), wanted) for name in names)
    unknown = [value for value in wanted if all(value != one.yes for one in found)]
    if unknown:
        raise ValueError(f'--positive "{unknown[0]}" is no value of {", ".join(names)}')
    return found


def _label_column(name: str, classes: Sequence[str], wanted: Sequence[str]) -> LabelColumn:
    if len(classes) > 2:
        some = ", ".join(f'"{value}"' for value in classes[:_SHOWN]) + (", …" if len(classes) > _SHOWN else "")
        raise ValueError(
            f'the label "{name}" has {len(classes)} values ({some}); --labels are of two values each, such as yes and '
            f"no, and one of more is predicted by itself: --label {name}"
        )
    yes = [value for value in classes if value in wanted]
    if not yes:
        lower = {value.lower(): value for value in classes}
        yes = [lower[one] for one, no in YES.items() if lower.keys() == {one, no}]
    if len(yes) != 1:
        first, second = classes
        raise ValueError(
            f'which value of the label "{name}" means yes, "{first}" or "{second}"? Name it with --positive (of '
            "several labels their values, with commas between them)"
        )
    return LabelColumn(name, next(value for value in classes if value != yes[0]), yes[0])


def label_matrix(table: pa.Table, labels: Sequence[LabelColumn], missing: frozenset[str]) -> np.ndarray:
    """1 where a row has a label, 0 where it has not, int64 [N, L].

    Raises:
        ValueError: If a column is absent, or a cell is neither of its label's values; the sentence names the row.
    """
    found = []
    for label in labels:
        check_column(table, label.name)
        values = label_values(table, label.name, missing)
        other = np.flatnonzero((values != label.yes) & (values != label.no))
        if len(other):
            row = int(other[0])
            raise ValueError(
                f'the label "{label.name}", row {row + 1}: expected "{label.yes}" or "{label.no}", got "{values[row]}"'
            )
        found.append(values == label.yes)
    return np.stack(found, axis=1).astype(np.int64)
