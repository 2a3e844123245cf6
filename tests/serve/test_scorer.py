"""Scoring in the process: every make of the same rows gives the answer worked out by hand."""

from __future__ import annotations

import datetime as dt
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from ludocast.serve.bundle import write_bundle
from ludocast.serve.feeds import BATCH_ROWS
from ludocast.serve.scorer import Scorer

from tests.serve.logistic import ORIGIN, TERMS, by_hand, logistic_model, write_logistic, write_softmax

DAY = 86_400
# Raw cells, and what they are by hand: (age, plan, active, day); None and "" are missing.
CASES: list[tuple[dict[str, object], tuple[float | None, str, str, float | None]]] = [
    ({"age": 30, "plan": "pro", "active": True, "last seen ": ORIGIN}, (30, "pro", "true", 0)),
    ({"age": 12, "plan": "basic", "active": False, "last seen ": ORIGIN + 3 * DAY}, (12, "basic", "false", 3)),
    ({"age": None, "plan": None, "active": None, "last seen ": None}, (None, "", "", None)),
    ({"age": -5, "plan": "요금", "active": False, "last seen ": ORIGIN - DAY}, (-5, "요금", "false", -1)),
    ({"age": 61, "plan": " pro", "active": True, "last seen ": ORIGIN + DAY // 2}, (61, "unseen", "true", 0.5)),
    ({"age": None, "plan": "NA", "active": None, "last seen ": ORIGIN}, (None, "", "", 0)),
]
ROWS = [row for row, _ in CASES]
COLUMNS: dict[str, list[Any]] = {name: [row[name] for row in ROWS] for name in ROWS[0]}
WANTED = [by_hand(*case) for _, case in CASES]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer.load(write_logistic(tmp_path_factory.mktemp("bundles") / "b"))


def table() -> pa.Table:
    times = pa.array(COLUMNS["last seen "], pa.timestamp("s", "UTC"))
    return pa.table({**{name: pa.array(cells) for name, cells in COLUMNS.items()}, "last seen ": times})


MAKES = {
    "records": ROWS,
    "records in a tuple": tuple(ROWS),
    "records, column by column": ROWS * 10,
    "columns as lists": COLUMNS,
    "columns as text": {
        name: ["" if cell is None else str(cell).upper() if name == "active" else str(cell) for cell in cells]
        for name, cells in COLUMNS.items()
    },
    "columns as numpy arrays": {
        "age": np.array([math.nan if cell is None else cell for cell in COLUMNS["age"]]),
        "plan": np.array(COLUMNS["plan"], object),
        "active": np.array(COLUMNS["active"], object),
        "last seen ": np.array(["NaT" if cell is None else cell for cell in COLUMNS["last seen "]], "datetime64[s]"),
    },
    "columns as Arrow arrays": {name: table()[name] for name in COLUMNS},
    "Arrow table": table(),
    "Arrow record batch": table().to_batches()[0],
    "Arrow table in chunks, with dictionaries": pa.concat_tables([table()[:2], table()[2:]]).set_column(
        1, "plan", pa.chunked_array([COLUMNS["plan"][:2], COLUMNS["plan"][2:]]).dictionary_encode()
    ),
    "pandas frame": pd.DataFrame(COLUMNS),
    "pandas frame of objects, odd index": pd.DataFrame(COLUMNS, dtype=object, index=range(9, 3, -1)),
    "pandas frame as Arrow makes it": table().to_pandas(),
    "pandas frame of nullable types": pd.DataFrame(COLUMNS).convert_dtypes(),
    "pandas frame with categories": pd.DataFrame(COLUMNS).astype({"plan": "category"}),
}


@pytest.mark.parametrize("make", MAKES)
def test_every_make_of_the_same_rows_is_scored_as_by_hand(scorer: Scorer, make: str) -> None:
    found = scorer.predict(MAKES[make])
    times = len(found.labels) // len(WANTED)
    assert found.probabilities.shape == (len(WANTED) * times, 2)
    np.testing.assert_allclose(found.probabilities[:, 1], WANTED * times, atol=1e-6)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-6)
    assert found.labels.tolist() == ["Y" if p >= 0.5 else "N" for p in WANTED] * times
    assert found.warnings == ()


def test_one_record_is_one_row(scorer: Scorer) -> None:
    found = scorer.predict(ROWS[1])
    np.testing.assert_allclose(found.probabilities, [[1 - WANTED[1], WANTED[1]]], atol=1e-6)


@pytest.mark.parametrize(
    ("column", "cell", "by_hand_cells"),
    [
        ("age", "30", (30, "pro", "true", 0)),
        ("age", " 3e1 ", (30, "pro", "true", 0)),
        ("age", True, (1, "pro", "true", 0)),
        ("age", math.nan, (None, "pro", "true", 0)),
        ("age", "NaN", (None, "pro", "true", 0)),
        ("plan", math.nan, (30, "", "true", 0)),
        ("plan", 3, (30, "3", "true", 0)),
        ("plan", "PRO", (30, "PRO", "true", 0)),  # unseen: case is part of a value
        ("active", "true", (30, "pro", "true", 0)),
        ("active", " False", (30, "pro", "false", 0)),
        ("active", 0, (30, "pro", "false", 0)),
        ("active", "1", (30, "pro", "true", 0)),
        ("active", "", (30, "pro", "", 0)),
        ("last seen ", "2023-11-15T22:13:20Z", (30, "pro", "true", 1)),
        ("last seen ", "2023-11-16 07:13:20+09:00", (30, "pro", "true", 1)),
        ("last seen ", dt.datetime(2023, 11, 15, 22, 13, 20), (30, "pro", "true", 1)),
        ("last seen ", str(ORIGIN + DAY), (30, "pro", "true", 1)),
        ("last seen ", "NULL", (30, "pro", "true", None)),
    ],
)
def test_what_a_cell_means(
    scorer: Scorer, column: str, cell: object, by_hand_cells: tuple[float | None, str, str, float | None]
) -> None:
    row = {**ROWS[0], column: cell}
    for data in ([row], {name: [value] for name, value in row.items()}, pd.DataFrame([row])):
        found = scorer.predict(data)
        np.testing.assert_allclose(found.probabilities[0, 1], by_hand(*by_hand_cells), atol=1e-6)
        assert found.warnings == ()


@pytest.mark.parametrize("cell", [math.inf, -math.inf, "inf", "1e400", 1e39, 10**400, -(2**128)])
def test_infinite_and_huge_numbers_count_as_missing_with_a_warning(scorer: Scorer, cell: object) -> None:
    wanted = by_hand(None, "pro", "true", 0)
    for data in ([{**ROWS[0], "age": cell}], {**{name: [ROWS[0][name]] * 2 for name in COLUMNS}, "age": [1, cell]}):
        found = scorer.predict(data)
        np.testing.assert_allclose(found.probabilities[-1, 1], wanted, atol=1e-6)
        assert found.warnings == ('column "age": 1 infinite or too large number was taken as missing',)
    twice = scorer.predict([{**ROWS[0], "age": cell}] * 2)
    assert twice.warnings == ('column "age": 2 infinite or too large numbers were taken as missing',)


def test_integers_beyond_64_bits_are_rounded_not_refused(scorer: Scorer) -> None:
    found = scorer.predict([{**ROWS[0], "age": -(2**70)}, {**ROWS[0], "last seen ": 2**70}])
    np.testing.assert_allclose(found.probabilities[:, 1], [0, 1], atol=1e-6)
    assert found.warnings == ()


def test_unknown_columns_are_ignored_with_a_warning(scorer: Scorer) -> None:
    extra = dict.fromkeys(["id", "b", "c", "d", "e", "f", "g"], 1)
    found = scorer.predict([{**row, **extra} for row in ROWS])
    np.testing.assert_allclose(found.probabilities[:, 1], WANTED, atol=1e-6)
    assert found.warnings == ('ignored what the model does not read: column "id", "b", "c", "d", "e" and 2 more',)
    one = scorer.predict(table().append_column("id", pa.array(range(6))))
    assert one.warnings == ('ignored what the model does not read: column "id"',)


@pytest.mark.parametrize(
    "make", [list, pd.DataFrame, lambda rows: pa.Table.from_pylist(rows)], ids=["rows", "pandas", "Arrow"]
)
def test_a_wrong_cell_is_named(scorer: Scorer, make: Any) -> None:
    rows = [{**row, "age": "abc" if i == 2 else "1"} for i, row in enumerate(ROWS)]
    with pytest.raises(ValueError, match="row") as caught:
        scorer.predict(make(rows))
    assert str(caught.value) == 'row 3, column "age": expected a number, got "abc"'


def test_a_missing_column_is_named_with_the_nearest(scorer: Scorer) -> None:
    columns = {("Plan " if name == "plan" else name): cells for name, cells in COLUMNS.items()}
    for data in (columns, pd.DataFrame(columns)):
        with pytest.raises(ValueError, match="absent") as caught:
            scorer.predict(data)
        assert str(caught.value) == 'column "plan" is absent; is it "Plan "?'
    with pytest.raises(ValueError, match='column "age" is absent'):
        scorer.predict({})


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (pd.DataFrame([[1, 2]], columns=["age", "age"]), 'column "age" is there twice; rename one of them'),
        (pa.table([[1], [2]], names=["age", "age"]), 'column "age" is there twice; rename one of them'),
        (None, "expected a list of records, columns by name, an Arrow table or a pandas frame, got NoneType"),
        ("rows", "expected a list of records, columns by name, an Arrow table or a pandas frame, got str"),
        (pd.Series(ROWS[0]), "expected a list of records, columns by name, an Arrow table or a pandas frame, got Series"),
        (pd.Series([1]), "expected a list of records, columns by name, an Arrow table or a pandas frame, got Series"),
        ({**COLUMNS, "age": 3}, 'column "age": expected a list of values, got int'),
        ({**COLUMNS, "plan": "pro"}, 'column "plan": expected a list of values, got str'),
        ({**COLUMNS, "plan": ["pro"]}, 'column "plan" has 1 rows, column "age" has 6; give every column the same number of rows'),
    ],
)  # fmt: skip
def test_what_is_no_table_is_told(scorer: Scorer, data: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match="column") as caught:
        scorer.predict(data)
    assert str(caught.value) == sentence


