"""What a cell means, by hand; and `column_values` beside the scalar functions, on whatever Hypothesis finds."""

from __future__ import annotations

import datetime as dt
import enum
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ludocast.datamodules.cells import (
    DTYPES,
    FLOATING,
    PARSERS,
    CellError,
    column_values,
    parse_boolean,
    parse_category,
    parse_number,
    parse_timestamp,
)
from ludocast.datamodules.schema import MISSING_TOKENS

MISSING = frozenset(MISSING_TOKENS)
LARGEST = 3.4028234663852886e38  # of float32


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (3, 3.0),
        (0.1, 0.10000000149011612),  # the nearest float32
        (" 1e3 ", 1000.0),
        ("-.5", -0.5),
        ("１２", 12.0),  # full-width digits
        (True, 1.0),
        (np.float32(2.5), 2.5),
        (np.int64(7), 7.0),
        (Decimal("1.25"), 1.25),
        (16_777_217, 16_777_216.0),  # 2**24 + 1 lies between two float32 numbers
        (LARGEST, LARGEST),
        (3.4028235677973366e38, math.nan),  # halfway to the next power of two: from here on rounding is infinite
        (10**400, math.nan),
        ("1e400", math.nan),
        ("-inf", math.nan),
        (float("nan"), math.nan),
        (None, math.nan),
        ("", math.nan),
        (" N/A ", math.nan),
    ],
)
def test_numbers_by_hand(value: object, wanted: float) -> None:
    found = parse_number(value, MISSING)
    assert found == wanted or (math.isnan(found) and math.isnan(wanted))


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("pro", "pro"),
        (" pro", " pro"),  # verbatim
        ("요금제 ", "요금제 "),
        (1, "1"),
        (1.0, "1"),
        ("1.0", "1.0"),
        (1.5, "1.5"),
        (-0.0, "0"),
        (1e22, "10000000000000000000000"),
        (True, "true"),
        (np.False_, "false"),
        (Decimal("2.50"), "2.5"),
        (dt.date(2026, 1, 31), "2026-01-31"),
        (None, ""),
        (math.nan, ""),
        (math.inf, ""),
        ("NULL", ""),
        ("  ", ""),
    ],
)
def test_categories_by_hand(value: object, wanted: str) -> None:
    assert parse_category(value, MISSING) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (True, "true"),
        ("True", "true"),
        (" FALSE", "false"),
        (0, "false"),
        (1.0, "true"),
        ("1", "true"),
        (None, ""),
        ("n/a", ""),
    ],
)
def test_booleans_by_hand(value: object, wanted: str) -> None:
    assert parse_boolean(value, MISSING) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("1970-01-02", 86_400.0),
        ("1970-01-01T00:00:01.5", 1.5),
        ("1970-01-01T09:00:00+09:00", 0.0),
        (" 1970-01-01 00:01:00Z ", 60.0),
        (dt.date(1970, 1, 3), 172_800.0),
        (dt.datetime(1970, 1, 1, 1), 3600.0),
        (dt.datetime(1970, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))), 0.0),
        (1_700_000_000, 1.7e9),
        ("1700000000.25", 1_700_000_000.25),
        ("inf", math.nan),
        ("", math.nan),
        (None, math.nan),
    ],
)
def test_times_by_hand(value: object, wanted: float) -> None:
    found = parse_timestamp(value, MISSING)
    assert found == wanted or (math.isnan(found) and math.isnan(wanted))


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        ("number", "abc", 'expected a number, got "abc"'),
        ("number", "1_000", 'expected a number, got "1_000"'),  # Python's own float() takes it
        ("number", "x" * 50, 'expected a number, got "' + "x" * 39 + '…"'),
        ("number", [1], 'expected a number, got "[1]"'),
        ("number", [10**5000], "expected a number, got a list"),  # Python does not print such integers
        ("number", "a\nb\u202e", 'expected a number, got "a\\nb\\u202e"'),  # one line, nothing that turns the text
        ("category", {"a": 1}, "expected text, got \"{'a': 1}\""),
        ("category", b"pro", "expected text, got \"b'pro'\""),
        ("category", "\ud800", 'expected text, got "\\ud800"'),  # half a surrogate pair
        pytest.param("category", 10**5000, "expected text, got an integer of thousands of digits", id="huge integer"),
        ("boolean", "maybe", 'expected true or false, got "maybe"'),
        ("boolean", 2, 'expected true or false, got "2"'),
        ("timestamp", "yesterday", 'expected a time such as 2026-01-31T18:00:00Z, got "yesterday"'),
        ("timestamp", True, 'expected a time such as 2026-01-31T18:00:00Z, got "True"'),
    ],
)
def test_what_does_not_fit_is_told(kind: str, value: object, sentence: str) -> None:
    with pytest.raises(CellError) as caught:
        PARSERS[kind](value, MISSING)
    assert str(caught.value) == sentence


