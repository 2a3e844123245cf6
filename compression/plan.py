"""Which part of a bucket is sent as bits, and which rank owns which rows of it.

A plan depends on the bucket's parameters, their order and the number of ranks alone, so every rank makes the same one.
"""

# N ranks, P parameters, R rows

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from ludocast.compression.quantise import Message
from ludocast.compression.rows import Rows

SMALLEST = 16_384  # elements from which a tensor of two dimensions or more is worth compressing
ALIGNMENT = 64  # bytes at which the parts of a message begin


@dataclass(frozen=True)
class Part:
    """One parameter's place in a bucket's flat buffer; `compressed` if it goes as bits."""

    name: str
    shape: tuple[int, ...]
    offset: int
    compressed: bool

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def where(self) -> slice:
        """The parameter's elements in the buffer."""
        return slice(self.offset, self.offset + self.elements)


@dataclass(frozen=True, eq=False)
class Plan:
    """How one bucket is sent.

    Attributes:
        parts: The bucket's parameters, in its order.
        ranks: N.
        elements: Of the bucket's buffer.
        row_length: Wanted elements a row.
    """

    parts: tuple[Part, ...]
    ranks: int
    elements: int
    row_length: int = 2048

    @cached_property
    def rows(self) -> Rows:
        """All compressed rows."""
        return self._rows(self.compressed)

    @cached_property
    def compressed(self) -> tuple[Part, ...]:
        """The parameters that go as bits."""
        return tuple(part for part in self.parts if part.compressed)

    @cached_property
    def owned(self) -> tuple[Rows, ...]:
        """The rows that each rank decodes, averages and sends on; all parameters are shared out the same way.

        Ownership follows from a parameter's name and rows, never from the bucket it lies in: a new division into
        buckets leaves every owner's residual where it is.
        """
        owner = self.owner
        return tuple(self.rows.take(np.flatnonzero(owner == rank)) for rank in range(self.ranks))

    @cached_property
    def owner(self) -> np.ndarray:
        """Owning rank of each row, int64 [R]."""
        found = [np.zeros(0, np.int64)]
        for part in self.compressed:
            count = len(self._rows((part,)))
            # The name turns the ranks, so that short parameters do not all fall to the first.
            turn = sum(part.name.encode()) % self.ranks
            found.append((np.arange(count) * self.ranks // count + turn) % self.ranks)
        return np.concatenate(found)

    def _rows(self, parts: Sequence[Part]) -> Rows:
        return Rows.of_parameters([part.shape for part in parts], [part.offset for part in parts], self.row_length)

    @cached_property
    def plain(self) -> torch.Tensor:
        """Elements that go as they are, int64 indices into the buffer, ascending."""
        pieces = [torch.arange(part.offset, part.offset + part.elements) for part in self.parts if not part.compressed]
        return torch.cat(pieces) if pieces else torch.zeros(0, dtype=torch.int64)

    @cached_property
    def plain_share(self) -> int:
        """Elements of the plain values that each rank averages; the last share is padded."""
        return -(-len(self.plain) // self.ranks)

    def layout(self, rank: int, width: int) -> Layout:
        """The message that carries the rows which `rank` owns, with plain values of `width` bytes."""
        return Layout(Message.size(self.owned[rank]), self.plain_share * width)


@dataclass(frozen=True)
class Layout:
    """Bytes of one message: bits and values, then plain values, then a flag: 1 where a value was not finite."""

    coded: int
    plain: int

    @property
    def plain_at(self) -> int:
        """Where the plain values begin."""
        return _aligned(self.coded)

    @property
    def flag_at(self) -> int:
        """Where the flag stands."""
        return self.plain_at + self.plain

    @property
    def size(self) -> int:
        """Bytes in all."""
        return _aligned(self.flag_at + 1)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def bucket_parts(
    names: Sequence[str], shapes: Sequence[tuple[int, ...]], dtype: torch.dtype, smallest: int = SMALLEST
) -> tuple[Part, ...]:
    """The parts of a bucket whose parameters lie behind one another.

    Args:
        names: Of the parameters, in the bucket's order.
        shapes: Theirs.
        dtype: Of the bucket; only float32 and bfloat16 are compressed.
        smallest: Elements from which a tensor is compressed.
    """
    parts, offset = [], 0
    for name, shape in zip(names, shapes, strict=True):
        worth = len(shape) > 1 and math.prod(shape) >= smallest and dtype in (torch.float32, torch.bfloat16)
        parts.append(Part(name, tuple(shape), offset, worth))
        offset += math.prod(shape)
    return tuple(parts)
