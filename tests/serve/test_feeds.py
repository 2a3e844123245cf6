"""From cells to tensors: rows and columns of any make give the same, and what does not fit is named."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ludocast.datamodules.cells import PARSERS, CellError
from ludocast.datamodules.schema import MISSING_TOKENS
from ludocast.serve.feeds import FEW_ROWS, FeedReader, Feeds, absent_column, any_values
from ludocast.serve.manifest import Input

MISSING = frozenset(MISSING_TOKENS)
INPUTS = (
    Input("plan", "x0", "category", ("basic", "pro")),
    Input("age", "x1", "number", None, (10, 60)),
    Input("last seen ", "x2", "timestamp", None, (0, 10)),
    Input("active", "x3", "boolean", ("true", "false")),
)
ROW: dict[str, object] = {"plan": "pro", "age": 30, "last seen ": "1970-01-02", "active": True}


def reader(**changes: Any) -> FeedReader:
    return FeedReader(changes.get("inputs", INPUTS), changes.get("missing", MISSING_TOKENS))


def same(found: Feeds, wanted: Feeds) -> None:
    assert found.rows == wanted.rows
    assert found.overflowed == wanted.overflowed
    assert sorted(found.unknown) == sorted(wanted.unknown)
    assert found.tensors.keys() == wanted.tensors.keys()
    for name, tensor in wanted.tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert found.tensors[name].shape == (wanted.rows, 1)
        np.testing.assert_array_equal(found.tensors[name], tensor)


@pytest.mark.parametrize("count", [1, 2, FEW_ROWS, FEW_ROWS + 1])  # cell by cell, then column by column
def test_tensors_by_hand(count: int) -> None:
    found = reader().from_rows([ROW] * count)
    assert {name: tensor.dtype for name, tensor in found.tensors.items()} == {
        "x0": np.dtype(object), "x1": np.dtype(np.float32), "x2": np.dtype(np.float64), "x3": np.dtype(object),
    }  # fmt: skip
    assert {name: tensor.tolist() for name, tensor in found.tensors.items()} == {
        "x0": [["pro"]] * count, "x1": [[30.0]] * count, "x2": [[86_400.0]] * count, "x3": [["true"]] * count,
    }  # fmt: skip


CELLS: dict[str, list[object]] = {
    "plan": ["pro", " pro", 1, 1.0, True, None, math.nan, "NA", "요금 ", math.inf, Decimal("1.0"), dt.date(2026, 1, 2), pd.NA],
    "age": [3, "3", 3.0, " 1e1 ", True, None, math.nan, "NA", math.inf, -(10**30), 10**400, Decimal("0.5"), np.float32(0.1)],
    "last seen ": [0, "0", "1970-01-02", dt.date(1970, 1, 2), dt.datetime(1970, 1, 1, 1), None, math.nan, "NA", 1e300, -math.inf,
                   pd.Timestamp("1970-01-01T09:00+09:00"), pd.NaT, "1970-01-01T00:00:00.5Z"],
    "active": [True, "true", "FALSE", 1, 0, "1", 0.0, None, math.nan, "NA", np.True_, " True ", False],
}  # fmt: skip
WANTED: dict[str, list[Any]] = {
    "plan": ["pro", " pro", "1", "1", "true", "", "", "", "요금 ", "", "1", "2026-01-02", ""],
    "age": [3, 3, 3, 10, 1, None, None, None, None, -1e30, None, 0.5, np.float32(0.1)],
    "last seen ": [0, 0, 86_400, 86_400, 3_600, None, None, None, 1e300, None, 0, None, 0.5],
    "active": ["true", "true", "false", "true", "false", "true", "false", "", "", "", "true", "true", "false"],
}  # fmt: skip


@pytest.mark.parametrize("times", [1, 5])
def test_every_sort_of_cell_by_hand(times: int) -> None:
    rows = [dict(zip(CELLS, cells, strict=True)) for cells in zip(*CELLS.values(), strict=True)] * times
    columns = {name: cells * times for name, cells in CELLS.items()}
    for found in (reader().from_rows(rows), reader().from_columns(columns)):
        for item in INPUTS:
            gap: Any = "" if item.dtype == "string" else math.nan
            wanted = [gap if cell is None else cell for cell in WANTED[item.column]] * times
            kind = object if item.dtype == "string" else item.dtype
            np.testing.assert_array_equal(found.tensors[item.tensor][:, 0], np.array(wanted, kind))
        assert found.overflowed == {"age": 2 * times, "last seen ": times}


CELL = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["", "NA", " NA ", "1", "1.0", " 2 ", "true", "False ", "1e400", "nan", "-5", "1970-01-02", "x", "\ud800"]),
    st.text(max_size=4),
    st.dates(),
    st.datetimes(dt.datetime(1800, 1, 1), dt.datetime(2200, 1, 1)),
    st.decimals(allow_nan=False, places=2, min_value=-(10**9), max_value=10**9),
    st.lists(st.integers(), max_size=1),
    st.floats(width=32).map(np.float32),
    st.integers(-100, 100).map(np.int16),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(list(PARSERS)),
    st.lists(CELL, max_size=40),
    st.sampled_from([MISSING, MISSING | {"-5"}, frozenset({"1"})]),
)
def test_rows_and_columns_of_any_cells_equal_the_scalar_meaning(
    kind: str, cells: list[object], missing: frozenset[str]
) -> None:
    wanted: Any = []
    for row, cell in enumerate(cells):
        try:
            wanted.append([PARSERS[kind](cell, missing)])
        except CellError as error:
            wanted = f'row {row + 1}, column "c": {error}'
            break
    one = FeedReader([Input("c", "x", kind)], missing)
    reads: list[Callable[[], Feeds]] = [
        lambda: one.from_rows([{"c": cell} for cell in cells]),
        lambda: one.from_columns({"c": cells}),
    ]
    for read in reads:
        if isinstance(wanted, str):
            with pytest.raises(ValueError, match="row") as caught:
                read()
            assert str(caught.value) == wanted
        else:
            found = read().tensors["x"]
            np.testing.assert_array_equal(found, np.array(wanted, found.dtype).reshape(-1, 1))


@pytest.mark.parametrize(
    "values",
    [
        [1.0, 2.0],
        (1, 2.0),
        ["1", " 2 "],
        np.array([1, 2]),
        np.array([1, 2], np.float16),
        np.array([1, 2], ">f8"),
        np.array([1, 2], np.longdouble),
        np.array([1, 2], object),
        np.array(["1", "2"]),
        np.array([1, 9, 2, 9], np.uint8)[::2],
        pa.array([1, 2], pa.int8()),
        pa.array(["1", "2"]).dictionary_encode(),
        pa.chunked_array([[1], [2]]),
        pa.array([Decimal("1.00"), Decimal("2.00")]),
        pd.Series([1, 2], index=[5, 3]),
        pd.Series([1, 2], dtype="Int8"),
        pd.Series(["1", "2"], dtype="string"),
        pd.Series([1, "2"], dtype=object),
        pd.Series([1, "2"], dtype="category"),
        pd.arrays.SparseArray([1.0, 2.0]),
    ],
    ids=lambda values: f"{type(values).__module__}.{type(values).__name__}",
)
def test_numbers_of_every_make(values: Any) -> None:
    np.testing.assert_array_equal(any_values(values, "number", MISSING).values, np.array([1, 2], np.float32))


@pytest.mark.parametrize(
    "values",
    [
        ["1970-01-02", None],
        [dt.date(1970, 1, 2), math.nan],
        [86_400, "NaN"],
        np.array(["1970-01-02", "NaT"], "datetime64[D]"),
        np.array(["1970-01-02", "NaT"], "datetime64[ns]"),
        np.array(["1970-01-02", "NaT"], "datetime64[h]"),
        pa.array([dt.date(1970, 1, 2), None]),
        pd.Series(pd.to_datetime(["1970-01-02", "NaT"])),
        pd.Series(pd.to_datetime(["1970-01-02T09:00+09:00", "NaT"])),
        pd.Series([dt.datetime(1970, 1, 2), pd.NaT], dtype=object),
    ],
    ids=lambda values: f"{type(values).__module__}.{type(values).__name__}",
)
def test_times_of_every_make(values: Any) -> None:
    np.testing.assert_array_equal(any_values(values, "timestamp", MISSING).values, [86_400, np.nan])


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ("ab", "expected a list of values, got str"),
        (b"ab", "expected a list of values, got bytes"),
        ({"a": 1}, "expected a list of values, got dict"),
        ({"a"}, "expected a list of values, got set"),
        (np.array(1.0), "expected a list of values, got float"),
        (np.ones((1, 1)), 'expected a number, got "[1.0]"'),
        (pd.Series(pd.period_range("2026-01-01", periods=1, freq="D")), 'expected a number, got "2026-01-01"'),
    ],
)
def test_what_is_no_column_of_numbers(values: Any, sentence: str) -> None:
    with pytest.raises(CellError) as caught:
        any_values(values, "number", MISSING)
    assert str(caught.value) == sentence


BAD = [
    ("age", "abc", 'expected a number, got "abc"'),
    ("age", [3], 'expected a number, got "[3]"'),
    ("plan", {"a": 1}, "expected text, got \"{'a': 1}\""),
    ("active", "yes", 'expected true or false, got "yes"'),
    ("last seen ", "soon", 'expected a time such as 2026-01-31T18:00:00Z, got "soon"'),
    ("last seen ", False, 'expected a time such as 2026-01-31T18:00:00Z, got "False"'),
]


@pytest.mark.parametrize(("column", "value", "sentence"), BAD)
@pytest.mark.parametrize("count", [3, FEW_ROWS + 1])
def test_a_cell_that_does_not_fit_is_named_by_row_and_column(
    column: str, value: object, sentence: str, count: int
) -> None:
    rows = [dict(ROW) for _ in range(count)]
    rows[2][column] = value
    with pytest.raises(ValueError, match="row") as caught:
        reader().from_rows(rows)
    assert str(caught.value) == f'row 3, column "{column}": {sentence}'
    with pytest.raises(ValueError, match="row") as caught:
        reader().from_columns({name: [row[name] for row in rows] for name in ROW}, first_row=100)
    assert str(caught.value) == f'row 103, column "{column}": {sentence}'


@pytest.mark.parametrize("count", [2, FEW_ROWS + 1])
def test_an_absent_column_is_named_with_the_nearest_there_is(count: int) -> None:
    row = {("Last Seen" if name == "last seen " else name): value for name, value in ROW.items()}
    with pytest.raises(ValueError, match="absent") as caught:
        reader().from_rows([ROW] * (count - 1) + [row])
    assert str(caught.value) == f'row {count}: column "last seen " is absent; is it "Last Seen"?'
    with pytest.raises(ValueError, match="absent") as caught:
        reader().from_columns({name: [value] for name, value in row.items()})
    assert str(caught.value) == 'column "last seen " is absent; is it "Last Seen"?'


def test_without_a_near_name_the_hint_is_null() -> None:
    assert absent_column("age", ["plan", 7]) == 'column "age" is absent; give it, with null where a value is missing'


def test_one_input_alone_reads_the_same() -> None:
    one = reader(inputs=INPUTS[1:2])
    assert one.from_rows([{"age": 4}]).tensors["x1"].tolist() == [[4.0]]
    with pytest.raises(ValueError, match='column "age" is absent'):
        one.from_rows([{}])


@pytest.mark.parametrize("count", [1, FEW_ROWS + 1])
def test_unknown_columns_are_told_once_in_their_order(count: int) -> None:
    row = {**ROW, "zeta": 1, "alpha": object()}
    assert reader().from_rows([ROW] * count).unknown == []
    assert reader().from_rows([ROW, *[row] * count]).unknown == ["zeta", "alpha"]
    assert reader().from_columns({name: [value] for name, value in row.items()}).unknown == ["zeta", "alpha"]


@pytest.mark.parametrize("row", [None, 3, "abc", [1, 2], pd.Series(ROW)], ids=lambda row: type(row).__name__)
@pytest.mark.parametrize("count", [1, FEW_ROWS + 1])
def test_a_row_that_is_no_record_is_named(row: Any, count: int) -> None:
    with pytest.raises(ValueError, match="record") as caught:
        reader().from_rows([ROW] * count + [row])
    wanted = f"expected a record of column names and values, got {type(row).__name__}"
    assert str(caught.value) == f"row {count + 1}: {wanted}"


def test_any_mapping_is_a_record() -> None:
    same(reader().from_rows([MappingProxyType(ROW)]), reader().from_rows([ROW]))


def test_no_rows_give_empty_tensors() -> None:
    for found in (reader().from_rows([]), reader().from_columns({item.column: [] for item in INPUTS})):
        assert found.rows == 0
        assert {name: tensor.shape for name, tensor in found.tensors.items()} == {f"x{i}": (0, 1) for i in range(4)}


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="rows") as caught:
        reader().from_columns({"plan": ["a", "b"], "age": [1], "last seen ": [0, 0], "active": [1, 1]})
    assert str(caught.value) == (
        'column "age" has 1 rows, column "plan" has 2; give every column the same number of rows'
    )


def test_texts_that_were_met_before_mean_the_same_again() -> None:
    # A reader remembers short texts; more of them than it remembers, and longer ones, mean no less.
    one, texts = reader(inputs=INPUTS[:1]), [f"guild {k}" for k in range(1500)] + ["NA", "x" * 200]
    for _ in range(2):
        found = [one.from_rows([{"plan": text}]).tensors["x0"][0, 0] for text in texts]
        assert found == [*texts[:1500], "", "x" * 200]
