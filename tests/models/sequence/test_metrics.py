"""Chunks against a hand-worked example and a loop as conlleval's; ranks, perplexity, calibration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ludocast.models.sequence.metrics import ChunkCounts, chunk_tags, perplexity, rank_of_target

NAMES = ("O", "B-a", "I-a", "B-b", "I-b")


def counted(found: list[list[int]], true: list[list[int]]) -> ChunkCounts:
    tags = chunk_tags(NAMES)
    assert tags is not None
    counts = ChunkCounts(tags)
    offsets = np.cumsum([0] + [len(row) for row in true])
    counts.update(np.concatenate(found), np.concatenate(true), offsets)
    return counts


def test_chunks_by_hand() -> None:
    # true:  [a a] O [b] [a]      found: [a a] O [a] [a]  → kinds differ in the third: 2 of 3 right
    # true:  I-a at the start is a chunk; found begins it with B: the same chunk
    # true:  [a a] O found [a] O O: another end
    true = [[1, 2, 0, 3, 1], [2, 0], [1, 2, 0]]
    found = [[1, 2, 0, 1, 1], [1, 0], [1, 0, 0]]
    counts = counted(found, true)
    assert counts.counts.tolist() == [[3, 5, 4], [0, 0, 1]]  # right, found, true of a and of b
    assert counts.total() == pytest.approx((3 / 5, 3 / 5, 3 / 5))
    assert counts.table()["a"] == pytest.approx({"precision": 3 / 5, "recall": 3 / 4, "f1": 6 / 9, "chunks": 4})
    assert counts.table()["b"] == {"precision": 0, "recall": 0, "f1": 0, "chunks": 1}


def test_a_chunk_ends_with_its_sequence() -> None:
    assert counted([[1], [2]], [[1], [2]]).counts[0].tolist() == [2, 2, 2]
    assert counted([[1, 2]], [[1, 2]]).counts[0].tolist() == [1, 1, 1]


def conlleval(found: list[int], true: list[int]) -> tuple[int, int, int]:
    """The loop of CoNLL-2000's conlleval.pl: right, found, true."""

    def parts(tag: int) -> tuple[str, str]:
        prefix, _, kind = NAMES[tag].partition("-")
        return prefix, kind

    def ends(before: tuple[str, str], now: tuple[str, str]) -> bool:
        if (before[0], now[0]) in {("B", "B"), ("B", "O"), ("I", "B"), ("I", "O")}:
            return True
        return before[0] != "O" and before[1] != now[1]

    def begins(before: tuple[str, str], now: tuple[str, str]) -> bool:
        if (before[0], now[0]) in {("B", "B"), ("I", "B"), ("O", "B"), ("O", "I")}:
            return True
        return now[0] != "O" and before[1] != now[1]

    correct = guessed = gold = 0
    inside = False
    last_true = last_found = ("O", "")
    for tag_true, tag_found in zip([*true, 0], [*found, 0], strict=True):
        now_true, now_found = parts(tag_true), parts(tag_found)
        end_true, end_found = ends(last_true, now_true), ends(last_found, now_found)
        if inside:
            if end_true and end_found and last_true[1] == last_found[1]:
                inside, correct = False, correct + 1
            elif end_true != end_found or now_true[1] != now_found[1]:
                inside = False
        begin_true, begin_found = begins(last_true, now_true), begins(last_found, now_found)
        if begin_true and begin_found and now_true[1] == now_found[1]:
            inside = True
        gold, guessed = gold + begin_true, guessed + begin_found
        last_true, last_found = now_true, now_found
    return correct, guessed, gold


def test_random_tags_are_counted_as_conlleval_does() -> None:
    generator = np.random.default_rng(0)
    seen = np.zeros(3, int)
    for _ in range(300):
        true = generator.integers(0, 5, generator.integers(1, 12)).tolist()
        found = [tag if generator.random() < 0.7 else int(generator.integers(0, 5)) for tag in true]
        total = counted([found], [true]).counts.sum(0)
        assert tuple(total) == conlleval(found, true), (found, true)
        seen += total
    assert seen.min() > 200


def test_other_tags_have_no_chunks() -> None:
    assert chunk_tags(("NN", "VB")) is None
    assert chunk_tags(("O", "B-")) is None


def test_ranks_perplexity() -> None:
    logits = np.array([[0.0, 3.0, 1.0], [1.0, 1.0, 0.0]])
    assert rank_of_target(logits, np.array([2, 0])).tolist() == [1, 1]  # a tie counts against the target
    assert perplexity(math.log(176)) == pytest.approx(176)
    assert perplexity(1e4) == math.inf
