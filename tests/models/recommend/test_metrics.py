"""Measures of ranked items against loops that follow their definitions."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from ludocast.models.recommend.metrics import catalogue_metrics, gini, mean_metrics, user_metrics
from ludocast.models.recommend.ranking import NOBODY, top_items
from scipy import sparse

from tests.models.recommend.made import random_history

CUTS = (1, 3, 10)


def slow(ranked: list[int], hidden: set[int], k: int) -> dict[str, float]:
    n = len(hidden)
    hit = [rank for rank, item in enumerate(ranked[:k], 1) if item in hidden]
    best = sum(1 / log2(rank + 1) for rank in range(1, min(n, k) + 1))
    return {
        "ndcg": sum(1 / log2(rank + 1) for rank in hit) / best,
        "recall": len(hit) / n,
        "capped_recall": len(hit) / min(n, k),
        "precision": len(hit) / k,
        "map": sum(place / rank for place, rank in enumerate(hit, 1)) / min(n, k),
        "mrr": 1 / hit[0] if hit else 0.0,
        "hit": float(bool(hit)),
    }


def drawn(seed: int) -> tuple[np.ndarray, sparse.csr_matrix]:
    """Rankings of scores with ties, some of them short, and one hidden item or more each."""
    generator = np.random.default_rng(seed)
    hidden = generator.random((40, 15)) < 0.2
    hidden[np.arange(40), generator.integers(0, 15, 40)] = True
    excluded = sparse.csr_matrix((generator.random((40, 15)) < 0.5) & ~hidden)
    ranked, _ = top_items(generator.integers(0, 3, (40, 15)).astype(float), 10, excluded)
    return ranked, sparse.csr_matrix(hidden.astype(float))


@pytest.mark.parametrize("seed", range(5))
def test_equals_loops(seed: int) -> None:
    ranked, hidden = drawn(seed)
    found = user_metrics(ranked, hidden, CUTS)
    for user in range(len(ranked)):
        for k in CUTS:
            for name, value in slow(ranked[user].tolist(), set(hidden[user].indices.tolist()), k).items():
                assert found[f"{name}@{k}"][user] == pytest.approx(value, abs=1e-12), (name, k)


def test_equals_torchmetrics_where_there_are_no_ties() -> None:
    torch = pytest.importorskip("torch")
    retrieval = pytest.importorskip("torchmetrics.functional.retrieval")
    generator = np.random.default_rng(0)
    scores, hidden = generator.random((30, 20)), generator.random((30, 20)) < 0.2
    hidden[:, 0] |= ~hidden.any(axis=1)
    ranked, _ = top_items(scores, 20)
    found = user_metrics(ranked, sparse.csr_matrix(hidden.astype(float)), (5,))
    for user in range(30):
        p, y = torch.from_numpy(scores[user]), torch.from_numpy(hidden[user])
        assert found["ndcg@5"][user] == pytest.approx(
            float(retrieval.retrieval_normalized_dcg(p, y.long(), 5)), abs=1e-6
        )
        assert found["recall@5"][user] == pytest.approx(float(retrieval.retrieval_recall(p, y, 5)), abs=1e-6)
        assert found["precision@5"][user] == pytest.approx(float(retrieval.retrieval_precision(p, y, 5)), abs=1e-6)
        assert found["mrr@5"][user] == pytest.approx(float(retrieval.retrieval_reciprocal_rank(p, y, 5)), abs=1e-6)


def test_intervals_hold_the_mean_and_shrink_with_users() -> None:
    ranked, hidden = drawn(0)
    few = mean_metrics(ranked, hidden, (10,))["ndcg@10"]
    many = mean_metrics(np.tile(ranked, (25, 1)), sparse.csr_matrix(sparse.vstack([hidden] * 25)), (10,))["ndcg@10"]
    assert few.low < few.value < few.high
    assert many.value == pytest.approx(few.value)
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(5, rel=0.2)  # √25
    expected = user_metrics(ranked, hidden, (10,))["ndcg@10"]
    assert few.high - few.low == pytest.approx(2 * 1.96 * expected.std() / np.sqrt(40), rel=0.15)


def test_catalogue_measures_by_hand() -> None:
    history = sparse.csr_matrix(np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0]], float))
    ranked = np.array([[2, 3], [1, 2], [1, NOBODY], [2, 3]])
    found = catalogue_metrics(ranked, history, (1, 2))
    assert found["coverage@1"] == 0.5
    assert found["coverage@2"] == 0.75
    assert found["novelty@1"] == pytest.approx((2 + 1 + 1 + 2) / 4)  # items 2, 1, 1, 2 of 1, 2, 2, 1 in 4 users
    assert found["gini@1"] == pytest.approx(0.5)  # counts 0, 2, 2, 0


def test_gini_equals_the_mean_difference_of_pairs() -> None:
    counts = np.random.default_rng(0).integers(0, 9, 12)
    wanted = np.abs(counts[:, None] - counts[None]).mean() / (2 * counts.mean())
    assert gini(counts) == pytest.approx(wanted)
    assert gini(np.zeros(3)) == 0
    assert gini(np.ones(3)) == pytest.approx(0)


def test_a_user_without_hidden_items_cannot_be_measured() -> None:
    hidden = random_history(3, 4)
    hidden.data[hidden.indptr[1] : hidden.indptr[2]] = 0
    hidden.eliminate_zeros()
    with pytest.raises(ValueError, match="user 1 of these has no hidden item"):
        user_metrics(np.zeros((3, 1), int), hidden)
