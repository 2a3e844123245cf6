"""New items: mixed of items alike, in proportion, and nothing is learnt from those that were held out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ludocast.models.recommend.item_item import EASE, CosineNeighbours, Popularity
from ludocast.models.recommend.new_item_choice import join_new_items, try_new_items
from ludocast.models.recommend.new_items import shares_of, with_new_items
from ludocast.models.recommend.products import owners
from ludocast.models.recommend.ranking import Recommender, recommend
from ludocast.models.recommend.rerank import Reranker, RerankSettings
from ludocast.models.recommend.signals import Signals
from ludocast.models.recommend.sparse_weights import SparseWeights
from scipy import sparse

from tests.models.recommend.made import random_history

HISTORY = random_history(120, 40)
# The parity that the tastes go by, and noise.
NOISE = np.random.default_rng(0).normal(size=(40, 3)) * 0.2
FEATURES = sparse.csr_matrix(np.hstack([np.eye(2)[np.arange(40) % 2], NOISE]))


def test_shares_are_those_of_the_ridge_regression_over_items() -> None:
    popularity = owners(HISTORY)[:30]
    old, new = FEATURES[:30], FEATURES[30:]
    K, k = (old @ old.T).toarray(), (old @ new.T).toarray()
    wanted = np.linalg.solve(K + np.diag(3.0 / popularity), k)
    np.testing.assert_allclose(shares_of(new, old, popularity, 3.0), wanted, atol=1e-9)


def test_weights_of_a_new_item_by_hand() -> None:
    model = CosineNeighbours()
    model.weights = np.array([[0, 0.5, 0.1], [0.5, 0, 0.2], [0.1, 0.2, 0]], np.float32)
    model.popularity = np.array([4.0, 2.0, 1.0])
    found = with_new_items(model, np.array([[0.75], [0.25], [0.0]]), own=0.5, scale=0.5)
    assert isinstance(found.weights, np.ndarray)
    # Towards it: 0.75 of column 0 with an own weight of 0.25, and 0.25 of column 1 with 0.25; halved.
    towards = [0.5 * (0.75 * 0.25 + 0.25 * 0.5), 0.5 * (0.75 * 0.5 + 0.25 * 0.25), 0.5 * (0.75 * 0.1 + 0.25 * 0.2)]
    np.testing.assert_allclose(found.weights[:3, 3], towards, rtol=1e-6)
    np.testing.assert_allclose(found.weights[3], [0.25 * 0.5, 0.75 * 0.5, 0.75 * 0.1 + 0.25 * 0.2, 0], rtol=1e-6)
    np.testing.assert_array_equal(found.weights[:3, :3], model.weights)
    assert found.popularity is not None
    np.testing.assert_allclose(found.popularity, [4, 2, 1, 0.5 * 3.5])
    assert model.weights.shape == (3, 3)


def test_a_twin_of_an_item_goes_to_those_whom_the_item_suits() -> None:
    shares = shares_of(FEATURES[[4, 7]], FEATURES, owners(HISTORY), 1.0)
    wide = with_new_items(EASE(5.0).fit(HISTORY), shares, 0.5, 1.0)
    history = sparse.csr_matrix((HISTORY.data, HISTORY.indices, HISTORY.indptr), (120, 42))
    scores = wide.scores(history)
    even = np.arange(120) % 2 == 0
    assert scores[even, 40].mean() > scores[even, 41].mean()
    assert scores[~even, 41].mean() > scores[~even, 40].mean()


def test_tastes_are_found_by_attributes_and_held_out_pairs_change_no_choice() -> None:
    tried = try_new_items(lambda: EASE(5.0), HISTORY, lambda _: FEATURES)
    assert tried[0].kind == "weights"
    assert tried[0].test is not None
    assert tried[0].test["ndcg@10"].value > max(one.test["ndcg@10"].value for one in tried[1:] if one.test is not None)
    test = np.random.default_rng(0).permutation(40)[:8]
    other = HISTORY.toarray()
    other[:, test] = other[::-1, test]
    again = try_new_items(lambda: EASE(5.0), sparse.csr_matrix(other), lambda _: FEATURES)
    assert [(one.kind, one.settings, one.validation) for one in tried] == [
        (one.kind, one.settings, one.validation) for one in again
    ]
    assert tried[0].test != again[0].test


def test_too_few_items_are_refused() -> None:
    with pytest.raises(ValueError, match="12 items have both attributes and pairs; 20 or more"):
        try_new_items(Popularity, sparse.csr_matrix(HISTORY[:, :12]), lambda _: FEATURES[:12])


@pytest.mark.parametrize("name", ["popularity", "ease", "reranker"])
def test_new_items_are_shown_but_no_more_than_they_would_be_bought(name: str) -> None:
    known = sparse.csr_matrix(HISTORY[:, :32])
    signals = Signals({"ease": EASE(5.0), "cosine": CosineNeighbours()}, candidates=20)
    makers: dict[str, Callable[[], Recommender]] = {
        "popularity": Popularity, "ease": lambda: EASE(5.0), "reranker": lambda: Reranker(signals, RerankSettings(epochs=2))
    }  # fmt: skip
    model = makers[name]().fit(known)
    way = try_new_items(lambda: EASE(5.0), known, lambda _: FEATURES[:32])[0]
    shares = shares_of(FEATURES[32:], FEATURES[:32], owners(known), way.settings.penalty)
    joined = join_new_items(model, way, known, shares)
    assert 0 <= joined.shown <= joined.expected < 0.5
    wide = sparse.csr_matrix((known.data, known.indices, known.indptr), (120, 40))
    items, _ = recommend(joined.model, wide, 40)
    if name == "ease":
        assert joined.shown > 0
    assert sorted(set(items.ravel().tolist()) - {-1}) == list(range(40))


def test_sparse_weights_are_the_greatest_of_the_dense_ones() -> None:
    known = sparse.csr_matrix(HISTORY[:, :32])
    shares = shares_of(FEATURES[32:], FEATURES[:32], owners(known), 3.0)
    dense, few = (
        with_new_items(model.fit(known), shares, 0.5, 0.7).weights
        for model in (CosineNeighbours(), CosineNeighbours(neighbours=32))
    )
    assert isinstance(dense, np.ndarray)
    assert isinstance(few, SparseWeights)
    width = few.sources.shape[1]
    wanted = dense.copy()
    wanted[32:] = 0  # a new item speaks for nothing
    for new in range(32, 40):
        wanted[np.argsort(-np.abs(wanted[:, new]))[width:], new] = 0
    np.testing.assert_allclose(few.outgoing.toarray(), wanted, rtol=1e-5, atol=1e-7)
