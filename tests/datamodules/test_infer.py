from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from ludocast.datamodules.infer import describe, infer_schema, label_index, label_values, raw_columns
from ludocast.datamodules.read import from_frame
from ludocast.datamodules.schema import read_schema
from ludocast.datamodules.traps import single_column_auc, traps


def players(rows: int = 100) -> pd.DataFrame:
    n = np.arange(rows)
    return pd.DataFrame(
        {
            "id": [f"p{i}" for i in n],
            "count": n,
            "age": ["" if i % 10 == 0 else str(20 + i % 30) for i in n],
            "race": n % 4,
            "country ": [["KR", "US", "JP"][i % 3] for i in n],
            "paid": [["true", "False"][i % 2] for i in n],
            "since": [f"2026-01-{1 + i % 28:02d}T10:00:00Z" for i in n],
            "same": ["x"] * rows,
            "empty": [None] * rows,
            "churn": [["Y", "N"][int(i % 5 < 3)] for i in n],
        }
    )


def test_kinds_and_reasons() -> None:
    schema = infer_schema(from_frame(players()), "churn", "Y")
    kinds = {column.name: column.kind for column in schema.columns}
    assert kinds == {
        "id": "id", "count": "id", "age": "number", "race": "number", "country ": "category", "paid": "boolean",
        "since": "timestamp", "same": "ignored", "empty": "ignored",
    }  # fmt: skip
    assert schema.classes == ("N", "Y")
    assert schema.positive_index == 1
    assert any('"same" is left out: constant' in warning for warning in schema.warnings)
    assert any('"empty" is left out: missing in every row' in warning for warning in schema.warnings)


def test_statistics_come_from_the_training_rows_alone(tmp_path: Path) -> None:
    table = from_frame(players())
    schema = infer_schema(table, "churn", "Y")
    columns, _ = raw_columns(table, schema)
    train = np.arange(0, 60)
    described = describe(schema, columns, train)
    changed = {name: values.copy() for name, values in columns.items()}
    for values in changed.values():
        values[60:] = "other" if values.dtype == object else 1e6
    assert describe(schema, changed, train) == described
    country = next(column for column in described.columns if column.name == "country ")
    assert country.categories == {"JP": 20, "KR": 20, "US": 20}
    described.write(tmp_path / "schema.json")
    assert read_schema(tmp_path / "schema.json") == described


def test_rare_categories_are_not_named_when_private() -> None:
    table = pa.table({"c": ["a"] * 8 + ["secret"] * 2, "y": ["0", "1"] * 5})
    schema = infer_schema(table, "y")
    columns, _ = raw_columns(table, schema)
    column = describe(schema, columns, np.arange(10), rare=5).columns[0]
    assert column.categories == {"a": 8}
    assert column.distinct == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.rename(columns={"churn": "churned"}), 'no column "churn"; did you mean "churned"'),
        (lambda f: f.assign(churn="Y"), 'always "Y"'),
        (lambda f: f.head(1), "has 1 row"),
        (lambda f: f.assign(churn=["", *f.churn[1:]]), "missing in 1 of 100 rows; drop those rows"),
        (lambda f: f[["id", "same", "churn"]], "no column is left to learn from"),
    ],
)
def test_tables_that_do_not_serve(change: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        infer_schema(from_frame(change(players())), "churn")  # type: ignore[operator]


def test_a_wrong_cell_is_named_by_row_and_column() -> None:
    table = from_frame(players())
    schema = infer_schema(table, "churn", "Y")
    broken = players()
    broken.loc[2, "age"] = "abc"
    with pytest.raises(ValueError, match=r'row 3, column "age": expected a number, got "abc"'):
        raw_columns(from_frame(broken), schema)


def test_infinite_numbers_count_as_missing_with_a_warning() -> None:
    table = pa.table({"x": ["1", "inf", "1e400", "2"], "y": ["a", "b", "a", "b"]})
    schema = infer_schema(pa.table({"x": ["1", "2", "3", "4", "5", "6"], "y": ["a", "b"] * 3}), "y")
    columns, warnings = raw_columns(table, schema)
    np.testing.assert_array_equal(columns["x"], np.array([1, np.nan, np.nan, 2], np.float32))
    assert warnings == ['column "x": 2 infinite or too large numbers count as missing']


def test_traps_are_told_by_name() -> None:
    frame = players(400)
    frame["leak"] = (frame.churn == "Y") * 1.5 + 0.25
    frame["twin"] = frame.race
    table = from_frame(frame)
    schema = infer_schema(table, "churn", "Y")
    columns, _ = raw_columns(table, schema)
    label = label_index(label_values(table, "churn", frozenset(schema.missing_tokens)), schema)
    found = traps(schema, columns, label, np.arange(300), np.arange(300, 400))
    assert any('"leak" alone tells the label' in warning for warning in found)
    assert 'columns "race" and "twin" hold the same values' in found
    assert not any('"race" alone' in warning for warning in found)


def test_single_column_auc_by_hand() -> None:
    # Pairs (positive, negative): (1,2) wrong, (1,3) wrong, (4,2), (4,3) right: 0.5; a falling column is as telling.
    assert single_column_auc(np.array([1, 2, 3, 4], np.float32), np.array([1, 0, 0, 1])) == 0.5
    assert single_column_auc(np.array([4, 2, 1, 3], np.float32), np.array([0, 1, 1, 0])) == 1.0


def test_numbers_and_dates_in_another_notation_are_told() -> None:
    n = range(60)
    table = pa.table(
        {
            "price": [f"1.{i + 100},50" for i in n],
            "weight": [f"{i % 7},5" for i in n],
            "coins": [f"{1 + i % 9},{i + 100}.5" for i in n],
            "since": [f"{1 + i % 28:02d}.12.2025" for i in n],
            "version": [f"1.{i % 3}.7" for i in n],
            "tags": [("a,b", "a")[i % 2] for i in n],
            "y": [("0", "1")[i % 2] for i in n],
        }
    )
    told = [warning for warning in infer_schema(table, "y", "1").warnings if "taken for texts" in warning]
    assert [warning.partition(",")[0] for warning in told] == [
        'column "price" holds numbers with a comma',
        'column "weight" holds numbers with a comma',
        'column "coins" holds numbers with thousands between commas',
        'column "since" holds dates that do not begin with the year',
    ]


def test_durations_and_times_of_day_are_left_out_with_a_reason() -> None:
    n = range(10)
    table = pa.table(
        {
            "played": pa.array(n, pa.duration("s")),
            "at": pa.array(n, pa.time32("s")),
            "level": pa.array(n),
            "y": [("0", "1")[i % 2] for i in n],
        }
    )
    schema = infer_schema(table, "y", "1")
    assert [column.kind for column in schema.columns] == ["ignored", "ignored", "number"]
    assert (
        'column "played" is left out: values of type duration[s]; give them as numbers, such as hours'
        in schema.warnings
    )
    raw_columns(table, schema)
