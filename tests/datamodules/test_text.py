"""Tokens of small texts by hand, and beside a plain split; chunks that cut anywhere change nothing."""

from __future__ import annotations

import gzip
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ludocast.datamodules.text import Layout, encode_text, token_chunks
from ludocast.datamodules.vocabulary import Vocabulary, fit_vocabulary


def sentences(path: Path, layout: Layout, end: str | None = None, size: int = 1 << 22) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for chunk in token_chunks(path, layout, end, chunk_characters=size):
        cuts = [0, *chunk.ends.tolist(), len(chunk.tokens)]
        for number, (a, b) in enumerate(pairwise(cuts)):
            found[-1] += chunk.tokens[a:b].to_pylist()
            if number < len(chunk.ends):
                found.append([])
    assert found.pop() == []  # the end of the file ends the last sentence
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "text.txt"


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_words_by_hand(file: Path, size: int) -> None:
    file.write_bytes("\ufeff the cat\tsat \r\n\r\n \nso\u00a0it did".encode())
    assert sentences(file, "words", size=size) == [["the", "cat", "sat"], ["so", "it", "did"]]
    assert sentences(file, "words", end="</s>", size=size)[1] == ["so", "it", "did", "</s>"]


@pytest.mark.parametrize("size", [1, 4, 1 << 20])
def test_a_token_a_line_by_hand(file: Path, size: int) -> None:
    file.write_text("\n\nthe\n cat \n\n\n \nso\nit\n\n", encoding="utf-8")
    assert sentences(file, "lines", size=size) == [["the", "cat"], ["so", "it"]]
    file.write_text("the\ncat\n\nso", encoding="utf-8")
    assert sentences(file, "lines", end="E", size=size) == [["the", "cat", "E"], ["so", "E"]]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="ab \n\té\u2003", max_size=40), st.integers(1, 12))
def test_chunks_equal_a_plain_split(file: Path, text: str, size: int) -> None:
    file.write_text(text + "x", encoding="utf-8", newline="")
    lines = (text + "x").split("\n")
    assert sentences(file, "words", size=size) == [line.split() for line in lines if line.split()]
    wanted: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            wanted[-1].append(line.strip())
        elif wanted[-1]:
            wanted.append([])
    assert sentences(file, "lines", size=size) == wanted


def test_ids_and_unknown_ones(tmp_path: Path) -> None:
    path = tmp_path / "text.txt.gz"
    path.write_bytes(gzip.compress(b"a b a\nc\n"))
    vocabulary = fit_vocabulary((chunk.tokens for chunk in token_chunks(path, end="</s>")), min_count=2)
    assert vocabulary.tokens == ("</s>", "a")
    found = encode_text(path, vocabulary, end="</s>")
    assert found.steps["token"].tolist() == [3, 1, 3, 2, 1, 2]
    assert (found.begin.tolist(), found.end.tolist()) == ([0, 4], [4, 6])


def test_bad_input(file: Path, tmp_path: Path) -> None:
    vocabulary = Vocabulary(("a",))
    with pytest.raises(ValueError, match="there is no file"):
        encode_text(tmp_path / "none", vocabulary)
    file.write_text(" \n\n")
    with pytest.raises(ValueError, match="holds no token"):
        encode_text(file, vocabulary)
    file.write_bytes(b"a\nb\n\xff\xfe\n")
    with pytest.raises(ValueError, match="not text in encoding"):
        encode_text(file, vocabulary)
    broken = tmp_path / "cut.gz"
    broken.write_bytes(gzip.compress(b"a b c\n" * 10_000)[:-20])
    with pytest.raises(ValueError, match="broken gzip"):
        encode_text(broken, vocabulary)


def test_a_large_text_needs_less_than_its_size(file: Path) -> None:
    line = " ".join(f"word{k}" for k in range(100)) + "\n"
    file.write_text(line * 40_000)  # 28 MB, 4 M words
    vocabulary = Vocabulary(tuple(f"word{k}" for k in range(100)))
    next(token_chunks(file, chunk_characters=1))  # imports what it needs
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    found = encode_text(file, vocabulary)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.steps["token"]) == 4_000_000
    assert (found.steps["token"][:100] == np.arange(2, 102)).all()
    # 4 M ids of 4 bytes, twice while they are put together, and a chunk's lines.
    assert peak < 32e6 + 4e6
    assert pa.total_allocated_bytes() - before < 1 << 20
