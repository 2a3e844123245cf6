"""Days of players as bytes: which columns are not 0, a bit each, and these as numbers of 7 bits a byte."""

# R days, C columns

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class DayPacker:
    """Packs rows of whole numbers from 0 to 2⁶³ − 1, most of them small or 0.

    Args:
        columns: C.
    """

    def __init__(self, columns: int) -> None:
        self.columns, self.mask_bytes = columns, (columns + 7) // 8

    def packed(self, row: Sequence[int]) -> bytes:
        """Bytes of a row."""
        mask = 0
        out = bytearray()
        for number, value in enumerate(row):
            if value:
                mask |= 1 << number
                while value > 127:
                    out.append(value & 127 | 128)
                    value >>= 7
                out.append(value)
        return mask.to_bytes(self.mask_bytes, "little") + bytes(out)

    def unpacked(self, rows: Sequence[bytes]) -> np.ndarray[Any, Any]:
        """The rows of these bytes, int64 [R, C]."""
        data = np.frombuffer(b"".join(rows), np.uint8)
        lengths = np.array([len(row) for row in rows], np.int64)
        begin = np.cumsum(lengths) - lengths
        masked = begin[:, None] + np.arange(self.mask_bytes)
        there = np.unpackbits(data[masked], axis=1, bitorder="little")[:, : self.columns].astype(bool)
        is_number = np.ones(len(data), bool)
        is_number[masked] = False
        table = np.zeros((len(rows), self.columns), np.int64)
        table[there] = _decoded(data[is_number])
        return table


def write_numbers(numbers: Sequence[int]) -> bytes:
    """Whole numbers from 0 on, 7 bits a byte, the lowest first; the highest bit says that more follow (LEB128)."""
    out = bytearray()
    for number in numbers:
        value = number
        while value > 127:
            out.append(value & 127 | 128)
            value >>= 7
        out.append(value)
    return bytes(out)


def read_numbers(data: bytes, position: int, count: int) -> tuple[list[int], int]:
    """So many numbers from a position on, and the position after them.

    Raises:
        IndexError: If the bytes end before.
    """
    found = []
    for _ in range(count):
        value = shift = 0
        while data[position] > 127:
            value |= (data[position] & 127) << shift
            shift, position = shift + 7, position + 1
        found.append(value | data[position] << shift)
        position += 1
    return found, position


def _decoded(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """All numbers in these bytes, int64."""
    if not len(data):
        return np.zeros(0, np.int64)
    ends = data < 128
    begin = np.append(0, np.flatnonzero(ends)[:-1] + 1)
    number: np.ndarray[Any, Any] = np.cumsum(ends) - ends  # of which number a byte is part
    shift = 7 * (np.arange(len(data)) - begin[number])
    return np.add.reduceat((data & 127).astype(np.int64) << shift, begin)
