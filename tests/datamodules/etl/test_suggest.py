"""The return-time curve against a slow count, and the windows that follow from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ludocast.datamodules.etl.suggest import ReturnTimes, active_days, return_times, suggest_for, suggest_windows
from ludocast.datamodules.windows import split_times

from tests.datamodules.etl.made_logs import days_log, opened


def test_the_curve_of_three_players_by_hand(tmp_path: Path) -> None:
    frame = days_log({"a": [0, 2], "b": [0, 6, 7], "c": [6]})
    with opened(frame, tmp_path) as (_, log):
        times = return_times(active_days(log), log.end_day)
    assert times.back.tolist()[:6] == [1, 1, 0, 0, 0, 1]
    # Quiet days of the six periods: a 1, 5 (cut off); b 5, 0, 0 (cut off); c 1 (cut off), which is not seen on day 2.
    assert times.periods[:2].tolist() == [5, 3]
    # After 5 quiet days the one period that is still seen ends in a return: nobody is lost by this estimate.
    assert times.share.tolist() == [1.0] * 6
    assert times.lost_after is None


def test_the_curve_is_the_product_limit_estimate(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    days = {f"p{i}": np.flatnonzero(generator.random(90) < generator.beta(1, 6)).tolist() for i in range(300)}
    days["all"] = [0, 89]
    with opened(days_log(days), tmp_path) as (_, log):
        times = return_times(active_days(log), log.end_day)
    periods = [
        (b - a - 1, True) if b is not None else (90 - a - 1, False)
        for active in days.values()
        for a, b in zip(active, [*active[1:], None], strict=False)
    ]
    lasting = [1.0]  # share that lasts d quiet days
    for d in range(len(times.share)):
        seen = sum(length > d or (length == d and back) for length, back in periods)
        assert times.periods[d] == seen >= 100
        lasting.append(lasting[-1] * (1 - sum(length == d and back for length, back in periods) / seen))
    for d, share in enumerate(times.share):
        assert share == pytest.approx(1 - lasting[-1] / lasting[d], abs=1e-12)


def _times(lost: int, days: int) -> ReturnTimes:
    """A curve that falls to 5 % after so many quiet days."""
    share = np.linspace(0.9, 0.05, lost + 1).tolist() + np.linspace(0.049, 0.0, days - lost).tolist()
    back = np.zeros(days + 1, np.int64)
    back[0], back[5] = 80, 20
    return ReturnTimes(np.full(len(share), 1000), np.array(share), back)


def test_windows_are_as_long_as_players_need_and_the_log_allows() -> None:
    suggested = suggest_windows(_times(27, 170), 19_000, 19_180)
    assert suggested.options() == "--observe 56d --gap 0d --horizon 28d --active-within 7d --step 7d"
    assert suggested.is_trainable
    short = suggest_windows(_times(27, 60), 19_000, 19_062)
    assert short.windows.horizon < 28
    assert any("28 days would fit the players" in reason for reason in short.reasons)


@pytest.mark.parametrize("span", [5, 9, 15, 30, 62, 100, 180, 365, 1_082])
def test_suggested_windows_leave_every_part_a_snapshot(span: int) -> None:
    suggested = suggest_windows(_times(min(27, span // 2), span), 0, span)
    windows = suggested.windows
    assert suggested.is_trainable
    assert all(len(part) for part in split_times(windows.times(0, span), windows.label))


def test_a_log_of_two_days_is_told_to_be_too_short(tmp_path: Path) -> None:
    with opened(days_log({"a": [0, 1], "b": [1]}), tmp_path) as (_, log):
        _, suggested = suggest_for(log)
    assert not suggested.is_trainable
    assert any("too few for training" in reason for reason in suggested.reasons)


def test_players_who_never_come_back_are_lost_at_once(tmp_path: Path) -> None:
    with opened(days_log({f"p{i}": [i % 40] for i in range(400)}), tmp_path) as (_, log):
        times, _ = suggest_for(log)
    assert times.lost_after == 0
    assert times.mostly_back_within == 1
