"""Signals of candidates by loops, the listwise loss by hand, what the re-ranker learns."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log

import numpy as np
import torch
from ludocast.models.recommend.contributions import contributions
from ludocast.models.recommend.item_item import EASE, CosineNeighbours
from ludocast.models.recommend.module import listwise_loss
from ludocast.models.recommend.ranking import recommend
from ludocast.models.recommend.rerank import Reranker, RerankSettings, training_lists
from ludocast.models.recommend.signals import Signals, hidden_targets
from scipy import sparse

from tests.models.recommend.made import random_history

HISTORY = random_history(80, 30)
SETTINGS = RerankSettings(epochs=3)


def signals() -> Signals:
    return Signals({"ease": EASE(5.0), "cosine": CosineNeighbours()}, candidates=12)


def test_inputs_of_candidates_equal_loops() -> None:
    found = signals().fit(HISTORY)
    lists = found.lists(HISTORY)
    columns = dict(zip(found.names, np.moveaxis(lists.inputs, -1, 0), strict=True))
    assert len(columns) == 8
    for user in range(HISTORY.shape[0]):
        own = set(HISTORY[user].indices.tolist())
        scores = {name: model.scores(HISTORY[user])[0] for name, model in found.models.items()}
        wanted = sorted(set(range(30)) - own, key=lambda i: (-scores["ease"][i], i))[:12]
        assert lists.items[user].tolist() == wanted
        for name, score in scores.items():
            s = score[wanted]
            np.testing.assert_allclose(columns[f"score of {name}"][user], s, rtol=1e-6)
            np.testing.assert_allclose(
                columns[f"standardised score of {name}"][user], (s - s.mean()) / s.std(), atol=1e-5
            )
            order = sorted(range(12), key=lambda c: (-s[c], c))
            rank = [log(1 + order.index(c)) for c in range(12)]
            np.testing.assert_allclose(columns[f"log rank of {name}"][user], rank, rtol=1e-6)
        np.testing.assert_allclose(
            columns["log popularity"][user], np.log1p(HISTORY.toarray().sum(0))[wanted], rtol=1e-6
        )
        np.testing.assert_allclose(columns["log history"][user], log(1 + len(own)), rtol=1e-6)


def test_single_weights_stand_between_ranks_and_popularity() -> None:
    found = Signals(signals().models, 12, ("cosine",)).fit(HISTORY)
    lists = found.lists(HISTORY)
    assert len(found.names) == lists.inputs.shape[2] == 6 + 7 + 2
    wanted = contributions(found.models["cosine"], HISTORY, lists.items)
    np.testing.assert_array_equal(lists.inputs[:, :, 6:13], wanted)
    assert found.names[6] == "weight 1 of cosine"


def test_scores_that_are_not_told_are_left_out() -> None:
    every = Signals(signals().models, 12, ("cosine",)).fit(HISTORY)
    found = Signals(every.models, 12, ("cosine",), ("ease",)).fit(HISTORY)
    kept = [place for place, name in enumerate(every.names) if not name.split(" of ")[0].endswith(("score", "rank"))]
    kept = sorted({*kept, 0, 2, 4})
    assert found.names == [every.names[place] for place in kept]
    np.testing.assert_array_equal(found.lists(HISTORY).inputs, every.lists(HISTORY).inputs[:, :, kept])
    assert "score of conditional" not in Signals().names
    assert "weight 1 of conditional" in Signals().names


def test_listwise_loss_by_hand() -> None:
    scores = torch.tensor([[1.0, 2.0, 0.0, 9.0], [0.0, 0.0, 0.0, 0.0]])
    hidden = torch.tensor([[True, False, True, False], [False, True, False, False]])
    real = torch.tensor([[True, True, True, False], [True, True, True, True]])
    total = exp(1) + exp(2) + 1
    wanted = (-0.5 * (log(exp(1) / total) + log(1 / total)) + log(4)) / 2
    torch.testing.assert_close(listwise_loss(scores, hidden, real), torch.tensor(wanted))


def test_loss_has_finite_gradients_beside_padding() -> None:
    scores = torch.zeros(1, 3, requires_grad=True)
    listwise_loss(scores, torch.tensor([[True, False, False]]), torch.tensor([[True, True, False]])).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(scores.grad, torch.tensor([[-0.5, 0.5, 0.0]]))


def test_training_lists_never_show_a_hidden_pair_to_the_signals() -> None:
    """With one draw the lists come from the rest alone: hidden items are candidates, so they are in no history."""
    lists = training_lists(signals(), HISTORY, replace(SETTINGS, draws=3))
    assert lists.is_hidden.any(axis=1).all()
    assert not (lists.is_hidden & ~lists.is_real).any()
    assert lists.inputs[~lists.is_real].sum() == 0
    history = np.exp(lists.inputs[:, 0, -1]) - 1
    assert np.round(history).max() <= np.diff(HISTORY.indptr).max()


def test_targets_are_the_hidden_items_among_the_candidates() -> None:
    hidden = sparse.csr_matrix(np.array([[0, 1, 0, 1], [1, 0, 0, 0]], float))
    found = hidden_targets(np.array([[3, 0, -1], [1, 2, 3]]), hidden)
    assert found.tolist() == [[True, False, False], [False, False, False]]


def test_candidates_come_before_all_others_and_these_in_the_first_signals_order() -> None:
    model = Reranker(signals(), SETTINGS).fit(HISTORY)
    items, _ = recommend(model, HISTORY, 30)
    for user in range(HISTORY.shape[0]):
        candidates = model.signals.lists(HISTORY[user]).items[0]
        assert set(items[user, :12]) == set(candidates)
        base = model.signals.models["ease"].scores(HISTORY[user])[0]
        rest = [i for i in range(30) if i not in candidates and i not in HISTORY[user].indices]
        assert items[user, 12 : 12 + len(rest)].tolist() == sorted(rest, key=lambda i: (-base[i], i))


def test_learns_what_the_first_signal_gets_wrong() -> None:
    """The first signal is upside down; the network learns to trust the other one."""

    class UpsideDown(CosineNeighbours):
        def _fitted(self, history: sparse.csr_matrix) -> np.ndarray:
            return -super()._fitted(history)

    history = random_history(300, 30, seed=1)
    found = Signals({"wrong": UpsideDown(), "right": CosineNeighbours()}, candidates=30)
    model = Reranker(found, RerankSettings(epochs=12)).fit(history)
    ours, _ = recommend(model, history, 10)
    right, _ = recommend(CosineNeighbours().fit(history), history, 10)
    wrong, _ = recommend(UpsideDown().fit(history), history, 10)
    same = [np.mean([len(set(a) & set(b)) for a, b in zip(ours, other, strict=True)]) for other in (right, wrong)]
    assert same[0] > 7 > 4 > same[1]
