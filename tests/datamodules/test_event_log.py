"""Logs by hand: order, ties, what is dropped and told, what is refused; and a player with a million events."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ludocast.datamodules.event_log import EventLog, read_event_log

ROWS = """\
player,time,event,gold
b,2026-01-01T00:00:20Z,win,1
a,2026-01-01T00:00:10Z,login,
a,2026-01-01T00:00:30Z,shop,2.5
b,2026-01-01T00:00:05Z,login,3
a,2026-01-01T00:00:30Z,buy,4
"""
BEGIN = 1_767_225_600.0  # 2026-01-01 in seconds since 1970


def csv(tmp_path: Path, text: str = ROWS) -> Path:
    path = tmp_path / "log.csv"
    path.write_text(text)
    return path


def names(log: EventLog) -> dict[str, list[str]]:
    texts = log.tokens().to_pylist()
    return {p: texts[b:e] for p, b, e in zip(log.players, log.offsets[:-1], log.offsets[1:], strict=True)}


def test_csv_by_hand(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="time goes backwards at 1 rows"):
        log = read_event_log(csv(tmp_path), "player", "time", "event", ["gold"])
    assert names(log) == {"b": ["login", "win"], "a": ["login", "shop", "buy"]}
    assert log.offsets.tolist() == [0, 2, 5]
    assert (log.times - BEGIN).tolist() == [5, 20, 10, 30, 30]
    np.testing.assert_array_equal(log.numbers[:, 0], np.array([3, 1, np.nan, 2.5, 4], np.float32))
    assert log.codes.dtype == np.int32


def test_parquet_and_a_frame_give_the_same(tmp_path: Path) -> None:
    frame = pd.read_csv(csv(tmp_path), parse_dates=["time"])
    frame.to_parquet(tmp_path / "log.parquet")
    with pytest.warns(UserWarning, match="backwards"):
        logs = [read_event_log(s, "player", "time", "event", ["gold"]) for s in (tmp_path / "log.parquet", frame)]
    for log in logs:
        assert names(log) == {"b": ["login", "win"], "a": ["login", "shop", "buy"]}
        assert (log.times - BEGIN).tolist() == [5, 20, 10, 30, 30]


def test_whole_and_decimal_player_numbers_are_one_player() -> None:
    log = read_event_log(pd.DataFrame({"p": [1.0, 2.0, 1.0], "t": [1, 2, 3]}), "p", "t")
    assert log.players.tolist() == ["1", "2"]
    assert names(log) == {"1": ["event", "event"], "2": ["event"]}


def test_rows_without_player_or_time_are_left_out_and_told() -> None:
    frame = pd.DataFrame(
        {"p": ["a", None, "a", "c", "b"], "t": [1.0, 2, np.nan, np.inf, 4], "e": ["x", "y", "z", "w", None]}
    )
    with pytest.warns(UserWarning, match='3 of 5 rows of the log are left out: 2 have no "t", 1 no "p"'):
        log = read_event_log(frame, "p", "t", "e")
    assert names(log) == {"a": ["x"], "b": [None]}  # an event without a name is one still; c has none left


def test_bad_input(tmp_path: Path) -> None:
    broken = ROWS.replace("2026-01-01T00:00:30Z,shop", "yesterday,shop")
    with pytest.raises(ValueError, match=r'row 3, column "time": expected a time .* got "yesterday"; mend it'):
        read_event_log(csv(tmp_path, broken), "player", "time", "event")
    with pytest.raises(ValueError, match='row 1, column "gold": expected a number'):
        read_event_log(csv(tmp_path, ROWS.replace("win,1", "win,many")), "player", "time", "event", ["gold"])
    with pytest.raises(ValueError, match='no column "when"; it has player, time, event, gold'):
        read_event_log(csv(tmp_path), "player", "when")
    with pytest.raises(ValueError, match='no row of the log has both a "p" and a "t"'):
        read_event_log(pd.DataFrame({"p": ["a"], "t": [np.nan]}), "p", "t")
    lists = pa.table({"p": pa.array([["a"], ["b"]]), "t": [1.0, 2.0]})
    with pytest.raises(ValueError, match='column "p"'):
        read_event_log(lists, "p", "t")


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=30))
def test_order_equals_a_stable_sort_of_each_player(rows: list[tuple[int, int]]) -> None:
    frame = pd.DataFrame({"p": [f"p{p}" for p, _ in rows], "t": [t for _, t in rows]})
    frame["e"] = [f"e{k}" for k in range(len(rows))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log = read_event_log(frame, "p", "t", "e")
    wanted: dict[str, list[tuple[int, str]]] = {}
    for k, (p, t) in enumerate(rows):
        wanted.setdefault(f"p{p}", []).append((t, f"e{k}"))
    by_time = {p: [e for _, e in sorted(events, key=lambda event: event[0])] for p, events in wanted.items()}
    assert names(log) == by_time
    assert log.players.tolist() == list(wanted)


def test_no_warning_where_nothing_is_wrong() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_event_log(pd.DataFrame({"p": ["a", "b", "a"], "t": [5, 1, 5]}), "p", "t")


def test_players_without_events_have_empty_sequences() -> None:
    log = read_event_log(pd.DataFrame({"p": ["a", "b", "a"], "t": [5, 1, 6], "e": ["x", "y", "z"]}), "p", "t", "e")
    assert names(log.of_players(["b", "nobody", "a"])) == {"b": ["y"], "nobody": [], "a": ["x", "z"]}
    assert log.of_players(["b", "nobody", "a"]).offsets.tolist() == [0, 1, 1, 3]


def test_a_player_with_a_million_events(tmp_path: Path) -> None:
    count = 1_000_000
    times = np.arange(count)[::-1].astype("datetime64[s]").astype("datetime64[ms]")
    player = pa.array(["a"] * (count - 1) + ["b"])
    pq.write_table(pa.table({"p": player, "t": times, "e": np.arange(count) % 7}), tmp_path / "log.parquet")
    with pytest.warns(UserWarning, match="backwards at 999,998 rows"):
        log = read_event_log(tmp_path / "log.parquet", "p", "t", "e")
    assert log.offsets.tolist() == [0, count - 1, count]
    assert (log.times[:-1] == np.arange(1, count)).all()
    assert log.events[log.codes[0]] == str((count - 2) % 7)
