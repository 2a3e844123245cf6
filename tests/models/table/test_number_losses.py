"""Losses of numbers: by scikit-learn's measures, by what is least, and the intervals that come with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from ludocast.models.fitted import FittedNumbers
from ludocast.models.number_loss import LossName, NumberLoss
from ludocast.models.number_metrics import compare_numbers, number_metrics
from ludocast.models.table.frame import fit_frame, predict_frame
from ludocast.models.table.heads import head_of
from ludocast.models.table.linear import fit_quantile_line
from scipy import sparse
from sklearn.linear_model import QuantileRegressor
from sklearn.metrics import (
    mean_absolute_error,
    mean_pinball_loss,
    mean_poisson_deviance,
    mean_squared_error,
    mean_tweedie_deviance,
)

NAMES = get_args(LossName)
BY_SCIKIT_LEARN: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "squared": mean_squared_error,
    "absolute": mean_absolute_error,
    "quantile": lambda label, value: mean_pinball_loss(label, value, alpha=0.8),
    "poisson": mean_poisson_deviance,
    "tweedie": lambda label, value: mean_tweedie_deviance(label, value, power=1.5),
}


def predicted(rows: int = 200) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    value = generator.gamma(2.0, 1.0, rows)
    return value, generator.poisson(value).astype(np.float64)


@pytest.mark.parametrize("name", NAMES)
def test_measures_are_those_of_scikit_learn(name: LossName) -> None:
    value, label = predicted()
    loss = NumberLoss(name, 0.8)
    wanted = BY_SCIKIT_LEARN[name](label, value)
    assert loss.of_scores(value[:, None], label) == pytest.approx(wanted)
    shown = wanted**0.5 if name == "squared" else wanted
    # Labels that were divided by 4, told in their own unit.
    assert loss.in_unit(loss.of_scores(value[:, None] / 4, label / 4), 4.0) == pytest.approx(shown)
    bounds = np.column_stack([value - 1, value + 1])
    assert number_metrics(value, bounds, label, loss=loss, resamples=50)[loss.measure].value == pytest.approx(shown)
    _, other = compare_numbers({"ours": value, "other": value + 1}, label, loss=loss, resamples=50)
    if name != "squared":
        assert other.loss is not None
        assert other.loss_behind is not None
        assert other.loss.value == pytest.approx(BY_SCIKIT_LEARN[name](label, value + 1))
        assert other.loss_behind.value == pytest.approx(other.loss.value - wanted)


@pytest.mark.parametrize(
    ("name", "factor"), [("squared", 1), ("absolute", 0.5), ("quantile", 1), ("poisson", 0.5), ("tweedie", 0.5)]
)
def test_the_network_is_trained_by_the_same_loss(name: LossName, factor: float) -> None:
    """But for a factor, and what no output changes."""
    value, label = predicted()
    loss = NumberLoss(name, 0.8)
    head = head_of({"classes": 0, "loss": name, "quantile": 0.8})
    out = [np.log(one) if loss.is_of_amounts else one for one in (value, 2 * value)]
    first, second = (head.losses(torch.tensor(one)[None, :, None], torch.tensor(label)[None])[0].numpy() for one in out)
    wanted = factor * (loss.of_rows(value, label) - loss.of_rows(2 * value, label))
    np.testing.assert_allclose(first - second, wanted, atol=1e-9)


def test_a_line_of_a_quantile_is_that_of_the_linear_program() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(500, 4))
    y = x @ [1.0, -0.5, 0.25, 0.0] + (1 + 0.5 * x[:, 0]) * generator.standard_t(4, 500)
    y = (y - y.mean()) / y.std()
    weight, bias = fit_quantile_line(sparse.csr_matrix(x), y, 0.9, 1e6)
    exact = QuantileRegressor(quantile=0.9, alpha=0).fit(x, y)
    ours, wanted = (mean_pinball_loss(y, value, alpha=0.9) for value in (x @ weight + bias, exact.predict(x)))
    assert wanted <= ours < 1.002 * wanted
    np.testing.assert_allclose(weight, exact.coef_, atol=0.05)


def made(kind: str, rows: int, seed: int) -> pd.DataFrame:
    """Counts, numbers with a heavy tail, or amounts with one of which a third is 0; or a line with noise."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame({f"x{k}": generator.normal(size=rows) for k in range(3)})
    frame["group"] = generator.choice(["a", "b", "c"], rows)
    mean = np.exp(0.9 * frame["x0"] - 0.6 * frame["x1"] + (frame["group"] == "b"))
    if kind == "noise":
        frame["y"] = frame["x0"] + generator.standard_t(4, rows)
    elif kind == "counts":
        frame["y"] = generator.poisson(3 * mean)
    else:
        frame["y"] = mean * np.exp(generator.normal(0, 1.2, rows))
        if kind == "amounts":
            frame["y"] *= generator.random(rows) < 2 / 3
    return frame


@pytest.mark.parametrize(
    ("kind", "name"), [("counts", "poisson"), ("amounts", "tweedie"), ("tails", "absolute"), ("noise", "quantile")]
)
def test_intervals_of_counts_and_heavy_tails_hold_what_they_promise(kind: str, name: LossName) -> None:
    loss = NumberLoss(name, 0.99)  # of which no interval on both sides leaves out 5 % above
    fitted = fit_frame(made(kind, 4_000, 0), "y", task="regression", names=("linear",), loss=loss).model
    assert isinstance(fitted, FittedNumbers)
    new = made(kind, 20_000, 1)
    value = predict_frame(fitted, new)
    low, high = fitted.bounds(value).T
    inside = (low <= new["y"]) & (new["y"] <= high)
    assert 0.88 < inside.mean() < 0.92
    for part in np.array_split(np.argsort(value), 5):
        assert 0.84 < inside.to_numpy()[part].mean() < 0.96
    if loss.is_of_amounts:
        assert value.min() > 0
        assert low.min() >= 0
