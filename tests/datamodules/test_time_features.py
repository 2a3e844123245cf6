"""Gaps, ages, hours and weekdays by hand."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
from ludocast.datamodules.time_features import DAY, HOUR, log_ages, log_gaps, periodic


def test_gaps_start_anew_with_each_sequence() -> None:
    times = np.array([5.0, 5.0, 5.0 + HOUR, 1.0, 1.0 + 3 * HOUR])
    found = log_gaps(times, np.array([0, 3, 3, 5, 5]))
    np.testing.assert_allclose(found, [0, 0, math.log(2), 0, math.log(4)], rtol=1e-6)
    assert found.dtype == np.float32
    assert log_gaps(np.zeros(0), np.array([0, 0])).shape == (0,)


def test_ages() -> None:
    np.testing.assert_allclose(log_ages(np.array([0.0, DAY]), DAY, unit=DAY), [math.log(2), 0], rtol=1e-6)


def test_hours_and_weekdays() -> None:
    monday = dt.datetime(2026, 1, 5, 6, tzinfo=dt.UTC)
    assert monday.weekday() == 0
    days = [monday, monday + dt.timedelta(days=7, hours=12), monday - dt.timedelta(hours=6)]
    found = periodic(np.array([day.timestamp() for day in days]))
    quarter, week = 2 * math.pi / 28, 2 * math.pi * 18 / 168
    wanted: list[list[float]] = [
        [1, 0, math.sin(quarter), math.cos(quarter)],  # six in the morning
        [-1, 0, math.sin(week), math.cos(week)],  # six in the evening
        [0, 1, 0, 1],  # Monday's midnight
    ]
    np.testing.assert_allclose(found, wanted, atol=1e-6)
