"""Ranked items: equal to a full sort, of ties the first item, never an excluded one."""

from __future__ import annotations

import numpy as np
import pytest
from ludocast.models.recommend import best_items, item_item, kernels, ranking
from ludocast.models.recommend.item_item import EASE, CosineNeighbours, ItemItem, Popularity, RP3Beta
from ludocast.models.recommend.ranking import NOBODY, rank_all, recommend, top_items
from ludocast.models.recommend.rerank import Reranker, RerankSettings
from ludocast.models.recommend.signals import Signals
from scipy import sparse

from tests.models.recommend.made import random_history


@pytest.mark.parametrize("k", [1, 3, 9, 40])
def test_equals_a_sort_of_each_user_with_many_ties(k: int) -> None:
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 4, (50, 12)).astype(np.float64)
    excluded = sparse.csr_matrix(generator.random((50, 12)) < 0.3)
    items, found = top_items(scores, k, excluded)
    assert items.shape == (50, min(k, 12))
    for user in range(50):
        own = [item for item in range(12) if not excluded[user, item]]
        wanted = sorted(own, key=lambda item: (-scores[user, item], item))[:k]
        assert items[user].tolist() == wanted + [NOBODY] * (min(k, 12) - len(wanted))
        assert found[user, : len(wanted)].tolist() == [scores[user, item] for item in wanted]


def test_a_user_with_all_items_gets_none() -> None:
    items, scores = top_items(np.ones((1, 3)), 5, sparse.csr_matrix(np.ones((1, 3))))
    assert items.tolist() == [[NOBODY] * 3]
    assert np.isneginf(scores).all()


def test_scores_are_not_written_to() -> None:
    scores = np.ones((1, 3))
    top_items(scores, 1, sparse.csr_matrix(np.ones((1, 3))))
    assert scores.tolist() == [[1, 1, 1]]


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    history = random_history()
    model = Popularity().fit(history)
    whole = recommend(model, history, 5)
    monkeypatch.setattr(ranking, "BATCH_SCORES", 7 * history.shape[1])
    for one, other in zip(whole, recommend(model, history, 5), strict=True):
        np.testing.assert_array_equal(one, other)
    none = recommend(model, history[:0], 5)
    assert none[0].shape == (0, 5)


def test_k_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="1 item or more is ranked, got 0"):
        top_items(np.ones((1, 3)), 0)


@pytest.mark.parametrize(
    "model",
    [
        CosineNeighbours(4),
        CosineNeighbours(20),
        EASE(3.0, 0.5, neighbours=8),
        Popularity(),
        EASE(3.0),
        CosineNeighbours(),
        RP3Beta(),
    ],
)
@pytest.mark.parametrize("k", [1, 5, 60])
def test_the_best_without_all_scores_are_the_best_of_all(
    model: ItemItem | Popularity, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short histories whose items speak for fewer than k, equal cosines, no history, all items."""
    history = random_history(150, 60, 0.05)
    model.fit(history)
    asked = sparse.csr_matrix(np.vstack([history.toarray(), np.zeros((1, 60)), np.ones((1, 60))]))
    wanted = rank_all(model, asked, k)
    with_kernels = recommend(model, asked, k)
    monkeypatch.setattr(kernels, "extension", lambda: None)
    np.testing.assert_array_equal(with_kernels[0], wanted[0])
    np.testing.assert_allclose(with_kernels[1], wanted[1], rtol=1e-12)
    for products, dense in ((best_items.BATCH_PRODUCTS, 0), (50, 0), (50, 60)):
        monkeypatch.setattr(item_item, "DENSE_FASTER", dense)
        monkeypatch.setattr(best_items, "BATCH_PRODUCTS", products)
        items, scores = recommend(model, asked, k)
        np.testing.assert_array_equal(items, wanted[0])
        np.testing.assert_allclose(scores, wanted[1], rtol=1e-12)


def test_the_reranker_ranks_its_candidates_as_all_items() -> None:
    signals = Signals({"ease": EASE(5.0, 0.5, neighbours=9), "cosine": CosineNeighbours(9)}, candidates=12)
    history = random_history(150, 60, 0.05)
    model = Reranker(signals, RerankSettings(epochs=1, draws=1)).fit(history)
    asked = sparse.csr_matrix(np.vstack([history.toarray(), np.zeros((1, 60)), np.ones((1, 60))]))
    for k in (4, 12, 20):
        items, scores = recommend(model, asked, k)
        wanted = rank_all(model, asked, k)
        np.testing.assert_array_equal(items, wanted[0])
        np.testing.assert_allclose(scores, wanted[1], rtol=1e-9)
