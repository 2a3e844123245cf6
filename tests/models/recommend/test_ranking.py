"""Ranked items: equal to a full sort, of ties the first item, never an excluded one."""

from __future__ import annotations

import numpy as np
import pytest
from ludocast.models.recommend import ranking
from ludocast.models.recommend.item_item import Popularity
from ludocast.models.recommend.ranking import NOBODY, recommend, top_items
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