def test_a_token_that_is_a_number_holds_for_numbers_too() -> None:
    missing = frozenset({"-999"})
    assert math.isnan(parse_number(-999, missing))
    assert math.isnan(parse_number("-999.0", missing))
    assert parse_category(-999.0, missing) == ""
    assert parse_category("-999.0", missing) == "-999.0"  # text stays text
    found = column_values(pa.array([-999, 5]), "number", missing).values
    np.testing.assert_array_equal(found, np.array([np.nan, 5], np.float32))


class Plan(str, enum.Enum):  # noqa: UP042 - a StrEnum would print itself as its text anyway
    PRO = "pro"


def test_members_of_a_text_enum_are_their_text() -> None:
    found = parse_category(Plan.PRO, MISSING)
    assert type(found) is str
    assert found == "pro"


TEXTS = st.one_of(
    st.sampled_from(
        [
            "", " ", "NA", " NA ", "nan", "NaN", "nan(abc)", "inf", "-Infinity", "1e400", "-1e400", "1e-400", "0x10", "0x1p3",
            "1_000", "１２", "٣", "+1", "-.5", "1.", ".", "1e", "1e5", " 7", "7 ", "\u00a07", "7\t", "-0", "-999", "-999.0", "x",
            "true", "TRUE ", "False", "0", "1", "3.4028235677973366e38", "3.4028234663852886e38", "2026-01-31",
            "2026-01-31T10:00:00+09:00", " 2026-01-31 10:00 ", "2026-02-30", "20260131", "2026-W05", "1700000000", "요금 ", "🐉",
            "a\0b", "\ufeff1", "1\0", "1,5", "1 000",
        ]
    ),
    st.text(max_size=6),
    st.floats().map(repr),
    st.integers(-(10**25), 10**25).map(str),
)  # fmt: skip
INTEGERS = {pa.int8(): 8, pa.int16(): 16, pa.int32(): 32, pa.int64(): 64}
UNSIGNED = {pa.uint8(): 8, pa.uint16(): 16, pa.uint32(): 32, pa.uint64(): 64}
SPAN = 250 * 366 * 86_400  # seconds, so that nanoseconds fit into 64 bits
CELLS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.string(): TEXTS,
    pa.large_string(): TEXTS,
    pa.string_view(): TEXTS,
    pa.bool_(): st.booleans(),
    pa.float16(): st.floats(width=16).map(np.float16),
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats(),
    **{kind: st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for kind, bits in INTEGERS.items()},
    **{kind: st.integers(0, 2**bits - 1) for kind, bits in UNSIGNED.items()},
    pa.decimal128(20, 3): st.decimals(-(10**15), 10**15, places=3),
    pa.date32(): st.dates(),
    pa.date64(): st.dates(),
    pa.time32("s"): st.times().map(lambda time: time.replace(microsecond=0)),
    **{
        pa.timestamp(unit, zone): st.integers(-SPAN * scale, SPAN * scale)
        for unit, scale in {"s": 1, "ms": 10**3, "us": 10**6}.items()
        for zone in (None, "Asia/Seoul")
    },
    pa.binary(): st.binary(max_size=3),
    pa.list_(pa.int64()): st.lists(st.integers(0, 3), max_size=2),
    pa.null(): st.none(),
}
# Arrow itself changes float16 values when it unifies dictionaries of several chunks; it encodes no views and lists.
WITHOUT_DICTIONARY = {pa.float16(), pa.string_view(), pa.list_(pa.int64()), pa.null()}
TOKENS = st.sampled_from(
    [MISSING, frozenset(), MISSING | {"-999"}, frozenset({"0", "true", "x"}), frozenset({" NA", "1e400", "nan", "7 "})]
)


