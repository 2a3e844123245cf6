"""CNTK's text format: small files by hand, each error with its line, and ATIS beside counts of another kind."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ludocast.datamodules.ctf import CtfData, DenseStream, SparseStream, Stream, read_ctf

ATIS = Path(__file__).parent.parent.parent.parent / "shared" / "data" / "atis"
needs_atis = pytest.mark.skipif(not ATIS.is_dir(), reason=f"the ATIS files are not at {ATIS}")
SMALL = """\
7\t|S0 3:1 |# show\t|S1 1:1\t|S2 0:1 |# O
7\t|S0 1:1 |# a #| b\t\t|S2 2:1 |# B-city
9 |S0 3:1 |# show |S2 0:1

9 |S2 1:1
"""


def read(tmp_path: Path, text: str, streams: dict[str, Stream] | None = None) -> CtfData:
    path = tmp_path / "small.ctf"
    path.write_text(text)
    return read_ctf(path, streams)


def test_sparse_streams_by_hand(tmp_path: Path) -> None:
    data = read(tmp_path, SMALL)
    assert data.ids.tolist() == [7, 9]
    assert data.lines.tolist() == [1, 3]
    words, intent, tags = (data.sparse(name) for name in ("S0", "S1", "S2"))
    assert words.ids().tolist() == [3, 1, 3]
    assert words.offsets.tolist() == [0, 2, 3]
    assert words.dimension == 4
    assert words.names == {3: "show", 1: "a | b"}
    assert words.texts().to_pylist() == ["show", "a | b", "show"]
    assert intent.offsets.tolist() == [0, 1, 1]
    assert tags.ids().tolist() == [0, 2, 0, 1]
    assert tags.offsets.tolist() == [0, 2, 4]
    assert tags.texts().to_pylist() == ["O", "B-city", "O", "1"]


def test_entries_and_dense_values_by_hand(tmp_path: Path) -> None:
    data = read(tmp_path, "|x 0.5 -1e2 |w 2:0.5 7:3\n|x 3 4 |w\n|w 0:1 |x 5 6 |x 7 8\n")
    assert data.ids.tolist() == [1, 2, 3]  # without ids a line is a sequence
    x, w = data.streams["x"], data.sparse("w")
    assert isinstance(x, DenseStream)
    np.testing.assert_array_equal(x.values, np.array([[0.5, -100], [3, 4], [5, 6], [7, 8]], np.float32))
    assert x.offsets.tolist() == [0, 1, 2, 4]
    assert w.indices.tolist() == [2, 7, 0]
    assert w.values.tolist() == [0.5, 3, 1]
    assert w.starts.tolist() == [0, 2, 2, 3]
    assert w.dimension == 8
    with pytest.raises(ValueError, match="sequence 1 has a step that is not one index"):
        w.ids()
    with pytest.raises(ValueError, match=r'no sparse stream "x"; its streams are w, x'):
        data.sparse("x")


def test_a_stream_found_late_has_no_steps_before(tmp_path: Path) -> None:
    data = read(tmp_path, "1 |a 0:1\n2 |a 0:1\n2 |b 4:1\n3 |b 5:1\n")
    assert data.sparse("a").offsets.tolist() == [0, 1, 2, 2]
    assert data.sparse("b").offsets.tolist() == [0, 0, 1, 2]


def test_declared_streams(tmp_path: Path) -> None:
    streams = {"S0": Stream("sparse", 10), "S1": Stream("sparse", 2), "S2": Stream("sparse", 3)}
    data = read(tmp_path, SMALL, streams)
    assert data.sparse("S0").dimension == 10
    assert data.sparse("S0").texts().to_pylist() == ["show", "a | b", "show"]


def test_two_indices_of_one_name_are_told_apart_by_number(tmp_path: Path) -> None:
    data = read(tmp_path, "|w 0:1 |# x\n|w 1:1 |# x\n|w 2:1 |# y\n")
    assert data.sparse("w").texts().to_pylist() == ["0", "1", "y"]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("7 |S9 1:1", 'stream "S9" is unknown; declared are S0, S2, x'),
        ("7 |S0 10:1", "index 10 is out of range, the stream was declared with 10"),
        ("7 |S0 -1:1", '"-1:1" is not index:value'),
        ("7 |S0 1:one", '"one" is no finite number'),
        ("7 |S0 1:nan", '"nan" is no finite number'),
        ("7 |S0 3", '"3" is not index:value'),
        ("7 |x 1 2 3", "3 values, a step of it has 2"),
        ("7 |x 1:1 2:1", '"1:1" is no finite number'),
        ("seven |S0 1:1", '"seven" before the first "|" is no sequence id'),
        ("|S0 1:1", "it has no sequence id, lines before it have one"),
        ("8", 'there is no "|"'),
        ("7 | S0 1:1", "no stream name"),
        ("7 ||", "no stream name"),
        ("6 |S0 1:1", "sequence 6 comes back after another one"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, error: str) -> None:
    streams = {"S0": Stream("sparse", 10), "S2": Stream("sparse", 3), "x": Stream("dense", 2)}
    text = f"6 |S0 1:1 |S2 1:1 |x 1 2\n7 |S0 1:1 |S2 1:1 |x 1 2\n{line}\n"
    with pytest.raises(ValueError, match=re.escape("small.ctf, line 3: ") + ".*" + re.escape(error)):
        read(tmp_path, text, streams)


def test_other_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line 2: it has a sequence id, lines before it have none"):
        read(tmp_path, "|a 0:1\n2 |a 0:1\n")
    with pytest.raises(ValueError, match='line 2: stream "a": 2 values, the step before had none'):
        read(tmp_path, "|a\n|a 1 2\n")
    with pytest.raises(ValueError, match='has no step of stream "b"'):
        read(tmp_path, "|a 0:1\n", {"a": Stream("sparse", 1), "b": Stream("sparse", 1)})
    with pytest.raises(ValueError, match="holds no sequence"):
        read(tmp_path, "\n\n")
    with pytest.raises(ValueError, match="is empty"):
        read(tmp_path, "")


def test_tags_not_as_many_as_words_are_named(tmp_path: Path) -> None:
    data = read(tmp_path, SMALL)
    with pytest.raises(ValueError, match=r'line 3: sequence 9 has 1 steps of "S0" and 2 of "S2".*1 of 2'):
        data.check_same_length("S0", "S2")
    read(tmp_path, "1 |S0 1:1 |S2 0:1\n").check_same_length("S0", "S2")


@needs_atis
@pytest.mark.parametrize(("name", "lines"), [("train", 66_546), ("test", 10_984)])
def test_atis_equals_an_independent_count(name: str, lines: int) -> None:
    path = ATIS / f"atis.{name}.ctf.gz"
    data = read_ctf(path)
    text = gzip.decompress(path.read_bytes()).decode()
    assert len(text.splitlines()) == lines
    ids = re.findall(r"(?m)^(\d+)\t", text)
    for stream, wanted in (("S0", lines), ("S2", lines), ("S1", len(set(ids)))):
        found = data.sparse(stream)
        assert isinstance(found, SparseStream)
        indices = re.findall(rf"\|{stream} (\d+):1\b", text)
        assert len(found.ids()) == len(indices) == wanted
        assert Counter(found.ids().tolist()) == Counter(map(int, indices))
    assert len(data.ids) == len(set(ids))
    by_id = Counter(ids)
    assert np.diff(data.sparse("S0").offsets).tolist() == [by_id[str(k)] for k in data.ids]
    data.check_same_length("S0", "S2")
    first = [line.split("|# ")[1].split("\t")[0].strip() for line in text.splitlines()[:20]]
    assert data.sparse("S0").texts().to_pylist()[:20] == first
