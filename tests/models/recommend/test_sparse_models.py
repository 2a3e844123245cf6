"""Item-item models of few neighbours: equal to the dense ones where all are neighbours, to slow loops where few are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ludocast.models.recommend import item_item, memory, products
from ludocast.models.recommend.item_item import (
    EASE,
    ConditionalNeighbours,
    CosineNeighbours,
    ItemItem,
    RP3Beta,
    fit_together,
)
from ludocast.models.recommend.products import Products, user_weights
from ludocast.models.recommend.sparse_weights import SparseWeights
from scipy import sparse

from tests.models.recommend.made import random_history

HISTORY = random_history(200, 40)
X = HISTORY.toarray()
ITEMS = X.shape[1]
Make = Callable[[int | None], ItemItem]
MAKERS: dict[str, Make] = {
    "ease": lambda k: EASE(3.0, neighbours=k),
    "ease, users weighted": lambda k: EASE(3.0, 0.5, neighbours=k),
    "edlae": lambda k: EASE(3.0, 0.3, 0.2, neighbours=k),
    "cosine": lambda k: CosineNeighbours(k, 2.0),
    "conditional": ConditionalNeighbours,
    "walks": lambda k: RP3Beta(0.8, 0.4, k),
}
each = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def gram(power: float) -> np.ndarray:
    return np.asarray(X.T * user_weights(HISTORY, power) @ X)


def nearest(strength: np.ndarray, item: int, count: int) -> list[int]:
    """The strongest others that have any user in common, of equal ones the first."""
    near = [i for i in range(ITEMS) if i != item and strength[i] > 0]
    return sorted(near, key=lambda i: (-strength[i], i))[:count]


@each
def test_all_neighbours_are_the_dense_model(make: Make) -> None:
    history = random_history(600, 40, 0.4)
    assert ((history.T @ history).toarray() > 0).all()  # an item with no user in common is nobody's neighbour
    few, dense = make(ITEMS - 1).fit(history), make(None).fit(history)
    assert isinstance(few.weights, SparseWeights)
    assert isinstance(dense.weights, np.ndarray)
    np.testing.assert_allclose(few.weights.outgoing.toarray(), dense.weights, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(few.scores(history), dense.scores(history), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_kept_products_are_the_strongest_in_whatever_blocks(power: float, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Products(HISTORY, 9).cosine(power)
    monkeypatch.setattr(products, "BLOCK_ENTRIES", 3 * ITEMS)
    for kept in (whole, Products(HISTORY, 9).cosine(power)):
        G = gram(power)
        cosine = G / np.sqrt(np.outer(np.diag(G), np.diag(G)))
        np.testing.assert_allclose(kept.own, np.diag(G))
        for item in range(ITEMS):
            wanted = nearest(np.round(cosine[item], 12), item, 9)
            assert kept.items[item].tolist() == wanted + [ITEMS] * (9 - len(wanted))
            np.testing.assert_allclose(kept.values[item, : len(wanted)], G[item, wanted])
            assert kept.limit[item] == pytest.approx(cosine[item, wanted[-1]] if len(wanted) == 9 else 0)


def test_ease_regresses_each_item_on_its_nearest() -> None:
    """Products that no one kept are those of independent items, at most as strong as the weakest kept one."""
    found = EASE(3.0, 0.5, 0.2, neighbours=6).fit(HISTORY).weights
    assert isinstance(found, SparseWeights)
    G = gram(0.5)
    own = np.diag(G)
    cosine = G / np.sqrt(np.outer(own, own))
    near = [nearest(np.round(cosine[j], 12), j, 6 * item_item.KEPT) for j in range(ITEMS)]
    limit = [cosine[j, near[j][-1]] if len(near[j]) == 6 * item_item.KEPT else 0.0 for j in range(ITEMS)]
    imputed = 0
    for j in range(ITEMS):
        S = near[j][:6]
        A = G[np.ix_(S, S)].copy()
        for a, b in [(a, b) for a in range(6) for b in range(6) if a != b]:
            if S[a] not in near[S[b]] and S[b] not in near[S[a]]:
                length = np.sqrt(own[S[a]] * own[S[b]])
                A[a, b] = length * min(length / user_weights(HISTORY, 0.5).sum(), limit[S[a]], limit[S[b]])
                imputed += 1
        wanted = np.linalg.solve(A + np.diag(0.25 * own[S] + 3.0), G[S, j])
        np.testing.assert_allclose(found.outgoing.toarray()[S, j], wanted, rtol=1e-5, atol=1e-8)
        assert sorted(S) == found.sources[j].tolist()
    assert imputed > 20


@pytest.mark.parametrize("kind", ["cosine", "walks"])
def test_few_neighbours_are_the_strongest_of_all(kind: str) -> None:
    few = (CosineNeighbours(4) if kind == "cosine" else RP3Beta(neighbours=4)).fit(HISTORY).weights
    every = (CosineNeighbours() if kind == "cosine" else RP3Beta()).fit(HISTORY).weights
    assert isinstance(few, SparseWeights)
    assert isinstance(every, np.ndarray)
    for j in range(ITEMS):
        wanted = np.zeros(ITEMS)
        of = nearest(every[:, j], j, 4)
        wanted[of] = every[of, j]
        np.testing.assert_allclose(few.outgoing.toarray()[:, j], wanted, rtol=1e-6)


@each
def test_some_scores_are_those_of_all(make: Make) -> None:
    model = make(5).fit(HISTORY)
    asked = sparse.vstack([HISTORY, sparse.csr_matrix((1, ITEMS))], format="csr")
    items = np.random.default_rng(0).integers(0, ITEMS, (asked.shape[0], 7))
    wanted = np.take_along_axis(model.scores(asked), items, 1)
    np.testing.assert_allclose(model.scores_of(asked, items), wanted, rtol=1e-9, atol=1e-12)


def test_models_fitted_together_are_those_fitted_alone() -> None:
    together: list[ItemItem] = [make(k) for make in MAKERS.values() for k in (4, 7, None)]
    fit_together(together, HISTORY)
    for model, (make, k) in zip(together, ((make, k) for make in MAKERS.values() for k in (4, 7, None)), strict=True):
        alone = make(k).fit(HISTORY)
        assert isinstance(model.weights, SparseWeights) == (k is not None)
        if isinstance(model, EASE) and k == 4:
            continue  # the larger number keeps more products, so fewer are imputed
        np.testing.assert_allclose(model.scores(HISTORY), alone.scores(HISTORY), rtol=1e-6, atol=1e-7)


@each
def test_without_room_for_a_dense_matrix_it_is_sparse(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_ITEMS", ITEMS - 1)
    monkeypatch.setattr(item_item, "NEIGHBOURS", 5)
    model = make(None).fit(HISTORY)
    assert isinstance(model.weights, SparseWeights)
    assert model.weights.sources.shape == (ITEMS, 5)


def test_room_follows_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_bytes", lambda: 48 * 2 * 5_000**2)
    assert memory.dense_items() == 5_000
    monkeypatch.setattr(memory, "memory_bytes", lambda: 1 << 50)
    assert memory.dense_items() == 12_000


def test_bad_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match="1 neighbour or more, got 0"):
        CosineNeighbours(0)
