"""What changes with the size of the data: who is asked, what is fitted together, what is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ludocast.models.recommend import memory, rerank, scale
from ludocast.models.recommend.choose import FAMILIES, candidates, fitted, measured, validate
from ludocast.models.recommend.item_item import EASE, CosineNeighbours
from ludocast.models.recommend.rerank import Reranker, RerankSettings, training_lists
from ludocast.models.recommend.scale import fewer_draws, notes_of_size, of_some_users
from ludocast.models.recommend.signals import Signals
from scipy import sparse

from tests.models.recommend.made import random_history

HISTORY = random_history(300, 40)
SETTINGS = RerankSettings(epochs=1, draws=2)


def signals() -> Signals:
    return Signals({"ease": EASE(5.0, neighbours=10), "cosine": CosineNeighbours(10)}, candidates=15)


def test_some_users_are_asked_with_all_that_is_hidden_of_them() -> None:
    hidden = HISTORY.copy()
    hidden.data[:] = 1
    some = of_some_users(hidden, 0, 50)
    asked = np.flatnonzero(np.diff(some.indptr))
    assert len(asked) == 50
    np.testing.assert_array_equal(some[asked].toarray(), hidden[asked].toarray())
    assert of_some_users(hidden, 0, 300) is hidden
    assert np.flatnonzero(np.diff(of_some_users(hidden, 1, 50).indptr)).tolist() != asked.tolist()


def test_of_large_data_few_settings_are_tried() -> None:
    every, few = candidates(), candidates(is_large=True)
    assert {one.family for one in every} - {one.family for one in few} == {"als", "ease_near"}
    assert len(few) < len(every) / 2 + 2
    assert {(one.family, one.settings) for one in few} < {(one.family, one.settings) for one in every}


def test_candidates_fitted_together_measure_as_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_ITEMS", 39)
    tried = [one for one in candidates() if one.family in ("popularity", "cosine", "rp3beta", "ease")]
    known, hidden = HISTORY[:200], HISTORY[200:]
    hidden = sparse.csr_matrix(sparse.vstack([hidden, hidden[:100]]))
    together = [measured(one, model, known, hidden, begin) for one, model, begin in fitted(tried, known)]
    for one, other in zip(together, (validate(each, known, hidden) for each in tried), strict=True):
        assert one.candidate is other.candidate
        assert one.ndcg == pytest.approx(other.ndcg)


def test_few_users_teach_the_network_and_their_pairs_alone_are_hidden() -> None:
    lists = training_lists(signals(), HISTORY, replace(SETTINGS, users=30))
    assert 0 < len(lists.inputs) <= 60
    assert lists.serving is None  # pairs of a tenth of the users were hidden
    assert len(training_lists(signals(), HISTORY, replace(SETTINGS, users=300)).inputs) > 60


def test_signals_that_miss_few_pairs_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerank, "FEW", 0.05)
    model = Reranker(signals(), replace(SETTINGS, users=30)).fit(HISTORY)
    given = model.signals.popularity
    assert given is not None
    assert 0 < HISTORY.nnz - given.sum() < 0.05 * HISTORY.nnz


def test_what_is_done_otherwise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert notes_of_size(HISTORY) == []
    assert fewer_draws(SETTINGS, HISTORY) is SETTINGS
    monkeypatch.setattr(memory, "MOST_ITEMS", 39)
    monkeypatch.setattr(scale, "MANY_PAIRS", 100)
    monkeypatch.setattr(scale, "ASKED", 299)
    room, pairs, users = notes_of_size(HISTORY)
    assert room.startswith(
        "a number for each pair of items has room for 39 items here, not for 40: each item has weights"
    )
    assert "implicit ALS and some settings are not tried" in pairs
    assert users.startswith("of 300 users at most 299")
    assert fewer_draws(SETTINGS, HISTORY).draws == 1
    assert set(FAMILIES) > {one.family for one in candidates(is_large=True)}
