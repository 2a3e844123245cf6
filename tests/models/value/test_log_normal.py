"""The zero-inflated log-normal end of the network, against scipy's distributions."""

from __future__ import annotations

import numpy as np
import torch
from ludocast.models.table.heads import HEADS, LEAST_DEVIATION
from ludocast.models.value.amounts import Line, log_means
from scipy import stats
from scipy.special import expit

ROWS = 200


def outputs() -> np.ndarray:
    """Log odds, mean of the log amount, and deviation before softplus, float64 [ROWS, 3]."""
    return np.random.default_rng(0).normal(0, 2, (ROWS, 3))


def test_the_loss_is_minus_the_log_likelihood_but_for_what_no_output_changes() -> None:
    out, generator = outputs(), np.random.default_rng(1)
    amount = np.where(generator.random(ROWS) < 0.4, generator.lognormal(0, 1, ROWS), 0.0)
    given = torch.from_numpy(np.stack([out, out[::-1]])), torch.from_numpy(np.log1p(np.stack([amount, amount])))
    found = HEADS["zero_inflated_log_normal"].losses(*given).numpy()
    for member, own in enumerate((out, out[::-1])):
        width = np.maximum(np.log1p(np.exp(own[:, 2])), LEAST_DEVIATION)
        pays = amount > 0
        wanted = -np.asarray(stats.bernoulli.logpmf(pays, expit(own[:, 0])))
        of_payers = stats.lognorm.logpdf(amount[pays], width[pays], scale=np.exp(own[pays, 1]))
        wanted[pays] -= of_payers + np.log(amount[pays]) + np.log(2 * np.pi) / 2
        np.testing.assert_allclose(found[member], wanted, rtol=1e-9, atol=1e-9)


def test_the_mean_of_payers_is_that_of_the_distribution_up_to_the_largest_amount() -> None:
    out = outputs()
    width = np.maximum(np.log1p(np.exp(out[:, 2])), LEAST_DEVIATION)
    wanted = stats.lognorm.mean(width, scale=np.exp(out[:, 1]))
    np.testing.assert_allclose(np.exp(log_means(out)[:, 0]), wanted, rtol=1e-12)
    found = Line(0.0, 1.0, 3.0).amounts(log_means(out))[:, 0]
    np.testing.assert_allclose(found, np.minimum(wanted, np.exp(3.0)), rtol=1e-12)
    assert (wanted > np.exp(3.0)).any()
