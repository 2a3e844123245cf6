"""The features that the login benchmark gives its rivals, of two players by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.wow_features import day_features


def test_features_by_hand() -> None:
    bits = np.zeros((2, 56), np.uint8)
    bits[0, [0, 1, 2, 46, 53, 54]] = 1  # days −56, −55, −54, −10, −3, −2
    bits[1] = 1
    names, found = day_features(bits)
    assert found.shape == (2, len(names)) == (2, 40)
    one, every = (dict(zip(names, row.tolist(), strict=True)) for row in found)
    assert [one[f"days active of {days}"] for days in (1, 3, 10, 56)] == [0, 2, 3, 6]
    assert (one["week −1"], one["week −2"], one["week −8"], one["weeks active"]) == (2, 1, 3, 3)
    assert (one["days since last"], one["days since first"]) == (1, 55)
    assert (one["pauses"], one["longest pause"], one["mean pause"]) == (2, 43, (43 + 6) / 2)
    assert one["deviation of pauses"] == pytest.approx(18.5)
    assert (one["streak"], one["longest streak"]) == (0, 3)
    assert one["same weekday again"] == pytest.approx(1 / 3)  # day 53 seven after 46, of three from day 7 on
    assert one["trend of two weeks"] == 2 * 2 - 3
    assert (every["streak"], every["pauses"], every["mean pause"], every["deviation of weeks"]) == (56, 0, 0, 0)
