"""Lists of any make become the same tensors; what is sorted, left out or refused is told with its row and column."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from ludocast.datamodules.schema import MISSING_TOKENS
from ludocast.serve.manifest import CheckRows, Input, Manifest
from ludocast.serve.manifest_sequences import SequenceInputs
from ludocast.serve.notes import sentences
from ludocast.serve.sequence_feeds import BATCH_ROWS, BATCH_STEPS, SequenceFeeds, SequenceReader

DAY = 86_400.0
NOW = 1_700_006_400.0  # a midnight
EVENTS = (
    Input("event", "names", "category", ("login",), form="list"),
    Input("time", "times", "timestamp", None, (NOW - 9 * DAY, NOW), "list"),
    Input("gold", "x0", "number", None, (0, 9), "list"),
)
WORDS = (Input("text", "names", "category", ("a",), form="words"),)


def reader(inputs: tuple[Input, ...] = EVENTS, task: str = "next", **sequence: Any) -> SequenceReader:
    time = {"time": "time"} if inputs is not WORDS else {}
    fields = SequenceInputs(**{"length": "length", "longest": 5, **time, **sequence})
    tokens = MISSING_TOKENS if inputs is not WORDS else ()
    return SequenceReader(
        Manifest("m", "1", inputs, tokens, ("a", "b"), None, None, {}, CheckRows((), (), ()), "", task=task,
                 sequence=fields)
    )  # fmt: skip


def asked(**sequence: Any) -> SequenceReader:
    return reader((*EVENTS, Input("now", "now", "timestamp")), "classification", now="now", **sequence)


ROWS: list[dict[str, Any]] = [
    {"event": ["login", None, "buy"], "time": [NOW, NOW + 1.5, NOW + 1.5], "gold": [1, None, 2.5]},
    {"event": [], "time": [], "gold": []},
    {"event": ["戦闘"], "time": [NOW - 1], "gold": [0]},
]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}


def lists(feeds: SequenceFeeds) -> dict[str, list[Any]]:
    """Each tensor's values by row."""
    return {
        name: [
            values[begin : begin + length].tolist() for begin, length in zip(feeds.begin, feeds.lengths, strict=True)
        ]
        for name, values in feeds.steps.items()
    }


def arrow(kinds: dict[str, pa.DataType]) -> Callable[[], Any]:
    return lambda: reader().from_columns({name: pa.array(COLUMNS[name], kind) for name, kind in kinds.items()})


KINDS = {"event": pa.list_(pa.string()), "time": pa.list_(pa.float64()), "gold": pa.list_(pa.float32())}
MAKES: dict[str, Callable[[], Any]] = {
    "records": lambda: reader().from_rows(ROWS),
    "lists": lambda: reader().from_columns(COLUMNS),
    "Arrow lists": arrow(KINDS),
    "large Arrow lists": arrow({name: pa.large_list(kind.value_type) for name, kind in KINDS.items()}),
    "Arrow lists in chunks": lambda: reader().from_columns(
        {
            name: pa.chunked_array([pa.array(COLUMNS[name][:1], kind), pa.array(COLUMNS[name], kind)[1:]])
            for name, kind in KINDS.items()
        }
    ),
    "JSON in text": lambda: reader().from_columns({name: list(map(json.dumps, v)) for name, v in COLUMNS.items()}),
    "JSON in Arrow": lambda: reader().from_columns(
        {name: pa.array([json.dumps(v) if v else None for v in values]) for name, values in COLUMNS.items()}
    ),
    "pandas of lists": lambda: reader().from_columns({name: pd.Series(v) for name, v in COLUMNS.items()}),
    "pandas of arrays": lambda: reader().from_columns(
        {
            "event": pd.Series([np.array(v, object) for v in COLUMNS["event"]]),
            "time": pd.Series([(np.array(v, float) * 1e9).astype("datetime64[ns]") for v in COLUMNS["time"]]),
            "gold": pd.Series([np.array(v, float) for v in COLUMNS["gold"]]),
        }
    ),
    "missing cells": lambda: reader().from_columns(
        {name: [values[0], None, values[2]] for name, values in COLUMNS.items()}
    ),
    "times as text": lambda: reader().from_rows(
        [{**row, "time": [dt.datetime.fromtimestamp(time, dt.UTC).isoformat() for time in row["time"]]} for row in ROWS]
    ),
}


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_all_makes_of_lists_are_read_alike(make: Callable[[], SequenceFeeds]) -> None:
    feeds = make()
    assert feeds.lengths.tolist() == [3, 0, 1]
    found = lists(feeds)
    assert found["names"] == [["login", "", "buy"], [], ["戦闘"]]
    assert found["times"] == [[NOW, NOW + 1.5, NOW + 1.5], [], [NOW - 1]]
    assert [str(row) for row in found["x0"]] == ["[1.0, nan, 2.5]", "[]", "[0.0]"]
    assert sentences(feeds.notes) == ["1 row has no step to go by"]


