"""Prediction intervals: they hold what they promise, neighbourhood by neighbourhood, on rows of a known law."""

from __future__ import annotations

import numpy as np
import pytest
from ludocast.models.conformal import Interval, fit_interval, lowest_of_many


def within(interval: Interval, score: np.ndarray, label: np.ndarray, lowest: float = -np.inf) -> np.ndarray:
    score = np.maximum(score, lowest)
    lower, upper = score + interval.offsets(score).T
    return np.asarray((np.maximum(lower, lowest) <= label) & (label <= upper))


def test_intervals_hold_what_they_promise_where_the_noise_grows() -> None:
    """90 % of new rows, in each fifth of the predictions as well, of errors that grow tenfold along them."""
    generator = np.random.default_rng(0)

    def rows(count: int) -> tuple[np.ndarray, np.ndarray]:
        score = generator.uniform(0, 1, count)
        return score, score + (0.1 + 0.9 * score) * generator.normal(size=count)

    interval = fit_interval(*rows(4_000))
    score, label = rows(20_000)
    inside = within(interval, score, label)
    assert 0.88 < inside.mean() < 0.92
    for part in np.array_split(np.argsort(score), 5):
        assert 0.86 < inside[part].mean() < 0.94


@pytest.mark.parametrize("is_told", [False, True])
@pytest.mark.parametrize("kind", ["counts", "amounts with many zeros", "scores below the zeros", "noise that grows"])
@pytest.mark.parametrize("rows", [900, 4_000])
def test_intervals_hold_no_more_than_they_promise(kind: str, rows: int, is_told: bool) -> None:
    """The lower bound of a count lies along a line; interpolated between neighbourhoods it used to hold 95 %."""
    held = []
    for seed in range(20):
        g = np.random.default_rng(seed)
        x = g.normal(size=rows + 4_000)
        if kind == "counts":
            score = 0.3 + 2.7 / (1 + np.exp(-x))
            label = g.poisson(score).astype(float)
        elif kind == "amounts with many zeros":
            score = 0.4 * np.exp(x)
            label = np.where(g.random(len(x)) < 0.4, np.exp(x + 0.3 * g.normal(size=len(x))), 0.0)
        elif kind == "scores below the zeros":
            score, label = x, np.maximum(x + np.exp(x / 2) * g.normal(size=len(x)), 0)
        else:
            score, label = x, x + np.exp(x) * g.normal(size=len(x))
        lowest = lowest_of_many(label[:rows]) if is_told else -np.inf
        interval = fit_interval(score[:rows], label[:rows], lowest=lowest)
        held.append(within(interval, score[rows:], label[rows:], lowest).mean())
    assert 0.895 < np.mean(held) < 0.915


def test_a_lowest_label_that_many_have_is_within_in_each_tenth() -> None:
    """A third of the amounts is 0, a line across a neighbourhood: offsets alone hold 81 to 95 % of a tenth."""
    told: list[list[float]] = []
    untold: list[list[float]] = []
    lower, widths = [], []
    for seed in range(10):
        generator = np.random.default_rng(seed)
        score = np.exp(0.8 * generator.normal(size=14_000))
        paid = generator.random(len(score)) < 2 / 3
        label = 1.5 * score * np.exp(1.2 * generator.normal(size=len(score)) - 0.72) * paid
        known, new = (score[:4_000], label[:4_000]), (score[4_000:], label[4_000:])
        assert lowest_of_many(known[1]) == 0
        tenths = np.array_split(np.argsort(new[0]), 10)
        both = [fit_interval(*known, lowest=lowest) for lowest in (0.0, -np.inf)]
        for shares, interval, lowest in zip((told, untold), both, (0.0, -np.inf), strict=True):
            inside = within(interval, *new, lowest)
            shares.append([float(inside[part].mean()) for part in tenths])
        bounds = [new[0][:, None] + one.offsets(new[0]) for one in both]
        lower.append(np.maximum(bounds[0][:, 0], 0).max())
        widths.append([(bounds[0][:, 1]).mean(), (bounds[1][:, 1] - bounds[1][:, 0]).mean()])
    assert 0.88 < np.mean(told, axis=0).min() < np.mean(told, axis=0).max() < 0.92
    assert np.mean(untold, axis=0).min() < 0.85
    assert max(lower) == 0
    narrow, wide = np.mean(widths, axis=0)
    assert narrow < 0.7 * wide


def test_the_rank_leaves_out_above_what_it_cannot_below() -> None:
    """Of 39 rows with 5 zeros, 2 may be left out below: none is, and 4 above, so the upper bound is the 36th."""
    label = np.concatenate([np.zeros(5), np.arange(1.0, 35)])
    interval = fit_interval(np.full(39, 3.0), label, lowest=0.0)
    lower, upper = 3 + interval.offsets(np.array([3.0]))[0]
    assert max(lower, 0) == 0
    assert upper == label[35]


def test_the_lowest_label_counts_where_many_rows_have_it_and_is_no_higher_as_float32() -> None:
    assert lowest_of_many(np.array([0.1, *range(1, 20)])) == np.nextafter(np.float32(0.1), np.float32(-1))
    assert lowest_of_many(np.array([0.5, 0.5, *range(1, 50)])) == 0.5
    assert lowest_of_many(np.array([0.5, *range(1, 60)])) == -np.inf


def test_an_interval_of_few_rows_is_that_of_the_ranks() -> None:
    """Of 39 rows the 5 % rank is ⌊40 · 0.05⌋ = 2: the second lowest and the second highest residual."""
    score = np.zeros(39)
    interval = fit_interval(score, np.arange(39.0) - 19)
    assert interval.offsets(np.array([0.0])).tolist() == [[-18.0, 18.0]]
