"""How a flat buffer of gradients is cut into the rows that share a reconstruction value.

R rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a flat float buffer, in ascending order, and the place of each row's bits in a message.

    Args:
        start: [R] int64 on the CPU; element offset at which a row begins.
        length: [R] int64 on the CPU; elements of a row, 1 or more.
        byte: [R] int64 on the CPU; offset of a row's bits: each row begins at a new byte, takes ceil(length / 8).
        elements: Sum of `length`.
        bytes: Bytes of all rows' bits.
    """

    start: Tensor
    length: Tensor
    byte: Tensor
    elements: int
    bytes: int

    @classmethod
    def of_parameters(cls, shapes: Sequence[tuple[int, ...]], offsets: Sequence[int], target: int = 2048) -> Rows:
        """Rows of about `target` elements, none of which crosses a parameter.

        A parameter is viewed as a matrix, `flatten(1)`, and neighbouring rows of it are merged, or each of them split
        evenly. Lengths are multiples of 16 or at least 8 wherever that is possible; the last row of a parameter (or
        of a split matrix row) is shorter where nothing divides.

        Args:
            shapes: Shape of each parameter.
            offsets: Element at which each parameter begins in the buffer, ascending.
            target: Wanted elements a row.

        Raises:
            ValueError: If the parameters overlap or do not ascend.
        """
        if len(shapes) != len(offsets):
            raise ValueError(f"one offset a shape is needed, however: {len(shapes)} shapes, {len(offsets)} offsets")
        starts: list[np.ndarray] = []
        lengths: list[np.ndarray] = []
        end = 0
        for shape, offset in zip(shapes, offsets, strict=True):
            if offset < end:
                raise ValueError(f"parameters must ascend and not overlap, however: offset {offset} < {end}")
            length = _lengths(tuple(shape), target)
            starts.append(offset + np.cumsum(length) - length)
            lengths.append(length)
            end = offset + int(length.sum())
        nothing = np.zeros(0, dtype=np.int64)
        return cls._of(np.concatenate([nothing, *starts]), np.concatenate([nothing, *lengths]))

    @classmethod
    def _of(cls, start: np.ndarray, length: np.ndarray) -> Rows:
        size = (length + 7) // 8
        start_R, length_R, byte_R = (torch.from_numpy(x) for x in (start, length, np.cumsum(size) - size))
        return cls(start_R, length_R, byte_R, int(length.sum()), int(size.sum()))

    def __len__(self) -> int:
        return len(self.start)

    def slice(self, a: int, b: int) -> Rows:
        """Rows `a` to `b` (exclusive) as rows of the buffer that begins at row `a`'s first element."""
        start, length = self.start[a:b].numpy(), self.length[a:b].numpy()
        return Rows._of(start - start[:1], length.copy())

    def take(self, index: np.ndarray) -> Rows:
        """Some of the rows, ascending, at the same places of the same buffer; their bits are numbered anew."""
        return Rows._of(self.start.numpy()[index], self.length.numpy()[index])

    @cached_property
    def span(self) -> int:
        """Elements from the buffer's begin to the last row's end: what a buffer must hold at least."""
        return int(self.start[-1] + self.length[-1]) if len(self) else 0

    @cached_property
    def pointers(self) -> np.ndarray:
        """Addresses of `start`, `length` and `byte`, and the number of rows, int64 [4], as the C kernels take them."""
        return np.array([self.start.data_ptr(), self.length.data_ptr(), self.byte.data_ptr(), len(self)], np.int64)


def _lengths(shape: tuple[int, ...], target: int) -> np.ndarray:
    """[rows] int64: the lengths of one parameter's rows."""
    elements, columns = math.prod(shape), math.prod(shape[1:])
    if elements == 0:
        return np.zeros(0, dtype=np.int64)
    parts = round(columns / target)
    if parts > 1:  # each matrix row is split
        return np.tile(_cut(columns, -(-columns // (16 * parts)) * 16), elements // columns)
    return _cut(elements, columns * _merged(columns, target))


def _merged(columns: int, target: int) -> int:
    """How many matrix rows make a row: near `target` elements, a multiple of 16 or 8 where twice the target allows."""
    wanted = max(1, round(target / columns))
    for unit in (16, 8):
        step = unit // math.gcd(columns, unit)
        count = max(1, round(wanted / step)) * step
        if count * columns <= 2 * target:
            return count
    return wanted


def _cut(total: int, length: int) -> np.ndarray:
    """`total` elements in pieces of `length`, the last one shorter."""
    pieces = np.full(-(-total // length), length, dtype=np.int64)
    pieces[-1] = total - length * (len(pieces) - 1)
    return pieces