def test_batches_are_padded_with_nothing_and_return_each_row_once() -> None:
    ((rows, tensors),) = list(reader().from_rows(ROWS).batches())
    assert rows.tolist() == [1, 2, 0]
    assert tensors["length"].tolist() == [0, 1, 3]
    assert tensors["names"].tolist() == [["", "", ""], ["戦闘", "", ""], ["login", "", "buy"]]
    assert tensors["times"].tolist() == [[0, 0, 0], [NOW - 1, 0, 0], [NOW, NOW + 1.5, NOW + 1.5]]
    assert tensors["x0"].dtype == np.float32
    lengths = np.random.default_rng(0).integers(0, 3000, 2000)
    big = reader(WORDS, longest=10_000).from_columns({"text": [["a"] * length for length in lengths]})
    seen = []
    for rows, tensors in big.batches():
        assert len(rows) <= BATCH_ROWS
        assert tensors["names"].size <= BATCH_STEPS
        assert tensors["length"].tolist() == lengths[rows].tolist()
        assert ((tensors["names"] == "a").sum(1) == lengths[rows]).all()
        seen += rows.tolist()
    assert sorted(seen) == list(range(2000))
    assert list(reader().from_rows([]).batches()) == []


def test_steps_are_sorted_by_time_two_at_one_time_in_their_order() -> None:
    row = {"event": ["c", "a", "b", "d"], "time": [NOW + 2, NOW, NOW, NOW + 2], "gold": [3, 1, 2, 4]}
    feeds = reader().from_rows([ROWS[0], row])
    assert lists(feeds)["names"][1] == ["a", "b", "c", "d"]
    assert lists(feeds)["x0"][1] == [1, 2, 3, 4]
    assert sentences(feeds.notes) == ['column "time": time goes backwards at 1 step; they were sorted by time']


def test_steps_without_a_time_are_left_out_and_told() -> None:
    row = {"event": ["a", "b", "c"], "time": [None, NOW, float("nan")], "gold": [1, 2, 3]}
    feeds = reader().from_rows([ROWS[2], row])
    assert lists(feeds)["names"] == [["戦闘"], ["b"]]
    assert sentences(feeds.notes) == ['column "time": 2 steps without a time were left out']


def test_only_what_lies_in_the_window_before_now_is_known() -> None:
    days = [-60, -56, -55.9, -1, 0, 3]
    row = {"event": list("abcdef"), "time": [NOW + day * DAY for day in days], "gold": [0] * 6, "now": NOW}
    gone = {**row, "time": [NOW - 40 * DAY] * 6}
    feeds = asked(observe=56.0, active_within=7.0, longest=10).from_rows([row, gone])
    assert lists(feeds)["names"] == [["b", "c", "d"], list("abcdef")]
    assert feeds.cells["now"].tolist() == [[NOW], [NOW]]
    assert sentences(feeds.notes) == [
        'column "time": 2 steps not before "now" were left out',
        '1 row has no step in the 7 days before "now"; training asked about none such, so this is a guess',
    ]
    assert lists(asked(longest=10).from_rows([row]))["names"] == [list("abcd")]


