"""Ids by hand, whatever way the tokens come in."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from ludocast.datamodules.vocabulary import Vocabulary, fit_vocabulary, vocabulary_from_dict

TOKENS = ["b", "a", "c", "a", "b", "é", "a"]  # a 3, b 2, c 1, é 1


def test_ids_by_hand() -> None:
    vocabulary = fit_vocabulary(TOKENS)
    assert vocabulary.tokens == ("a", "b", "c", "é")
    assert len(vocabulary) == 6
    assert vocabulary.encode(["é", "x", "a", None, "", "b"]).tolist() == [5, 1, 2, 1, 1, 3]
    assert vocabulary.decode([0, 1, 2, 5]) == ["<pad>", "<unk>", "a", "é"]
    assert vocabulary.encode([]).tolist() == []


def test_order_of_the_data_does_not_matter() -> None:
    assert fit_vocabulary(TOKENS[::-1]) == fit_vocabulary(TOKENS)


def test_min_count_and_max_size() -> None:
    assert fit_vocabulary(TOKENS, min_count=2).tokens == ("a", "b")
    assert fit_vocabulary(TOKENS, max_size=5).tokens == ("a", "b", "c")
    assert len(fit_vocabulary(TOKENS, max_size=5)) == 5


@pytest.mark.parametrize(
    "tokens",
    [
        np.array(TOKENS, object),
        np.array(TOKENS),
        pa.array(TOKENS),
        pa.array(TOKENS, pa.large_string()),
        pa.array([*TOKENS, None]),
        pa.array(TOKENS).dictionary_encode(),
        pa.chunked_array([TOKENS[:3], TOKENS[3:]]),
        pa.chunked_array([pa.array(TOKENS[:3]).dictionary_encode(), pa.array(TOKENS[3:]).dictionary_encode()]),
        (pa.array(part) for part in (TOKENS[:2], [], TOKENS[2:])),
    ],
)
def test_every_kind_of_array_gives_the_same(tokens: Any) -> None:
    vocabulary = fit_vocabulary(tokens)
    assert vocabulary.tokens == ("a", "b", "c", "é")
    if not hasattr(tokens, "send"):  # a generator is read once
        assert vocabulary.encode(tokens).tolist()[:7] == [3, 2, 4, 2, 3, 5, 2]
        assert vocabulary.encode(tokens).dtype == np.int32


def test_a_null_in_a_dictionary_is_unknown() -> None:
    array = pa.array(["a", None, "zzz"]).dictionary_encode()
    assert fit_vocabulary(TOKENS).encode(array).tolist() == [2, 1, 1]
    assert fit_vocabulary(TOKENS).encode(pa.array([None, None])).tolist() == [1, 1]


def test_unknown_as_the_data_writes_it() -> None:
    assert fit_vocabulary(["<unk>", "<unk>", "a", "b"]).tokens == ("a", "b")
    assert fit_vocabulary(["<unk>", "N", "N", "a", "b"], unknown="N").encode(["N", "<unk>"]).tolist() == [1, 2]


def test_json_and_back() -> None:
    vocabulary = fit_vocabulary(TOKENS, unknown="?")
    again = vocabulary_from_dict(json.loads(json.dumps(vocabulary.to_dict())))
    assert again == vocabulary
    assert again.encode(TOKENS).tolist() == vocabulary.encode(TOKENS).tolist()


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({}, "format 1"),
        ({"format": 1, "tokens": ["a", 3], "unknown": "u"}, "list of texts"),
        ({"format": 1, "tokens": ["a"]}, "list of texts"),
        ({"format": 1, "tokens": ["a", "b", "a"], "unknown": "u"}, "'a' twice"),
    ],
)
def test_what_is_no_vocabulary_is_refused(document: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        vocabulary_from_dict(document)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="no token is seen 1 times among 0"):
        fit_vocabulary([])
    with pytest.raises(ValueError, match="no token is seen 9 times among 4"):
        fit_vocabulary(TOKENS, min_count=9)
    with pytest.raises(ValueError, match="max_size 3 or more"):
        fit_vocabulary(TOKENS, max_size=2)
    with pytest.raises(ValueError, match="turn them into text"):
        fit_vocabulary([1, 2])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="turn them into text"):
        fit_vocabulary(pa.array([1, 2]))
    with pytest.raises(ValueError, match="between 0 and 5, got -1 to 7"):
        fit_vocabulary(TOKENS).decode([-1, 7])
    with pytest.warns(UserWarning, match="one token only, 'a'"):
        assert len(fit_vocabulary(["a", "a"])) == 3


def test_a_million_tokens() -> None:
    drawn = np.random.default_rng(0).integers(0, 1_000, 1_000_000)
    names = np.array([f"event_{k}" for k in range(1_000)])
    ids = Vocabulary(tuple(names)).encode(pa.array(names[drawn]))
    assert (ids == drawn + 2).all()
