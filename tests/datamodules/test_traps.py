"""Each trap in a table made by hand for it, and the same table without the trap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from ludocast.datamodules.infer import infer_schema, label_index, label_values, raw_columns
from ludocast.datamodules.schema import Schema
from ludocast.datamodules.traps import single_column_auc, traps

ROWS = 200
N = np.arange(ROWS)
LABEL = ["Y" if k % 4 == 0 else "N" for k in N]
# Tells nothing: every value stands beside each label equally often within its cycle of 4 · 7 rows.
PLAIN = [float(k // 4 % 7) for k in N]


def found(test: int = 50, label: list[str] | None = None, **columns: Any) -> list[str]:
    """The warnings about a table whose last `test` rows are the test part."""
    table = pa.table({**columns, "y": LABEL if label is None else label})
    schema = infer_schema(table, "y", "Y")
    raw, _ = raw_columns(table, schema)
    index = label_index(label_values(table, "y", frozenset(schema.missing_tokens)), schema)
    return traps(schema, raw, index, np.arange(ROWS - test), np.arange(ROWS - test, ROWS))


def schema_of(**columns: Any) -> Schema:
    return infer_schema(pa.table({**columns, "y": LABEL}), "y", "Y")


UNIQUE = [float(k * k) for k in N]  # keeps rows apart, so that no other trap speaks


def test_a_table_without_traps_has_no_warning() -> None:
    assert found(plain=PLAIN, unique=UNIQUE) == []
    assert schema_of(plain=PLAIN, unique=UNIQUE).warnings == ()


@pytest.mark.parametrize(
    "leak",
    [
        [5.0 if label == "Y" else 2.5 for label in LABEL],
        [-3.0 if label == "Y" else k for k, label in enumerate(LABEL)],  # the smaller, the likelier
        ["gone" if label == "Y" else "here" for label in LABEL],
        ["a" if label == "Y" else "bcd"[k % 3] for k, label in enumerate(LABEL)],
        [label == "Y" for label in LABEL],
        [None if label == "Y" else float(k % 5) for k, label in enumerate(LABEL)],  # known of those who stay alone
    ],
    ids=["number", "falling number", "text", "texts", "boolean", "missing"],
)
def test_a_column_that_gives_the_label_away(leak: list[Any]) -> None:
    warning = (
        'column "leak" alone tells the label (AUC 1.0000): is it known before the outcome? if not, --exclude "leak"'
    )
    assert warning in found(leak=leak, plain=PLAIN, unique=UNIQUE)


def test_a_strong_but_honest_column_is_no_trap() -> None:
    strong = [float(label == "Y" and k % 20 != 0) for k, label in enumerate(LABEL)]
    assert found(strong=strong, unique=UNIQUE) == []


def test_a_column_that_leaks_in_the_test_part_alone_is_judged_by_the_training_part() -> None:
    late = [float(label == "Y") if k >= 150 else PLAIN[k] for k, label in enumerate(LABEL)]
    assert found(late=late, unique=UNIQUE) == []


def test_twins() -> None:
    assert found(a=PLAIN, b=[str(value) for value in PLAIN], unique=UNIQUE) == [
        'columns "a" and "b" hold the same values'
    ]
    texts = [f"v{k % 9}" for k in N]
    assert found(a=texts, b=texts, c=texts, unique=UNIQUE) == [
        'columns "a" and "b" hold the same values',
        'columns "a" and "c" hold the same values',
    ]


def test_texts_that_differ_in_where_a_cell_ends_are_no_twins() -> None:
    assert found(a=[f"{k % 9}x" for k in N], b=[f"{k % 9} x" for k in N], unique=UNIQUE) == []


def test_test_rows_that_stand_in_the_training_part_too() -> None:
    # Rows 150 to 159 of the test part repeat rows 0 to 9.
    repeated = [*UNIQUE[:150], *UNIQUE[:10], *UNIQUE[160:]]
    label = [*LABEL[:150], *LABEL[:10], *LABEL[160:]]
    assert found(x=repeated, label=label) == [
        "10 of 50 test rows equal a training row in every column; if they are of the same person or thing, use --split-group"
    ]
    assert found(x=repeated, other=[float(k) ** 1.5 for k in N], label=label) == []


def test_missing_cells_make_rows_equal_too() -> None:
    gaps = [None if k in (3, 150, 151) else value for k, value in enumerate(UNIQUE)]
    texts = ["" if k in (3, 150, 151) else f"t{k % 50}" for k in N]
    assert found(x=gaps, text=texts) == [
        "2 of 50 test rows equal a training row in every column; if they are of the same person or thing, use --split-group"
    ]


@pytest.mark.parametrize(("rare", "told"), [(8, True), (10, False), (12, False)])
def test_a_rare_class(rare: int, told: bool) -> None:
    label = ["Y" if k % (ROWS // rare) == 0 and k // (ROWS // rare) < rare else "N" for k in N]
    assert label.count("Y") == rare
    warning = (
        f'class "Y" is rare ({rare / 2:.1f}% of the rows): look at average precision and lift rather than at accuracy'
    )
    assert (warning in found(unique=UNIQUE, label=label)) is told


@pytest.mark.parametrize(
    ("column", "kind", "reason"),
    [
        (["x"] * ROWS, "ignored", "constant: always 'x'"),
        ([3.0] * ROWS, "ignored", "constant: always '3.0'"),
        ([None] * ROWS, "ignored", "missing in every row"),
        (["NA", ""] * (ROWS // 2), "ignored", "missing in every row"),
        ([f"p{k}" for k in N], "id", "200 distinct texts in 200 rows: it names rows"),
        (N + 1000, "id", "whole numbers that count the rows"),
        (N[::-1], "id", "whole numbers that count the rows"),
        ([[1]] * ROWS, "ignored", "values of type list<item: int64> are neither numbers nor categories"),
        ([b"x"] * ROWS, "ignored", "values of type binary are neither numbers nor categories"),
    ],
)
def test_columns_that_are_left_out_and_why(column: Any, kind: str, reason: str) -> None:
    schema = schema_of(odd=column, unique=UNIQUE)
    assert (schema.columns[0].kind, schema.columns[0].reason) == (kind, reason)
    assert schema.warnings == (f'column "odd" is left out: {reason}',)


@pytest.mark.parametrize(
    ("column", "kind", "reason"),
    [
        ([k % 7 for k in N], "number", "numbers with 7 distinct values: taken as number and as code"),
        ([str(k % 7) for k in N], "number", "numbers with 7 distinct values: taken as number and as code"),
        (UNIQUE, "number", "numbers, 200 distinct"),
        ([f"p{k % 180}" for k in N], "category", "180 distinct texts"),
        (["", *["x"] * (ROWS - 1)], "category", "1 distinct texts"),  # missing or not may tell something
        ([None, *[5] * (ROWS - 1)], "number", "numbers with 1 distinct values: taken as number and as code"),
        ([["true", "FALSE"][k % 2] for k in N], "boolean", "true and false"),
        ([f"2026-01-{1 + k % 28:02d}" for k in N], "timestamp", "dates written as ISO 8601"),
    ],
)
def test_columns_that_are_kept_and_as_what(column: Any, kind: str, reason: str) -> None:
    schema = schema_of(odd=column, unique=UNIQUE)
    assert (schema.columns[0].kind, schema.columns[0].reason) == (kind, reason)
    assert schema.warnings == ()


def test_auc_of_one_column_by_hand() -> None:
    y = np.array([1, 0, 1, 0])
    # Positives 3 and 2, negatives 2 and 1: of four pairs three are right and one is a tie, 3.5 of 4.
    assert single_column_auc(np.array([3, 2, 2, 1], np.float32), y) == 0.875
    assert single_column_auc(-np.array([3, 2, 2, 1], np.float32), y) == 0.875
    # All is known by missingness: the missing two are the positives.
    assert single_column_auc(np.array([np.nan, 2, np.nan, 1], np.float32), y) == 1.0
    # Too few rows a value: a text that names rows tells the label of the training rows by chance.
    assert single_column_auc(np.array(["a", "b", "c", "d"], object), y) == 0.5
    # Four of the five positives and one of the five negatives have "a": of 25 pairs 4 · 4 are right, 4 + 4 are ties.
    texts, label = np.array(["a"] * 5 + ["b"] * 5, object), np.array([1, 1, 1, 1, 0, 1, 0, 0, 0, 0])
    assert single_column_auc(texts, label) == pytest.approx((16 + 0.5 * 8) / 25)
