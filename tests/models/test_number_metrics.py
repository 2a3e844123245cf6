"""Measures of numbers against scikit-learn, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from ludocast.models.number_metrics import compare_numbers, number_metrics
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error


def test_measures_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    label = 1e6 + generator.normal(size=500)  # a variance that is little beside the values
    value = label + 0.5 * generator.normal(size=500)
    found = number_metrics(value, np.column_stack([value - 1, value + 1]), label, resamples=200)
    assert found["rmse"].value == pytest.approx(root_mean_squared_error(label, value))
    assert found["mae"].value == pytest.approx(mean_absolute_error(label, value))
    assert found["r2"].value == pytest.approx(r2_score(label, value))
    assert found["coverage"].value == pytest.approx(np.mean(np.abs(label - value) <= 1))
    assert found["interval_width"].value == pytest.approx(2)
    for one in found.values():
        assert one.low <= one.value <= one.high


def test_a_candidate_that_is_worse_by_one_on_every_row_is_behind_without_doubt() -> None:
    label = np.arange(40.0)
    first, second = compare_numbers({"right": label, "off by one": label + 1}, label, resamples=50)
    assert first.rmse_behind is None
    assert second.rmse_behind is not None
    assert (second.rmse_behind.low, second.rmse_behind.value, second.rmse_behind.high) == (1, 1, 1)
    assert second.mae.value == 1
