"""Snapshot rules by hand at every edge, and beside a naive loop on whatever Hypothesis finds."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ludocast.datamodules.ragged import offsets_of
from ludocast.datamodules.snapshots import (
    Snapshots,
    active_windows,
    daily_activity_bits,
    find_snapshots,
    split_snapshots,
)
from ludocast.datamodules.time_features import DAY

LOGINS = Path(__file__).parent.parent.parent.parent / "shared" / "data" / "wow_logins" / "events.parquet"
RULES: dict[str, Any] = {"observe": 4, "gap": 1, "horizon": 3, "active_within": 2, "step": 2}


def found(players: list[list[float]], **rules: Any) -> tuple[Snapshots, list[tuple[int, float, int, int, bool]]]:
    """Snapshots of event days, and (player, day, events known, first of them, churned) of each."""
    offsets = offsets_of(np.array([len(days) for days in players], np.int64))
    times = np.array([day for days in players for day in days], np.float64) * DAY
    s = find_snapshots(times, offsets, **{**RULES, **rules})
    rows = zip(s.player, s.time / DAY, s.end - s.begin, s.begin - offsets[s.player], s.churned, strict=True)
    return s, [(int(p), float(t), int(n), int(b), bool(c)) for p, t, n, b, c in rows]


def test_one_player_by_hand() -> None:
    # The log has the days 0 to 10; snapshots at 4 and 6, as that at 8 would need the label days [9, 12).
    snapshots, rows = found([[0, 3, 5.5, 10]])
    assert (snapshots.times / DAY).tolist() == [4, 6]
    # At 4: known 0 and 3; label [5, 8) holds 5.5. At 6: known 3 and 5.5; label [7, 10) holds none, 10 is its open end.
    assert rows == [(0, 4, 2, 0, False), (0, 6, 2, 1, True)]


@pytest.mark.parametrize(
    ("days", "wanted"),
    [
        ([3, 4], [(0, 4, 1, 0, True)]),  # an event at t is not known, and lies before the label, [5, 8)
        ([3, 5], [(0, 4, 1, 0, False)]),  # an event at t + gap is the label's
        ([3, 8], [(0, 4, 1, 0, True)]),  # one at its end is not
        ([3, 7.999], [(0, 4, 1, 0, False)]),
        ([2, 9], [(0, 4, 1, 0, True)]),  # an event at t − active_within makes active
        ([1.999, 9], []),
        ([0, 3], [(0, 4, 2, 0, True)]),  # an event at t − observe is known
        ([-0.001, 3], [(0, 4, 1, 1, True)]),
        ([4], []),
        ([], []),
    ],
)
def test_edges_by_hand(days: list[float], wanted: list[tuple[int, float, int, int, bool]]) -> None:
    assert found([days, [8]], first_day=0, last_day=8 * DAY)[1] == wanted


def test_with_no_gap_an_event_at_the_snapshot_is_the_labels() -> None:
    assert found([[3, 4], [7]], gap=0, first_day=0, last_day=7 * DAY)[1] == [(0, 4, 1, 0, False)]


def test_days_of_the_log_are_whole() -> None:
    snapshots, _ = found([[100.7, 109.2]])
    assert (snapshots.times / DAY).tolist() == [104, 106]  # the log is [100, 110)
    snapshots, _ = found([[100.7, 107.99]])
    assert (snapshots.times / DAY).tolist() == [104]


def naive(
    players: list[list[float]], rules: dict[str, Any], first: int, last: int
) -> list[tuple[int, float, int, int, bool]]:
    rows = []
    for p, days in enumerate(players):
        t = first + rules["observe"]
        while t + rules["gap"] + rules["horizon"] <= last:
            known = [k for k, day in enumerate(days) if t - rules["observe"] <= day < t]
            active = any(t - rules["active_within"] <= day < t for day in days)
            begin = t + rules["gap"]
            if active:
                churned = not any(begin <= day < begin + rules["horizon"] for day in days)
                rows.append((p, float(t), len(known), known[0], churned))
            t += rules["step"]
    return rows


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 30).map(lambda half: half / 2), max_size=8), min_size=1, max_size=4),
    st.fixed_dictionaries(
        {
            "observe": st.integers(2, 5),
            "gap": st.integers(0, 3),
            "horizon": st.integers(1, 4),
            "active_within": st.integers(1, 2),
            "step": st.integers(1, 3),
        }
    ),
)
def test_equals_a_naive_loop(players: list[list[float]], rules: dict[str, Any]) -> None:
    ordered = [sorted(days) for days in players]
    if not any(ordered):
        return
    snapshots, rows = found(ordered, **rules, first_day=0, last_day=16 * DAY)
    assert rows == naive(ordered, rules, 0, 16)
    flat = np.array([day for days in ordered for day in days]) * DAY
    bits = daily_activity_bits(flat, snapshots.begin, snapshots.end, snapshots.time, rules["observe"])
    for row, (player, t, *_) in zip(bits, rows, strict=True):
        days = [t - rules["observe"] + d for d in range(rules["observe"])]
        assert row.tolist() == [int(any(d <= day < d + 1 for day in ordered[player])) for d in days]


def test_bits_by_hand() -> None:
    times = np.array([0.0, 0.5, 2.0, 3.999, 4.0]) * DAY
    begin, end, at = np.array([0, 2, 0]), np.array([4, 5, 0]), np.array([4.0, 5.0, 9.0]) * DAY
    assert daily_activity_bits(times, begin, end, at, 4).tolist() == [[1, 0, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]]
    assert daily_activity_bits(times, begin, end, at, 2).tolist() == [[1, 1], [1, 1], [0, 0]]


def test_who_is_asked_about_now_needs_no_label() -> None:
    times, offsets = np.array([1.0, 9.5, 3.0]) * DAY, np.array([0, 2, 3])
    player, time, begin, end = active_windows(times, offsets, np.array([10.0]) * DAY, 5, 2)
    assert (player.tolist(), time.tolist(), begin.tolist(), end.tolist()) == ([0], [10 * DAY], [1], [2])


@pytest.mark.parametrize("gap", [0, 21])
def test_no_label_reaches_into_a_later_part(gap: float) -> None:
    rng = np.random.default_rng(0)
    players = [np.sort(rng.integers(0, 600, 60)) for _ in range(50)]
    times, offsets = np.concatenate(players) * DAY, np.arange(0, 3_001, 60)
    snapshots = find_snapshots(times, offsets, gap=gap, active_within=14, step=7)
    split = split_snapshots(snapshots)
    assert split.validation is not None
    train, validation, test = (snapshots.time[part] / DAY for part in (split.train, split.validation, split.test))
    reach = gap + 28
    assert train.max() + reach <= validation.min()
    assert validation.max() + reach <= test.min()
    # Each part is as long as it can be: one step more would reach over.
    assert train.max() + 7 + reach > validation.min()
    assert validation.max() + 7 + reach > test.min()
    count = len(snapshots.times)
    assert len(np.unique(test)) == round(0.25 * count)
    assert len(np.unique(validation)) == round(0.05 * count)
    # Between two parts the times whose labels would reach over are in none: one in each step but the last.
    assert len(np.unique(train)) == count - len(np.unique(validation)) - len(np.unique(test)) - 2 * (reach // 7 - 1)
    assert len(np.intersect1d(split.train, split.validation)) == 0


def test_split_by_hand() -> None:
    snapshots, _ = found([[day] * 1 for day in range(31)], observe=2, gap=0, horizon=2, active_within=2, step=1)
    split = split_snapshots(snapshots)
    # Snapshots at 2, …, 29, 28 of them: 7 test times from 23 on, one of validation at 21, training up to 19.
    assert (snapshots.times / DAY).tolist() == list(range(2, 30))
    assert split.rule == (
        "by time: train 1970-01-03 to 1970-01-20 (18 times), validation 1970-01-22 to 1970-01-22 (1 times), "
        "test 1970-01-24 to 1970-01-30 (7 times)"
    )


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="spans 4 days; a snapshot needs 8"):
        found([[0, 3]])
    with pytest.raises(ValueError, match=r"active_within <= observe.*got active_within 5"):
        found([[0, 30]], active_within=5)
    with pytest.raises(ValueError, match="without events"):
        found([[]])
    with pytest.raises(ValueError, match="2 snapshot times are too few"):
        split_snapshots(found([[0, 3, 5.5, 10]])[0])


@pytest.mark.skipif(not LOGINS.exists(), reason=f"the login days are not at {LOGINS}")
def test_real_logins_equal_a_pandas_count() -> None:
    frame = pq.read_table(LOGINS).to_pandas()
    frame = frame.sort_values(["player_id", "timestamp"], kind="stable")
    times = frame["timestamp"].astype("datetime64[s]").astype("int64").to_numpy().astype(np.float64)
    offsets = offsets_of(frame.groupby("player_id").size().to_numpy())
    snapshots = find_snapshots(times, offsets)
    assert len(snapshots.times) == 72
    at = snapshots.times[31]
    now = dt.datetime.fromtimestamp(at, dt.UTC).replace(tzinfo=None)
    days = (frame["timestamp"] - now).dt.days
    active = set(frame["player_id"][(days >= -7) & (days < 0)])
    stay = set(frame["player_id"][(days >= 0) & (days < 28)])
    rows = snapshots.time == at
    assert set(frame["player_id"].unique()[snapshots.player[rows]]) == active
    assert int((~snapshots.churned[rows]).sum()) == len(active & stay)