@st.composite
def columns(draw: st.DrawFn) -> pa.ChunkedArray | pa.Array:
    kind = draw(st.sampled_from(list(CELLS)))
    cells = draw(st.lists(st.one_of(st.none(), CELLS[kind]), max_size=8))
    array = pa.array(cells, kind)
    if draw(st.booleans()):
        array = pa.array([None, *cells], kind).slice(1)  # an offset into its buffers
    if kind not in WITHOUT_DICTIONARY and draw(st.booleans()):
        array = array.dictionary_encode()
    cut = draw(st.integers(0, len(array)))
    return draw(st.sampled_from([array, pa.chunked_array([array[:cut], array[cut:]])]))


def one_by_one(array: pa.ChunkedArray | pa.Array, kind: str, missing: frozenset[str]) -> list[Any] | tuple[int, str]:
    """The column by the scalar functions alone, or the row and sentence of the first cell that does not fit."""
    parse: Callable[[object, frozenset[str]], Any] = PARSERS[kind]
    found = []
    for row, value in enumerate(array.to_pylist()):
        try:
            # Older Arrows give float16 cells as numpy's, which print themselves in their own way.
            found.append(parse(float(value) if isinstance(value, np.float16) else value, missing))
        except CellError as error:
            return row, str(error)
    return found


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(columns(), st.sampled_from(list(PARSERS)), TOKENS)
@example(pa.array([" NA", "1"]), "number", frozenset({" NA"}))
@example(pa.array(["nan(abc)"]), "number", MISSING)
@example(pa.array([2**63 - 1], pa.int64()), "timestamp", MISSING)
def test_a_column_equals_its_cells_one_by_one(
    array: pa.ChunkedArray | pa.Array, kind: str, missing: frozenset[str]
) -> None:
    wanted = one_by_one(array, kind, missing)
    if isinstance(wanted, tuple):
        with pytest.raises(CellError) as caught:
            column_values(array, kind, missing)
        assert (caught.value.row, str(caught.value)) == wanted
        return
    found = column_values(array, kind, missing)
    assert found.values.dtype == DTYPES[kind]
    if kind in FLOATING:
        np.testing.assert_array_equal(found.values, np.array(wanted, DTYPES[kind]))
    else:
        assert found.values.tolist() == wanted


def test_nanoseconds_are_cut_to_microseconds() -> None:
    array = pa.array([1_500_000_999, None, -2_000_000_000], pa.timestamp("ns"))
    np.testing.assert_array_equal(column_values(array, "timestamp", MISSING).values, [1.5, np.nan, -2.0])
    assert column_values(array, "category", MISSING).values.tolist() == [
        "1970-01-01T00:00:01.500000",
        "",
        "1969-12-31T23:59:58",
    ]


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.timestamp("s"), pa.date32()])
def test_dates_that_python_has_no_value_for(kind: pa.DataType) -> None:
    far = pa.array(
        [0, 2**31 - 1 if kind == pa.date32() else 2**60], pa.int32() if kind == pa.date32() else pa.int64()
    ).cast(kind)
    days = {"us": 2**60 / 1e6, "s": 2.0**60}.get(getattr(kind, "unit", ""), (2**31 - 1) * 86_400.0)
    np.testing.assert_array_equal(column_values(far, "timestamp", MISSING).values, [0, days])
    with pytest.raises(CellError, match="expected text, got a ") as caught:
        column_values(far, "category", MISSING)
    assert caught.value.row == 1


def test_values_of_a_dictionary_that_no_row_has_are_no_error() -> None:
    array = pa.DictionaryArray.from_arrays(pa.array([0, None, 0]), pa.array(["1", "abc"]))
    np.testing.assert_array_equal(column_values(array, "number", MISSING).values, [1, np.nan, 1])


def test_infinite_numbers_are_counted() -> None:
    found = column_values(pa.array(["1e39", "-inf", "3", ""]), "number", MISSING)
    np.testing.assert_array_equal(found.values, np.array([np.nan, np.nan, 3, np.nan], np.float32))
    assert found.overflowed == 2
