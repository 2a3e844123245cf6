"""Each linear model against a slow reading of its source."""

from __future__ import annotations

import numpy as np
import pytest
from ludocast.models.recommend.als import ImplicitALS
from ludocast.models.recommend.item_item import (
    EASE,
    ConditionalNeighbours,
    CosineNeighbours,
    NotFittedError,
    RP3Beta,
)
from ludocast.models.recommend.products import user_weights
from scipy import sparse

from tests.models.recommend.made import random_history

HISTORY = random_history()
X = HISTORY.toarray()
USERS, ITEMS = X.shape


@pytest.mark.parametrize(("power", "dropout"), [(0.0, 0.0), (0.5, 0.0), (0.5, 0.3), (1.0, 0.6)])
def test_ease_solves_each_items_weighted_ridge_without_itself(power: float, dropout: float) -> None:
    found = EASE(3.0, power, dropout).fit(HISTORY).weights
    assert isinstance(found, np.ndarray)
    n = X.sum(1)
    w = n**-power / (n**-power).mean()
    for j in range(ITEMS):
        others = [i for i in range(ITEMS) if i != j]
        penalty = 3.0 + dropout / (1 - dropout) * (w @ X[:, others])  # x² = x
        rows = np.vstack([np.sqrt(w)[:, None] * X[:, others], np.diag(np.sqrt(penalty))])
        target = np.concatenate([np.sqrt(w) * X[:, j], np.zeros(len(others))])
        wanted, *_ = np.linalg.lstsq(rows, target, rcond=None)
        np.testing.assert_allclose(found[others, j], wanted, rtol=1e-6, atol=1e-10)
        assert found[j, j] == 0


def test_conditional_is_the_share_of_an_items_users() -> None:
    found = ConditionalNeighbours(shrink=1.5).fit(HISTORY).weights
    assert isinstance(found, np.ndarray)
    for own in range(ITEMS):
        for item in range(ITEMS):
            both = sum(x[own] and x[item] for x in X)
            wanted = 0 if own == item else both / (X[:, own].sum() + 1.5)
            np.testing.assert_allclose(found[own, item], wanted, rtol=1e-6)


def test_edlae_is_the_mean_over_dropped_inputs() -> None:
    """Dropout by p of inputs scaled to their mean is, in expectation, the added penalty."""
    p, rounds = 0.3, 4000
    generator = np.random.default_rng(0)
    gram = X.T @ X
    total = np.zeros((ITEMS, ITEMS))
    for _ in range(rounds):
        dropped = X * (generator.random(X.shape) >= p) / (1 - p)
        total += dropped.T @ dropped
    np.testing.assert_allclose(np.diag(total / rounds), np.diag(gram) * (1 + p / (1 - p)), rtol=0.02)
    off = ~np.eye(ITEMS, dtype=bool)
    np.testing.assert_allclose((total / rounds)[off], gram[off], atol=0.25)


def test_user_weights_have_mean_one_and_leave_empty_users_out() -> None:
    history = sparse.csr_matrix(np.array([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]], float))
    np.testing.assert_allclose(user_weights(history, 0.5), np.array([0.5, 1.0, 0.0]) / 0.75)


def test_cosine_equals_loops() -> None:
    found = CosineNeighbours(shrink=2.0).fit(HISTORY).weights
    assert isinstance(found, np.ndarray)
    for i in range(ITEMS):
        for j in range(ITEMS):
            norm = np.linalg.norm(X[:, i]) * np.linalg.norm(X[:, j])
            assert found[i, j] == pytest.approx(0 if i == j else X[:, i] @ X[:, j] / (norm + 2.0))


def test_rp3beta_equals_walks() -> None:
    found = RP3Beta(0.8, 0.4).fit(HISTORY).weights
    assert isinstance(found, np.ndarray)
    n_u, n_i = X.sum(1), X.sum(0)
    for i in range(ITEMS):
        for j in range(ITEMS):
            walks = sum(
                (X[u, i] / n_i[i]) ** 0.8 * (X[u, j] / n_u[u]) ** 0.8 for u in range(USERS) if X[u, i] and X[u, j]
            )
            assert found[i, j] == pytest.approx(0 if i == j else walks / n_i[j] ** 0.4)


def test_als_is_where_its_objective_is_flat() -> None:
    """After many epochs no user's and no item's factors can be bettered: the gradient of the objective is 0."""
    penalty, alpha = 0.05, 0.3
    model = ImplicitALS(4, penalty, alpha, power=0.7, epochs=1500).fit(HISTORY)
    H = model.item_factors
    assert H is not None
    W = np.linalg.lstsq(H, model.scores(HISTORY).T, rcond=None)[0].T
    l_u = penalty * (X.sum(1) + alpha * ITEMS) ** 0.7
    l_i = penalty * (X.sum(0) + alpha * USERS) ** 0.7
    error = X * (W @ H.T - 1) + alpha * (W @ H.T)
    np.testing.assert_allclose(error @ H + l_u[:, None] * W, 0, atol=1e-6)
    np.testing.assert_allclose(error.T @ W + l_i[:, None] * H, 0, atol=1e-6)


def test_because_names_what_speaks_most_for_an_item() -> None:
    model = CosineNeighbours().fit(HISTORY)
    user = int(np.argmax(np.diff(HISTORY.indptr)))
    own = HISTORY[user].indices.tolist()
    item = next(i for i in range(ITEMS) if i not in own)
    assert isinstance(model.weights, np.ndarray)
    wanted = sorted(own, key=lambda i: (-model.weights[i, item], i))[:3]  # type: ignore[index]
    assert model.because(HISTORY[user], item).tolist() == [i for i in wanted if model.weights[i, item] > 0]


def test_a_bad_penalty_and_asking_too_early_are_refused() -> None:
    with pytest.raises(ValueError, match="a penalty above 0"):
        EASE(0.0)
    with pytest.raises(NotFittedError, match="RP3Beta has learnt nothing yet"):
        RP3Beta().scores(HISTORY)