def test_no_rows_give_no_predictions(scorer: Scorer) -> None:
    makes: list[Any] = [[], {name: [] for name in COLUMNS}, table()[:0], pd.DataFrame(COLUMNS)[:0]]
    for data in makes:
        found = scorer.predict(data)
        assert found.labels.tolist() == []
        assert found.probabilities.shape == (0, 2)


@pytest.mark.parametrize("rows", [BATCH_ROWS, BATCH_ROWS + 1, 3 * BATCH_ROWS - 1])
def test_batches_stay_in_order(scorer: Scorer, rows: int) -> None:
    ages = [k % 97 for k in range(rows)]
    columns = {"age": ages, "plan": ["pro"] * rows, "active": [False] * rows, "last seen ": [ORIGIN] * rows}
    found = scorer.predict_columns(columns)
    wanted = [by_hand(age, "pro", "false", 0) for age in ages]
    np.testing.assert_allclose(found.probabilities[:, 1], wanted, atol=1e-6)
    assert found.labels.tolist() == ["Y" if p >= 0.5 else "N" for p in wanted]


def test_one_scorer_serves_several_threads(scorer: Scorer) -> None:
    def ask(number: int) -> None:
        wanted = [by_hand(number + k, "pro", "true", 0) for k in range(5)]
        for _ in range(50):
            found = scorer.predict([{**ROWS[0], "age": number + k} for k in range(5)])
            np.testing.assert_allclose(found.probabilities[:, 1], wanted, atol=1e-6)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(8)))


def test_three_classes_by_hand(tmp_path: Path) -> None:
    found = Scorer.load(write_softmax(tmp_path / "b")).predict({"age": [1.5, -2, None]})
    assert found.labels.tolist() == ["b", "c", "a"]
    for row, age in zip(found.probabilities, (1.5, -2.0, 0.0), strict=True):
        odds = [1.0, math.exp(age), math.exp(-age)]
        np.testing.assert_allclose(row, [each / sum(odds) for each in odds], atol=1e-6)


def test_the_threshold_is_applied_inside_the_graph(tmp_path: Path) -> None:
    write_bundle(
        tmp_path / "b", logistic_model(threshold=0.9), name="strict", inputs=[term.input for term in TERMS],
        classes=["N", "Y"], positive="Y", threshold=0.9,
    )  # fmt: skip
    found = Scorer.load(tmp_path / "b").predict([{**ROWS[0], "active": False, "age": age} for age in (25, 40)])
    np.testing.assert_allclose(found.probabilities[:, 1], [1 / (1 + math.exp(-1.5)), 1 / (1 + math.exp(-3))], atol=1e-6)
    assert found.labels.tolist() == ["N", "Y"]  # 0.82 and 0.95
