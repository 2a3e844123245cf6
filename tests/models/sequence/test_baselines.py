"""Counts against plain loops, usual tags and made features by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ludocast.datamodules.sequences import from_offsets
from ludocast.models.sequence.baselines import counted_tokens, made_features, usual_tags
from ludocast.models.sequence.metrics import Ranked, rank_of_target

V = 7


def text(seed: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    token = np.random.default_rng(seed).choice(np.arange(1, V), length, p=[0.02, 0.4, 0.3, 0.2, 0.05, 0.03])
    return token[:-1].astype(np.int32), token[1:].astype(np.int32)


def test_counts_are_those_of_a_plain_loop() -> None:
    (known, follows), (asked, came) = text(0, 60), text(1, 40)
    train, test = (
        from_offsets({"token": a, "target": b}, np.array([0, 7, len(a)])) for a, b in ((known, follows), (asked, came))
    )
    alone, after = counted_tokens(train, test, V).values()
    single = [(0 if w == 0 else 1 + (follows == w).sum()) / (len(follows) + V - 1) for w in range(V)]
    assert sum(single) == pytest.approx(1)
    for t, (h, w) in enumerate(zip(asked, came, strict=True)):
        followed = follows[known == h]
        n, kinds = len(followed), len(set(followed.tolist()))
        p = np.array(single)
        if n:
            p = np.array([((followed == k).sum() + kinds * single[k]) / (n + kinds) for k in range(V)])
        assert p.sum() == pytest.approx(1)
        assert alone.loss[t] == pytest.approx(-math.log(single[w]))
        assert after.loss[t] == pytest.approx(-math.log(p[w]))
        assert alone.rank[t] == rank_of_target(np.array([single]), np.array([w]))[0]
        assert after.rank[t] == rank_of_target(p[None], np.array([w]))[0]


def test_measures_of_ranks_by_hand() -> None:
    found = Ranked(np.array([math.log(2), math.log(8)]), np.array([0, 4])).measures((1, 5))
    wanted = {"loss": math.log(4), "perplexity": 4, "hit_rate_1": 0.5, "hit_rate_5": 1.0, "mrr_5": (1 + 1 / 5) / 2}
    assert found == pytest.approx(wanted)
    assert Ranked(np.zeros(2), np.array([1, 5])).measures((5,))["mrr_5"] == pytest.approx(1 / 4)  # beyond 5: 0


def test_the_usual_tag_of_a_word_by_hand() -> None:
    train = from_offsets({"token": np.array([2, 2, 2, 3, 3]), "target": np.array([1, 1, 0, 2, 2])}, np.array([0, 5]))
    test = from_offsets({"token": np.array([3, 2, 4]), "target": np.array([0, 0, 0])}, np.array([0, 3]))
    assert usual_tags(train, test, 5, 3).tolist() == [2, 1, 1]  # 4 was never seen; 1 and 2 are equally frequent


def test_features_of_days_by_hand() -> None:
    bits = np.array([[0, 1], [1, 0], [0, 0], [0, 1]], np.uint8)  # two players, two steps of two days
    part = from_offsets({"numbers": bits}, np.array([0, 2, 4]))
    # active days of each step, all, days since the last (0: the last day), days since the first
    assert made_features(part).tolist() == [[1, 1, 2, 1, 3], [0, 1, 1, 0, 1]]


def test_features_of_events_by_hand() -> None:
    token = np.array([2, 1, 2, 3, 20], np.int32)
    numbers = np.array([[0, 9], [1, 8], [1, 7], [0, 6], [1, 5]], np.float32)
    part = from_offsets({"token": token, "numbers": numbers}, np.array([0, 3, 5]))
    found = made_features(part)
    # number of events, log age of the last and the first, then unknown ones and the ten most frequent kinds
    assert found[0].tolist() == [3, 7, 9, 1, 2, *[0] * 9]
    assert found[1].tolist() == [2, 5, 6, 0, 0, 1, *[0] * 8]
    # Of a stream the ages stand beside the steps, which have gaps alone.
    ages = np.array([[7, 9], [5, 6]], np.float32)
    stream = from_offsets({"token": token, "numbers": numbers[:, :1]}, np.array([0, 3, 5]), {"ages": ages})
    assert made_features(stream).tolist() == found.tolist()
