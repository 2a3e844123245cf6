"""Sequences and pairs against plain loops, and that no future, order or copy changes them."""

from __future__ import annotations

import math
from collections import defaultdict
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ludocast.datamodules.etl.rules import Rules
from ludocast.datamodules.etl.sequences import gathered

from tests.datamodules.etl.logs import (
    DAYS,
    FAST,
    FUTURES,
    RULES,
    START,
    disordered,
    pairs_of,
    random_events,
    sequences_of,
    with_future,
)
from tests.datamodules.etl.reference import DAY, Event

many = settings(FAST, max_examples=60)


def _late_missing(value: float | None) -> tuple[bool, float]:
    return (value is None, 0.0 if value is None else value)


def _by_hand(events: list[Event], rules: Rules, newest: int) -> list[dict[str, Any]]:
    """Player by player, event by event."""
    begin, end = min(e.time for e in events) // DAY, max(e.time for e in events) // DAY + 1
    of_player: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        of_player[event.player].append(event)
    found = []
    for s in range(begin + rules.observe, end - rules.gap - rules.horizon + 1, rules.step):
        for player in sorted(of_player):
            own = of_player[player]
            if not any((s - rules.active_within) * DAY <= e.time < s * DAY for e in own):
                continue
            window = [e for e in own if (s - rules.observe) * DAY <= e.time < s * DAY]
            window.sort(key=lambda e: (e.time, e.event, _late_missing(e.amount), _late_missing(e.level)))
            label = (s + rules.gap) * DAY
            back = any(label <= e.time < label + rules.horizon * DAY for e in own)
            found.append({"player": player, "s": s, "churned": not back, "events": window[-newest:]})
    return found


@pytest.mark.parametrize(("newest", "batch"), [(512, 1_000), (5, 64), (1, 7)])
def test_sequences_are_what_a_loop_finds(newest: int, batch: int) -> None:
    events, rules = random_events(4, 15, DAYS), Rules(20, 1, 6, 5, 4)
    frame, wanted = sequences_of(events, rules, newest=newest, batch=batch), _by_hand(events, rules, newest)
    assert len(wanted) > 60
    found = frame.to_dict("records")
    for row, want in zip(found, wanted, strict=True):
        for name in ("player", "s", "churned"):
            assert row[name] == want[name]
        assert [time.timestamp() * 1000 for time in pd.DatetimeIndex(row["time"])] == [e.time for e in want["events"]]
        for name in ("event", "level", "amount"):
            assert list(row[name]) == [getattr(e, name) for e in want["events"]]


def test_pairs_are_what_a_loop_finds() -> None:
    events = random_events(6, 15, DAYS)
    wanted: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        wanted[event.player, event.event].append(event)
    frame = pairs_of(events)
    assert list(zip(frame.player, frame.item, strict=True)) == sorted(wanted)
    for row in frame.to_dict("records"):
        own = wanted[row["player"], row["item"]]
        assert row["events"] == len(own)
        assert (row["first_time"], row["last_time"]) == (min(e.time for e in own), max(e.time for e in own))
        amounts = [round(e.amount * 1_000_000) for e in own if e.amount is not None]
        assert row["value"] == sum(amounts) if amounts else math.isnan(row["value"])


def test_lists_go_on_over_batches() -> None:
    rows = pa.table({"s": [7, 7, 7, 7, 14], "player": ["a", "a", "a", "b", "b"], "time": [1, 2, 3, 4, 5]})
    for size in (1, 2, 5):
        found = list(gathered(rows.to_batches(size), newest=2))
        lists = [[t.microsecond // 1000 for t in times] for one in found for times in one.lists["time"].to_pylist()]
        assert lists == [[2, 3], [4], [5]], size
        assert [row["player"] for one in found for row in one.rows.to_pylist()] == ["a", "b", "b"]
    assert list(gathered([], newest=2)) == []


def _check_future(rules: Rules, seed: int, which: int, future: str) -> None:
    events = random_events(seed, 12, DAYS)
    before = sequences_of(events, rules)
    times = np.arange(START + rules.observe, START + DAYS - rules.gap - rules.horizon + 1, rules.step)
    s = int(times[which % len(times)])
    other = with_future(events, s, future, seed)
    after = sequences_of(other, rules)
    known, again = (frame[frame.s <= s].drop(columns="churned").reset_index(drop=True) for frame in (before, after))
    pd.testing.assert_frame_equal(known, again, check_exact=True)
    pd.testing.assert_frame_equal(pairs_of(events, until=s), pairs_of(other, until=s), check_exact=True)


def _check_order(rules: Rules, seed: int, files: int) -> None:
    events = random_events(seed, 12, DAYS)
    shuffled, single, doubled = disordered(events, seed)
    same = partial(pd.testing.assert_frame_equal, check_exact=True)
    same(sequences_of(events, rules), sequences_of(shuffled, rules, files=files))
    same(sequences_of(single, rules), sequences_of(doubled, rules, files=files, dedupe=True))
    same(pairs_of(events), pairs_of(shuffled, files=files))
    same(pairs_of(single), pairs_of(doubled, files=files, dedupe=True))


@FAST
@given(RULES, st.integers(0, 10_000), st.integers(0, 30), st.sampled_from(FUTURES))
def test_the_future_changes_no_sequence(rules: Rules, seed: int, which: int, future: str) -> None:
    _check_future(rules, seed, which, future)


@settings(FAST, max_examples=1)
@given(RULES, st.integers(0, 10_000), st.integers(2, 4))
def test_order_files_and_copies_change_nothing(rules: Rules, seed: int, files: int) -> None:
    _check_order(rules, seed, files)


@pytest.mark.slow
@many
@given(RULES, st.integers(0, 10_000), st.integers(0, 30), st.sampled_from(FUTURES))
def test_many_futures(rules: Rules, seed: int, which: int, future: str) -> None:
    _check_future(rules, seed, which, future)


@pytest.mark.slow
@many
@given(RULES, st.integers(0, 10_000), st.integers(1, 4))
def test_many_orders(rules: Rules, seed: int, files: int) -> None:
    _check_order(rules, seed, files)