def test_of_a_long_row_the_last_steps_are_read_or_it_is_refused() -> None:
    row = {"event": list("abcdefg"), "time": [NOW + i for i in range(7)], "gold": [0] * 7}
    feeds = reader().from_rows([row, ROWS[2]])
    assert lists(feeds)["names"] == [list("cdefg"), ["戦闘"]]
    assert sentences(feeds.notes) == ["1 row has more than 5 steps, of which the last were read"]
    with pytest.raises(ValueError, match=r'^row 2, column "text": 6 steps; at most 5 are read at once, so cut it$'):
        reader(WORDS, "tags").from_rows([{"text": "a b c d e"}, {"text": "a b c d e f"}])


def test_a_text_is_its_words_and_the_ends_of_its_lines() -> None:
    texts = ["a  b\tc", "", None, ["a b", "NA"], "a\n\n b c\r\n"]
    plain = lists(reader(WORDS, longest=9).from_columns({"text": texts}))["names"]
    assert plain == [["a", "b", "c"], [], [], ["a b", "NA"], ["a", "b", "c"]]
    ended = lists(reader(WORDS, longest=9, line_end="</s>").from_columns({"text": texts}))["names"]
    assert ended[4] == ["a", "</s>", "b", "c", "</s>"]
    assert ended[:4] == plain[:4]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"event": 5}, 'row 2, column "event": expected a list, got int'),
        ({"event": "login"}, "row 2, column \"event\": expected a list, in text a JSON array such as [1, null], got 'login'"),
        ({"event": ["a", {}, "b"]}, 'row 2, column "event": step 2: expected text, got "{}"'),
        ({"time": [NOW, "noon", NOW]}, 'row 2, column "time": step 2: expected a time such as'),
        ({"gold": [1, 2, "x"]}, 'row 2, column "gold": step 3: expected a number, got "x"'),
        ({"gold": [1, 2]}, 'row 2: column "gold" has 2 values and column "event" 3; give one of each a step'),
        ({"now": None}, 'row 2, column "now": no time; give the moment that is asked about'),
        ({"now": [NOW]}, 'row 2, column "now": expected a time such as'),
    ],
)  # fmt: skip
def test_bad_cells_are_named(change: dict[str, Any], sentence: str) -> None:
    good = {**ROWS[0], "now": NOW + DAY}
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        asked().from_rows([good, {**good, **change}])
    if list(change) != ["now"]:  # a list among times is no Arrow column
        columns = {name: [good[name], {**good, **change}[name]] for name in good}
        with pytest.raises(ValueError, match=f"^{re.escape(sentence.replace('row 2', 'row 102'))}"):
            asked().from_columns(columns, 100)


def test_absent_and_unknown_columns() -> None:
    with pytest.raises(ValueError, match=r'^row 2: column "event" is absent; is it "Event"'):
        reader().from_rows([ROWS[0], {"Event": [], "time": [], "gold": []}])
    with pytest.raises(ValueError, match="row 1: expected a record"):
        reader().from_rows([3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match='column "gold" is absent'):
        reader().from_columns({"event": [], "time": []})
    with pytest.raises(ValueError, match='column "time" has 1 rows, column "event" has 2'):
        reader().from_columns({"event": [[], []], "time": [[]], "gold": [[], []]})
    with pytest.raises(ValueError, match='column "now" has 1 rows, column "event" has 2'):
        asked().from_columns({"event": [[], []], "time": [[], []], "gold": [[], []], "now": [NOW]})
    assert reader().from_rows([{**ROWS[0], "id": 7}]).unknown == ["id"]
    assert reader().from_columns({**COLUMNS, "id": [1, 2, 3]}).unknown == ["id"]


def test_infinite_numbers_are_missing_and_told() -> None:
    feeds = reader().from_rows([{**ROWS[0], "gold": [1e300, 1, float("inf")]}])
    assert feeds.overflowed == {"gold": 2}
    assert [str(value) for value in feeds.steps["x0"][:3]] == ["nan", "1.0", "nan"]
