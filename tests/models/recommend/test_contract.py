"""What every recommender does alike."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ludocast.models.recommend.als import ImplicitALS
from ludocast.models.recommend.item_item import EASE, ConditionalNeighbours, CosineNeighbours, Popularity, RP3Beta
from ludocast.models.recommend.products import owners
from ludocast.models.recommend.ranking import Recommender, recommend
from ludocast.models.recommend.rerank import Reranker, RerankSettings
from ludocast.models.recommend.signals import Signals
from ludocast.recipes.recommend_bundle import write_recommend_bundle
from ludocast.serve.manifest_sequences import PairColumns
from ludocast.serve.scorer import Scorer
from scipy import sparse

from tests.models.recommend.made import checkerboard, random_history


def reranker(few: int | None = None) -> Reranker:
    found = {"ease": EASE(5.0, 0.5, neighbours=few), "cosine": CosineNeighbours(few), "walks": RP3Beta(neighbours=few)}
    return Reranker(Signals(found, candidates=15, told=("ease", "cosine")), RerankSettings(epochs=8, batch=16))


LINEAR: dict[str, Callable[[], Recommender]] = {
    "cosine": CosineNeighbours,
    "rp3beta": RP3Beta,
    "conditional": ConditionalNeighbours,
    "als": lambda: ImplicitALS(8),
    "ease": lambda: EASE(5.0),
    "ease, users weighted": lambda: EASE(5.0, 0.5),
    "edlae": lambda: EASE(5.0, 0.5, 0.3),
    "ease, few neighbours": lambda: EASE(5.0, 0.5, neighbours=11),
    "cosine, few neighbours": lambda: CosineNeighbours(11),
    "conditional, few neighbours": lambda: ConditionalNeighbours(11),
    "walks, few neighbours": lambda: RP3Beta(neighbours=11),
}
PERSONAL: dict[str, Callable[[], Recommender]] = {
    **LINEAR, "reranker": reranker, "reranker, few neighbours": lambda: reranker(11),
}  # fmt: skip
ALL: dict[str, Callable[[], Recommender]] = {"popularity": Popularity, **PERSONAL}
HISTORY = random_history()
each = pytest.mark.parametrize("make", ALL.values(), ids=ALL.keys())


@pytest.mark.parametrize("make", PERSONAL.values(), ids=PERSONAL.keys())
def test_finds_what_is_missing_on_a_checkerboard(make: Callable[[], Recommender]) -> None:
    history, missing = checkerboard()
    items, _ = recommend(make().fit(history), history, 1)
    assert items[:, 0].tolist() == missing.tolist()


@each
def test_a_batch_answers_as_single_users_do(make: Callable[[], Recommender]) -> None:
    model = make().fit(HISTORY)
    items, scores = recommend(model, HISTORY, 6)
    for user in range(HISTORY.shape[0]):
        one, score = recommend(model, HISTORY[user], 6)
        np.testing.assert_array_equal(one[0], items[user])
        np.testing.assert_allclose(score[0], scores[user], rtol=1e-5, atol=1e-6)


@each
def test_the_order_of_users_changes_nothing(make: Callable[[], Recommender]) -> None:
    order = np.random.default_rng(0).permutation(HISTORY.shape[0])
    model = make().fit(HISTORY)
    again = model if isinstance(model, Reranker) else make().fit(HISTORY[order])  # which pairs it hides is drawn
    np.testing.assert_allclose(again.scores(HISTORY[order]), model.scores(HISTORY)[order], rtol=1e-4, atol=1e-6)


# Of equally near neighbours those that come first in the catalogue count, where few do.
OF_NO_ORDER = [name for name in ALL if name != "als" and "reranker" not in name and "few" not in name]


@pytest.mark.parametrize("make", [ALL[name] for name in OF_NO_ORDER], ids=OF_NO_ORDER)
def test_the_order_of_items_changes_nothing(make: Callable[[], Recommender]) -> None:
    order = np.random.default_rng(0).permutation(HISTORY.shape[1])
    turned = sparse.csr_matrix(HISTORY[:, order])
    turned.sort_indices()
    found = make().fit(turned).scores(turned)
    np.testing.assert_allclose(found, make().fit(HISTORY).scores(HISTORY)[:, order], atol=1e-9)


@each
def test_owned_items_are_never_suggested_and_k_may_exceed_the_catalogue(make: Callable[[], Recommender]) -> None:
    items, _ = recommend(make().fit(HISTORY), HISTORY, 1_000)
    assert items.shape == HISTORY.shape
    for user in range(len(items)):
        shown = items[user][items[user] >= 0]
        assert sorted([*shown, *HISTORY[user].indices]) == list(range(HISTORY.shape[1]))


@each
def test_owned_items_are_ranked_too_where_that_is_wanted(make: Callable[[], Recommender]) -> None:
    items, _ = recommend(make().fit(HISTORY), HISTORY, 1_000, exclude_owned=False)
    assert (np.sort(items, axis=1) == np.arange(HISTORY.shape[1])).all()


@each
def test_no_history_gets_what_most_have(make: Callable[[], Recommender]) -> None:
    items, _ = recommend(make().fit(HISTORY), sparse.csr_matrix((1, HISTORY.shape[1])), 5)
    owners = HISTORY.toarray().sum(0)
    assert items[0].tolist() == sorted(range(len(owners)), key=lambda item: (-owners[item], item))[:5]


@each
def test_a_user_with_all_items_gets_an_empty_list(make: Callable[[], Recommender]) -> None:
    items, _ = recommend(make().fit(HISTORY), sparse.csr_matrix(np.ones((1, HISTORY.shape[1]))), 3)
    assert items.tolist() == [[-1, -1, -1]]


@each
def test_equal_seeds_give_equal_results(make: Callable[[], Recommender]) -> None:
    np.testing.assert_array_equal(make().fit(HISTORY).scores(HISTORY), make().fit(HISTORY).scores(HISTORY))


@each
def test_an_item_of_nobody_and_a_user_of_nothing_do_no_harm(make: Callable[[], Recommender]) -> None:
    dense = HISTORY.toarray()
    dense[:, 3], dense[5] = 0, 0
    history = sparse.csr_matrix(dense)
    assert np.isfinite(make().fit(history).scores(history)).all()


@each
def test_what_is_excluded_is_never_suggested(make: Callable[[], Recommender]) -> None:
    model = make().fit(HISTORY)
    excluded = np.random.default_rng(2).random(HISTORY.shape) < 0.4
    excluded[7] = True
    items, _ = recommend(model, HISTORY, 1_000, excluded=sparse.csr_matrix(excluded))
    for row, wanted in zip(items, ~excluded, strict=True):
        assert sorted(row[row >= 0]) == np.flatnonzero(wanted).tolist()


def test_factors_in_another_order_of_items_change_nothing() -> None:
    """The first factors are drawn by item, so the model is fitted once, and its items are turned."""
    order = np.random.default_rng(0).permutation(HISTORY.shape[1])
    model = ImplicitALS(8).fit(HISTORY)
    assert model.item_factors is not None
    assert model.popularity is not None
    turned = ImplicitALS(8)
    turned.item_factors, turned.popularity = model.item_factors[order], model.popularity[order]
    np.testing.assert_allclose(
        turned.scores(sparse.csr_matrix(HISTORY[:, order])), model.scores(HISTORY)[:, order], atol=1e-9
    )


def test_a_network_in_another_order_of_items_changes_nothing() -> None:
    """Which pairs it hides is drawn, so it learns once, and its signals are fitted on the turned history."""
    order = np.random.default_rng(0).permutation(HISTORY.shape[1])
    signals = Signals({"ease": EASE(5.0, 0.5), "other": EASE(80.0)}, candidates=15)  # of no equal scores
    model = Reranker(signals, RerankSettings(epochs=2, batch=16)).fit(HISTORY)
    turned = copy.deepcopy(model)
    history = sparse.csr_matrix(HISTORY[:, order])
    history.sort_indices()
    turned.signals.fit(history)
    np.testing.assert_allclose(turned.scores(history), model.scores(HISTORY)[:, order], atol=1e-6)


@each
def test_a_bundle_answers_as_the_model_does(make: Callable[[], Recommender], tmp_path: Path) -> None:
    model = make().fit(HISTORY)
    ids = np.array([f"item {k:02d}" for k in range(HISTORY.shape[1])], object)
    told: Any = (tmp_path / "bundle", "shop", model, ids, owners(HISTORY), PairColumns("player", "thing"), {}, "")
    if isinstance(model, ImplicitALS):  # a new user's factors are the solution of a system of equations
        with pytest.raises(ValueError, match="has no graph yet"):
            write_recommend_bundle(*told)
        return
    write_recommend_bundle(*told)
    scorer = Scorer.load(tmp_path / "bundle")
    rows = [{"history": ids[own.indices].tolist(), "k": 12} for own in HISTORY] + [{"history": [], "k": 12}]
    found = scorer.predict_rows(rows)
    history = sparse.csr_matrix(sparse.vstack([HISTORY, sparse.csr_matrix((1, HISTORY.shape[1]))]))
    items, scores = recommend(model, history, 12)
    for row, (shown, score) in enumerate(zip(found.labels, found.probabilities, strict=True)):
        assert shown == ids[items[row][items[row] >= 0]].tolist()
        np.testing.assert_allclose(score, scores[row][: len(score)], rtol=1e-5, atol=1e-5)
