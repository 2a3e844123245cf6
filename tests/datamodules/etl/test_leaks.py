"""No snapshot knows its future: random logs, random futures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ludocast.datamodules.etl.rules import Rules

from ludocast.__main__ import main
from tests.datamodules.etl.logs import (
    DAYS,
    FAST,
    FUTURES,
    RULES,
    START,
    disordered,
    random_events,
    snapshots_of,
    with_future,
)
from tests.datamodules.etl.reference import DAY

LOGINS = Path(__file__).parents[4] / "shared" / "data" / "wow_logins" / "events.parquet"
many = settings(FAST, max_examples=150)


def _check_future(rules: Rules, seed: int, which: int, future: str) -> None:
    events = random_events(seed, 12, DAYS)
    before, plan = snapshots_of(events, rules)
    s = plan.grid.day(which % plan.grid.end)
    after, _ = snapshots_of(with_future(events, s, future, seed), rules)
    known = before[before.s <= s].drop(columns="churned").reset_index(drop=True)
    again = after[after.s <= s].drop(columns="churned").reset_index(drop=True)
    pd.testing.assert_frame_equal(known, again, check_exact=True)
    assert before.s.min() >= START + rules.observe


def _check_order(rules: Rules, seed: int, files: int) -> None:
    events = random_events(seed, 12, DAYS)
    before, _ = snapshots_of(events, rules)
    shuffled, single, doubled = disordered(events, seed)
    pd.testing.assert_frame_equal(before, snapshots_of(shuffled, rules, files=files)[0], check_exact=True)
    once, _ = snapshots_of(single, rules)
    pd.testing.assert_frame_equal(once, snapshots_of(doubled, rules, files=files, dedupe=True)[0], check_exact=True)


@FAST
@given(RULES, st.integers(0, 10_000), st.integers(0, 30), st.sampled_from(FUTURES))
def test_the_future_changes_no_feature_and_no_eligibility(rules: Rules, seed: int, which: int, future: str) -> None:
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


def test_a_leak_would_be_seen() -> None:
    rules = Rules(14, 0, 7, 5, 7)
    events = random_events(3, 12, DAYS)
    before, plan = snapshots_of(events, rules)
    s = plan.grid.day(2)
    # One event less, a day before the snapshot, is seen by it.
    past = [event for event in events if not (s - 1) * DAY <= event.time < s * DAY]
    after, _ = snapshots_of(past, rules)
    assert not before[before.s == s].drop(columns="churned").equals(after[after.s == s].drop(columns="churned"))


@pytest.mark.slow
@pytest.mark.skipif(not LOGINS.exists(), reason="the log of logins is not part of the project")
def test_the_future_of_two_million_logins(tmp_path: Path) -> None:
    """By the command line: half of the later logins are deleted, half get other players and later days."""
    table = pq.read_table(LOGINS)
    cut = np.datetime64("2007-11-18", "ms")  # a snapshot time
    time = table["timestamp"].to_numpy()
    player = table["player_id"].to_numpy()
    generator = np.random.default_rng(0)
    later = np.flatnonzero(time >= cut)
    moved = generator.permutation(later)[: len(later) // 2]
    days = generator.integers(0, 403, len(moved)).astype("timedelta64[D]")
    rewritten = pa.table(
        {
            "player_id": np.concatenate([player[time < cut], generator.integers(0, 99_999, len(moved)), [5]]),
            "timestamp": np.concatenate([time[time < cut], cut + days, [time.max()]]),
        }
    )
    pq.write_table(rewritten, tmp_path / "rewritten.parquet")
    frames = []
    for name, log in (("true", LOGINS), ("rewritten", tmp_path / "rewritten.parquet")):
        assert main(["snapshots", "--log", str(log), "--event=none", "--out", str(tmp_path / name)]) == 0
        frame = pd.read_parquet(tmp_path / name).drop(columns=["churned", "split"])
        frames.append(frame[frame.snapshot_time <= cut].reset_index(drop=True))
    pd.testing.assert_frame_equal(frames[0], frames[1], check_exact=True, check_dtype=False)
    assert len(frames[0]) > 150_000
    assert frames[0].snapshot_time.max() == cut
