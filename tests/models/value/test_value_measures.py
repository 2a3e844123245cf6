"""Measures of amounts against slow ones: pairs of rows, scipy's ranks, scikit-learn's deviance, loops over tenths."""

from __future__ import annotations

import numpy as np
import pytest
from ludocast.models.number_loss import tweedie_deviances
from ludocast.models.value.measures import compare_values, gains, normalised_gini, tenth_table, value_metrics
from scipy.stats import spearmanr
from sklearn.metrics import mean_tweedie_deviance


def amounts(rows: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Predictions with ties, and true amounts, most of them 0."""
    generator = np.random.default_rng(seed)
    value = generator.lognormal(0, 1, rows).round(1) + 0.1
    label = np.where(generator.random(rows) < 0.4, value * generator.lognormal(0, 1, rows), 0.0)
    return value, label


def gini_of_pairs(value: np.ndarray, label: np.ndarray) -> float:
    """Σ over pairs of (yᵢ − yⱼ) sign(pᵢ − pⱼ), over 2 N² times the mean."""
    total = 0.0
    for i in range(len(value)):
        for j in range(len(value)):
            total += (label[i] - label[j]) * np.sign(value[i] - value[j])
    return float(total / (2 * len(value) ** 2 * label.mean()))


def test_the_normalised_gini_is_that_of_all_pairs() -> None:
    value, label = amounts()
    wanted = gini_of_pairs(value, label) / gini_of_pairs(label, label)
    assert normalised_gini(value, label) == pytest.approx(wanted, rel=1e-12)
    assert normalised_gini(label, label) == pytest.approx(1)
    assert normalised_gini(-label, label) == pytest.approx(-1)
    assert normalised_gini(np.ones(300), label) == pytest.approx(0)


def test_all_measures_against_slow_ones() -> None:
    value, label = amounts(seed=1)
    bounds = np.column_stack([np.zeros(300), 3 * value])
    found = {name: entry.value for name, entry in value_metrics(value, bounds, label, resamples=50).items()}
    assert found["gini"] == pytest.approx(gini_of_pairs(value, label) / gini_of_pairs(label, label), rel=1e-12)
    assert found["spearman"] == pytest.approx(spearmanr(value, label).statistic, rel=1e-12)
    assert found["deviance"] == pytest.approx(mean_tweedie_deviance(label, value, power=1.5), rel=1e-9)
    assert found["total"] == pytest.approx(value.sum() / label.sum())
    assert found["coverage"] == pytest.approx(np.mean(label <= 3 * value))
    # Rows of equal predictions share their amounts, so that no order among them counts.
    shared = np.array([label[value == one].mean() for one in value])
    order = np.argsort(value)
    off = [(value[rows].sum(), shared[rows].sum()) for rows in np.array_split(order, 10)]
    assert found["decile_error"] == pytest.approx(sum(abs(p - a) for p, a in off) / label.sum())
    assert found["decile_mape"] == pytest.approx(np.mean([abs(p - a) / a for p, a in off]))
    for name, rows in (("top_5", 15), ("top_10", 30)):
        assert found[name] == pytest.approx(shared[order][-rows:].sum() / label.sum())


def test_intervals_hold_the_value_and_pairs_are_compared_on_equal_resamples() -> None:
    value, label = amounts(seed=2)
    noise = value * np.random.default_rng(0).lognormal(0, 2, len(value))
    for name, entry in value_metrics(value, np.column_stack([value, value]), label, resamples=200).items():
        assert entry.low <= entry.value <= entry.high, name
    ours, same, worse = compare_values({"ours": value, "same": value, "noise": noise}, label, resamples=200)
    assert ours.gini_behind is None
    assert same.gini_behind is not None
    assert (same.gini_behind.low, same.gini_behind.high) == (0, 0)
    assert worse.gini_behind is not None
    assert worse.deviance_behind is not None
    assert worse.gini_behind.low > 0
    assert worse.deviance_behind.low > 0
    assert worse.gini_behind.value == pytest.approx(normalised_gini(value, label) - normalised_gini(noise, label))


def test_the_table_of_tenths_and_the_gains() -> None:
    """Twenty rows, by hand: each tenth has two, and the amounts of the two rows of prediction 1 are shared."""
    value = np.array([1.0, 1.0, *np.arange(2, 20)])
    label = np.array([4.0, 0.0, *np.zeros(16), 6.0, 10.0])
    table = tenth_table(value, label, resamples=20)
    assert [one.predicted for one in table] == [1.0, *np.arange(2.5, 20, 2)]
    assert [one.actual.value for one in table] == [2.0, *[0.0] * 8, 8.0]
    assert [one.above_zero for one in table] == [0.5, *[0.0] * 8, 1.0]
    assert table[-1].share == pytest.approx(16 / 20)
    rows, found = gains(value, label)
    assert (rows[0], found[0], rows[-1], found[-1]) == (0, 0, 1, 1)
    assert np.interp([0.05, 0.1], rows, found) == pytest.approx([0.5, 0.8])


def test_the_deviance_is_least_at_the_mean() -> None:
    _, label = amounts(2_000, 3)
    tried = label.mean() * np.array([0.8, 0.95, 1.0, 1.05, 1.2])
    losses = [tweedie_deviances(np.full(2_000, one), label).mean() for one in tried]
    assert int(np.argmin(losses)) == 2
