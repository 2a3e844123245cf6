"""Segments of flat arrays beside loops, and sequences by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ludocast.datamodules.ragged import first_at_least, flat_positions, offsets_of
from ludocast.datamodules.sequences import Sequences, from_offsets

segments = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=6)


@given(segments, st.lists(st.integers(-1, 11), min_size=6, max_size=6))
def test_search_and_positions_equal_loops(parts: list[list[int]], targets: list[int]) -> None:
    ordered = [sorted(part) for part in parts]
    offsets = offsets_of(np.array([len(part) for part in ordered], np.int64))
    values = np.array([value for part in ordered for value in part] or [0])
    begin, end = offsets[:-1], offsets[1:]
    wanted = [
        next((int(b) + k for k, value in enumerate(part) if value >= target), int(b) + len(part))
        for part, b, target in zip(ordered, begin, targets, strict=False)
    ]
    assert first_at_least(values, begin, end, np.array(targets[: len(parts)])).tolist() == wanted
    assert flat_positions(begin[::-1], end[::-1]).tolist() == [
        p for b, e in zip(begin[::-1], end[::-1], strict=True) for p in range(int(b), int(e))
    ]


def values_of(sequences: Sequences, name: str = "token") -> list[list[int]]:
    return [sequences.steps[name][b:e].tolist() for b, e in zip(sequences.begin, sequences.end, strict=True)]


def three() -> Sequences:
    return from_offsets({"token": np.arange(10, 17)}, np.array([0, 3, 3, 7]), {"label": np.array([5, 6, 7])})


def test_sequences_by_hand() -> None:
    sequences = three()
    assert values_of(sequences) == [[10, 11, 12], [], [13, 14, 15, 16]]
    assert sequences.lengths.tolist() == [3, 0, 4]
    turned = sequences.rows(np.array([2, 0]))
    assert values_of(turned) == [[13, 14, 15, 16], [10, 11, 12]]
    assert turned.static["label"].tolist() == [7, 5]
    assert turned.steps["token"] is sequences.steps["token"]
    assert turned.compact().steps["token"].tolist() == [13, 14, 15, 16, 10, 11, 12]
    assert values_of(turned.compact()) == values_of(turned)
    assert values_of(turned.joined()) == [[13, 14, 15, 16, 10, 11, 12]]


def test_cut_and_next_by_hand() -> None:
    pieces = three().cut(3)
    assert values_of(pieces) == [[10, 11, 12], [], [13, 14, 15], [16]]
    assert pieces.static["label"].tolist() == [5, 6, 7, 7]
    following = three().with_next("token")
    assert values_of(following) == [[10, 11], [], [13, 14, 15]]
    assert values_of(following, "target") == [[11, 12], [], [14, 15, 16]]
    # Cut after the targets are set, a piece still knows what follows its last step.
    assert values_of(following.cut(2), "target") == [[11, 12], [], [14, 15], [16]]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one length, got \[2, 3\]"):
        from_offsets({"a": np.zeros(2), "b": np.zeros(3)}, np.array([0, 2]))
    with pytest.raises(ValueError, match="ends outside"):
        from_offsets({"a": np.zeros(2)}, np.array([0, 3]))
    with pytest.raises(ValueError, match="one entry a sequence"):
        from_offsets({"a": np.zeros(2)}, np.array([0, 2]), {"label": np.zeros(2)})
    with pytest.raises(ValueError, match="longest=0"):
        three().cut(0)
