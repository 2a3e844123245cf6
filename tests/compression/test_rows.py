from __future__ import annotations

import pytest
import torch
from ludocast.compression.rows import Rows


def _lists(rows: Rows) -> tuple[list[int], list[int], list[int]]:
    return rows.start.tolist(), rows.length.tolist(), rows.byte.tolist()


def test_neighbouring_rows_are_merged() -> None:
    # 700 columns: 3 of them are 2,100, no multiple of 8; 4 are 2,800 = 16 · 175; 10 = 4 + 4 + 2 rows.
    rows = Rows.of_parameters([(10, 700)], [0])
    assert _lists(rows) == ([0, 2800, 5600], [2800, 2800, 1400], [0, 350, 700])
    assert (rows.elements, rows.bytes, rows.span) == (7000, 875, 7000)


def test_long_rows_are_split_within_themselves() -> None:
    # 5,001 columns: 2 parts a row, 2,512 = 16 · 157 and the rest, 2,489, whose bits take 312 bytes.
    rows = Rows.of_parameters([(2, 5001)], [0])
    assert _lists(rows) == ([0, 2512, 5001, 7513], [2512, 2489, 2512, 2489], [0, 314, 626, 940])
    assert (rows.elements, rows.bytes) == (10002, 1252)


def test_convolutions_and_vectors_and_gaps() -> None:
    # 64 · 3 · 3 = 576 columns, 4 of them 2,304; a vector has rows of 2,048; elements 2,304 to 2,999 belong to nobody.
    rows = Rows.of_parameters([(4, 64, 3, 3), (2050,), ()], [0, 3000, 5050])
    assert _lists(rows) == ([0, 3000, 5048, 5050], [2304, 2048, 2, 1], [0, 288, 544, 545])
    assert (rows.elements, rows.bytes, rows.span) == (4355, 546, 5051)


def test_a_target_too_small_for_multiples_keeps_whole_rows() -> None:
    rows = Rows.of_parameters([(4, 3)], [0], target=3)
    assert rows.length.tolist() == [3, 3, 3, 3]
    assert rows.byte.tolist() == [0, 1, 2, 3]


def test_nothing_gives_no_rows() -> None:
    rows = Rows.of_parameters([(0, 5)], [0])
    assert (len(rows), rows.elements, rows.bytes, rows.span) == (0, 0, 0, 0)
    assert (len(Rows.of_parameters([], [])), len(rows.slice(0, 0))) == (0, 0)


def test_a_slice_is_rebased() -> None:
    rows = Rows.of_parameters([(3, 5001), (7,)], [0, 20000]).slice(1, 7)
    assert _lists(rows) == (
        [0, 2489, 5001, 7490, 10002, 17488],
        [2489, 2512, 2489, 2512, 2489, 7],
        [0, 312, 626, 938, 1252, 1564],
    )
    assert (rows.elements, rows.bytes, rows.span) == (12498, 1565, 17495)
    assert all(x.is_contiguous() and x.dtype == torch.int64 for x in (rows.start, rows.length, rows.byte))


@pytest.mark.parametrize("columns", [1, 7, 8, 100, 513, 784, 1000, 1025, 2048, 3071, 3073, 4097, 10007, 65536])
def test_every_element_is_in_one_row_of_a_fair_length(columns: int) -> None:
    rows = Rows.of_parameters([(37, columns)], [5])
    owner = torch.zeros(5 + 37 * columns, dtype=torch.int64)
    for start, length in zip(rows.start.tolist(), rows.length.tolist(), strict=True):
        owner[start : start + length] += 1
        assert length <= 4096
    assert owner.tolist() == [0] * 5 + [1] * (37 * columns)
    assert rows.elements / len(rows) > min(1024, 37 * columns - 1)


def test_overlapping_parameters_are_an_error() -> None:
    with pytest.raises(ValueError, match="offset 3 < 4"):
        Rows.of_parameters([(4,), (4,)], [0, 3])
    with pytest.raises(ValueError, match="1 shapes, 2 offsets"):
        Rows.of_parameters([(4,)], [0, 4])
