"""The choice among families, and what a report tells, against loops."""

from __future__ import annotations

import numpy as np
import pytest
from ludocast.datamodules.user_item_splits import split_by_share
from ludocast.datamodules.user_items import user_items_of_matrix
from ludocast.models.recommend.choose import (
    FAMILIES,
    FAMILY_NAMES,
    best_of_families,
    candidates,
    shippable_first,
    validate,
)
from ludocast.models.recommend.evaluation import evaluate
from ludocast.models.recommend.item_item import CosineNeighbours, Popularity
from ludocast.models.recommend.rerank import RerankSettings
from scipy import sparse

from tests.models.recommend.made import random_history

SPLIT = split_by_share(user_items_of_matrix(random_history(80, 30)), 0.2, seed=1)
KNOWN, HIDDEN = SPLIT.known.history, SPLIT.hidden


def test_every_family_has_candidates_and_a_name() -> None:
    found = candidates(rerank=RerankSettings(epochs=1))
    assert [family for family in FAMILIES if family not in {one.family for one in found}] == []
    assert set(FAMILY_NAMES) == set(FAMILIES)
    assert len({(one.family, one.settings) for one in found}) == len(found)
    # A loop variable that leaked would give all of a family the last setting.
    assert [one.make().penalty for one in found if one.family == "ease"] == [20, 50, 100, 200, 400]  # type: ignore[attr-defined]


def test_the_best_on_hidden_pairs_is_chosen() -> None:
    tried = [validate(one, KNOWN, HIDDEN) for one in candidates(["popularity", "cosine", "als"])]
    best = best_of_families(tried)
    assert [one.candidate.family for one in best] == sorted(
        ["popularity", "cosine", "als"],
        key=lambda family: -max(one.ndcg for one in tried if one.candidate.family == family),
    )
    assert best[0].ndcg == max(one.ndcg for one in tried)
    ours = shippable_first(best)
    assert ours[0].candidate.family == "cosine"
    assert sorted(one.ndcg for one in ours) == sorted(one.ndcg for one in best)


def test_validation_measures_what_evaluation_does() -> None:
    one = candidates(["cosine"])[0]
    wanted = evaluate(CosineNeighbours().fit(KNOWN), KNOWN, HIDDEN).metrics["ndcg@10"].value
    assert validate(one, KNOWN, HIDDEN).ndcg == pytest.approx(wanted, rel=1e-12)


def test_groups_equal_loops() -> None:
    found = evaluate(Popularity().fit(KNOWN), KNOWN, HIDDEN)
    asked = [user for user in range(KNOWN.shape[0]) if HIDDEN[user].nnz]
    assert sum(group.count for group in found.by_history) == len(asked)
    few = [place for place, user in enumerate(asked) if 1 <= KNOWN[user].nnz <= 4]
    shown = [[item for item in found.ranked[place] if item >= 0] for place in range(len(asked))]
    ndcg = []
    for place in few:
        sought = set(HIDDEN[asked[place]].indices.tolist())
        gain = sum(1 / np.log2(rank + 2) for rank, item in enumerate(shown[place][:10]) if item in sought)
        ndcg.append(gain / sum(1 / np.log2(rank + 2) for rank in range(min(len(sought), 10))))
    assert found.by_history[1].name == "1–4"
    assert found.by_history[1].count == len(few)
    assert found.by_history[1].value == pytest.approx(np.mean(ndcg))
    owners = KNOWN.toarray().sum(0)
    last = sorted(range(30), key=lambda item: (owners[item], item))[27:]  # the tenth of the most owned
    pairs = [(place, item) for place, user in enumerate(asked) for item in HIDDEN[user].indices if item in last]
    assert found.by_popularity[-1].count == len(pairs)
    assert found.by_popularity[-1].value == pytest.approx(np.mean([item in shown[place] for place, item in pairs]))


def test_an_empty_group_has_no_value() -> None:
    found = evaluate(Popularity().fit(KNOWN), KNOWN, HIDDEN)
    assert found.by_history[0].count == 0
    assert found.by_history[0].value is None


def test_users_of_whom_nothing_is_hidden_are_not_asked() -> None:
    hidden = sparse.csr_matrix(HIDDEN)[:5]
    hidden.data[:] = 1
    more = sparse.csr_matrix(sparse.vstack([hidden, sparse.csr_matrix((3, 30))]))
    known = sparse.csr_matrix(sparse.vstack([KNOWN[:5], KNOWN[:3]]))
    model = Popularity().fit(KNOWN)
    assert (
        evaluate(model, known, more).metrics["recall@10"].value
        == evaluate(model, KNOWN[:5], hidden).metrics["recall@10"].value
    )
