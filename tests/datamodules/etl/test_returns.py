from __future__ import annotations

import ibis
import numpy as np
import pytest
from ludocast.datamodules.etl.days import player_days
from ludocast.datamodules.etl.returns import ReturnCurve, return_curve, suggest_windows
from ludocast.datamodules.etl.rules import Contents

from tests.datamodules.etl.reference import DAY

TEN = 10  # copies of each player, so that enough pauses are watched


def curve_of(players: list[list[int]], end: int, copies: int = TEN) -> ReturnCurve:
    rows = [(f"{n}.{copy}", day * DAY) for n, days in enumerate(players) for copy in range(copies) for day in days]
    events = ibis.memtable({"player": [name for name, _ in rows], "time": [time for _, time in rows]})
    return return_curve(player_days(events, Contents(clock=False), 1), end)


def test_pauses_by_hand() -> None:
    # Pauses of quiet days: 0, 1 and open after 2; 4 and open after 0; open after 7, ten of each.
    curve = curve_of([[0, 1, 3], [1, 6], [0]], end=6 + 2, copies=30)
    # Watched after 0 quiet days: all six but none of them open at once: the log ends at the midnight after day 7.
    # ended: 0 → 1, 1 → 1, 4 → 1; open: after 4 (day 3 … 7), after 1, after 7.
    assert curve.watched.tolist() == [180, 120, 90, 90, 60]  # fewer than 50 from then on
    away = [5 / 6, 5 / 6 * 3 / 4, 5 / 6 * 3 / 4, 5 / 6 * 3 / 4, 5 / 6 * 3 / 4 * 1 / 2]
    np.testing.assert_allclose(curve.away[:5], away, rtol=1e-12)


def test_an_endless_log_gives_the_plain_share() -> None:
    generator = np.random.default_rng(0)
    players = [[0, int(pause) + 1] for pause in generator.geometric(0.2, 400)]
    curve = curve_of(players, end=10_000, copies=1)
    pauses = np.array([days[1] - 1 for days in players])
    for quiet in (0, 3, 6):
        # Of 800 pauses one of each player ends, one never does.
        assert curve.away[quiet] == pytest.approx((400 + (pauses > quiet).sum()) / 800, abs=1e-12)


def test_windows_follow_the_curve() -> None:
    away = np.concatenate([0.4 * 0.8 ** np.arange(40) + 0.6, np.full(160, 0.6)])
    come_back = 1 - away[-1] / np.append(1.0, away[:-1])
    curve = ReturnCurve(away, come_back, np.full(200, 1_000))
    assert come_back[12] > 0.05 >= come_back[13]
    found = suggest_windows(curve, 400)
    assert found.words() == "--observe 28d --gap 0d --horizon 14d --active-within 14d --step 7d"
    short = suggest_windows(curve, 20)
    assert short.windows.shortest() <= 20
    assert "three parts of a log of 20 days allow" in short.reasons[-1]
    slow = ReturnCurve(away, np.full(200, 0.5), np.full(200, 1_000))
    assert suggest_windows(slow, 1_000).windows.horizon == 84
    assert "50% come back later" in suggest_windows(slow, 1_000).reasons[-1]
    with pytest.raises(ValueError, match="too short for training"):
        suggest_windows(curve, 3)
