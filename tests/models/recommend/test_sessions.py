"""Session models against plain loops over sessions, and by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ludocast.datamodules.ragged import offsets_of
from ludocast.datamodules.sequences import Sequences, from_offsets
from ludocast.models.recommend.item_item import NotFittedError
from ludocast.models.recommend.sessions import (
    CoOccurrence,
    Fading,
    SessionNeighbours,
    SessionPopularity,
    Transitions,
    questions,
    session_ranks,
    whole_sessions,
)

I = 12  # noqa: E741 - items


def made(sessions: list[list[int]], time: list[int] | None = None) -> Sequences:
    """As a source gives them: steps with the item that follows."""
    items = [np.array(one) for one in sessions]
    token, target = (np.concatenate([one[cut] for one in items]) for cut in (slice(None, -1), slice(1, None)))
    static = {"time": np.array(time if time is not None else np.arange(len(items)), float)}
    return from_offsets(
        {"token": token, "target": target}, offsets_of(np.array([len(one) - 1 for one in items])), static
    )


def drawn(seed: int, count: int = 40) -> list[list[int]]:
    generator = np.random.default_rng(seed)
    p = 1 / np.arange(1, I + 1)
    return [generator.choice(I, generator.integers(2, 9), p=p / p.sum()).tolist() for _ in range(count)]


def steps(sessions: list[list[int]]) -> list[tuple[list[int], int]]:
    return [(one[: k + 1], one[k + 1]) for one in sessions for k in range(len(one) - 1)]


def weight(kind: Fading, back: int, length: int) -> float:
    return {"none": 1.0, "linear": max(0.0, 1 - back / 10), "reciprocal": (length - back) / length}[kind]


def slow_neighbours(
    known: list[list[int]], time: list[int], asked: list[int], k: int, m: int, similarity: Fading, fading: Fading,
    rarity: float, repeats: bool,
) -> np.ndarray:  # fmt: skip
    latest_first = sorted(range(len(known)), key=lambda n: (-time[n], -n))
    looked_at = [n for n in latest_first if set(known[n]) & set(asked)][:m]
    back = {item: len(asked) - 1 - place for place, item in enumerate(asked)}  # the last place of each
    value = {
        n: sum(weight(similarity, back[item], len(asked)) for item in set(known[n]) & set(asked)) for n in looked_at
    }
    found = np.zeros(I)
    for n in sorted(looked_at, key=lambda n: -round(value[n], 9))[:k]:  # stable: of equal ones the later
        nearest = min(back[item] for item in set(known[n]) & set(asked))
        given = {"none": 1.0, "linear": max(0.0, 1 - nearest / 10), "reciprocal": 1 / (nearest + 1)}[fading]
        for item in set(known[n]):
            count = sum(item in one for one in known)
            found[item] += value[n] * given * (1 + rarity * np.log(len(known) / count))
    if not repeats:
        found[asked] = 0
    return found


@pytest.mark.parametrize(("similarity", "fading"), list(itertools.product(("none", "linear", "reciprocal"), repeat=2)))
def test_neighbours_are_those_of_a_plain_loop(similarity: Fading, fading: Fading) -> None:
    known, later = drawn(0), drawn(1, 8)
    time = np.random.default_rng(2).permutation(len(known)).tolist()
    part = made(later)
    for k, m, rarity, repeats in ((4, 9, 0.0, True), (30, 100, 2.0, False), (1, 1, 0.0, True)):
        model = SessionNeighbours(k, m, similarity, fading, rarity, repeats)
        found = model.fit(whole_sessions(made(known, time)), I).scores(questions(part))
        for row, (asked, _) in zip(found, steps(later), strict=True):
            wanted = slow_neighbours(known, time, asked, k, m, similarity, fading, rarity, repeats)
            np.testing.assert_allclose(row, wanted, atol=1e-9)


def test_only_the_last_items_are_looked_at() -> None:
    model = SessionNeighbours(longest=1).fit(whole_sessions(made([[1, 2], [3, 4]])), I)
    assert np.flatnonzero(model.scores(questions(made([[1, 3, 5]])))[1]).tolist() == [3, 4]


def test_counts_are_those_of_plain_loops() -> None:
    known, later = drawn(3), drawn(4, 6)
    sessions, asked = whole_sessions(made(known)), questions(made(later))
    together, rules = np.zeros((I, I)), np.zeros((I, I))
    for one in known:
        for a, b in itertools.permutations(set(one), 2):
            together[a, b] += 1 / np.sqrt(sum(b in other for other in known))
        for a, b in itertools.combinations(range(len(one)), 2):
            rules[one[a], one[b]] += 1 / (b - a) if b - a <= 2 else 0
    last = [before[-1] for before, _ in steps(later)]
    np.testing.assert_allclose(CoOccurrence(0.5).fit(sessions, I).scores(asked), together[last])
    np.testing.assert_allclose(Transitions(2).fit(sessions, I).scores(asked), rules[last])
    count = np.bincount(np.concatenate(known), minlength=I)
    own = SessionPopularity(is_own_first=True).fit(sessions, I).scores(asked)
    for row, (before, _) in zip(own, steps(later), strict=True):
        np.testing.assert_allclose(row, count / count.sum() + np.bincount(before, minlength=I))


def test_ranks_count_every_step_once_and_equal_scores_as_misses() -> None:
    part = made([[1, 2, 1], [5, 1]])
    model = SessionPopularity().fit(whole_sessions(made([[1, 2], [1, 3]])), I)  # 1 twice, 2 and 3 once, others never
    assert session_ranks(model, part, I).tolist() == [2, 0, 0]
    assert session_ranks(model, part, I, np.array([2, 0])).tolist() == [0, 2]
    later = part.rows(np.array([1]))
    assert session_ranks(model, later, I).tolist() == [0]
    assert whole_sessions(part.rows(np.array([1, 0]))).steps["token"].tolist() == [5, 1, 1, 2, 1]


def test_what_makes_no_sense_is_refused() -> None:
    asked = questions(made([[1, 2]]))
    for model in (SessionPopularity(), CoOccurrence(), Transitions(), SessionNeighbours()):
        with pytest.raises(NotFittedError, match="call fit"):
            model.scores(asked)
    with pytest.raises(ValueError, match="1 or more"):
        SessionNeighbours(neighbours=0)
    with pytest.raises(ValueError, match="one step or more"):
        Transitions(0)
