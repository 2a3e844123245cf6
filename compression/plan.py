"""Which part of a bucket is sent as bits, and which rank owns which rows of it.

A plan depends on the bucket's parameters, their order and the number of ranks alone, so every rank makes the same one.
"""

# N ranks, P parameters, R rows

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
        width: Bits a value of the averages that owners send: 1, 4 or 8.
    """

    parts: tuple[Part, ...]
    ranks: int
    elements: int
    row_length: int = 2048
    width: int = 1

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
        found += [_owners(part.name, len(self._rows((part,))), self.ranks) for part in self.compressed]
        return np.concatenate(found)

    def owned_ranges(self, rank: int) -> list[tuple[int, int]]:
        """First element and the one behind the last of what `rank` owns, a parameter each."""
        found = []
        for part in self.compressed:
            rows = self._rows((part,))
            (mine,) = np.nonzero(_owners(part.name, len(rows), self.ranks) == rank)
            if len(mine):
                found.append((int(rows.start[mine[0]]), int(rows.start[mine[-1]] + rows.length[mine[-1]])))
        return found

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

    def bits(self, coded: bool = True) -> dict[str, dict[str, float]]:
        """By parameter: its elements, and the bits a value that a rank sends its owners and owners send to all.

        Args:
            coded: Whether the bucket is sent by this plan, or averaged plainly.
        """
        found = {}
        for part in self.parts:
            plain = plain_bits(part.elements)
            if part.compressed and coded:
                rows = self._rows((part,))
                sizes = (8 * Message.size(rows, width) / max(part.elements, 1) for width in (1, self.width))
                plain |= dict(zip(("to_owners", "to_all"), sizes, strict=True))
            found[part.name] = plain
        return found

    def layout(self, rank: int, item: int, width: int = 1) -> Layout:
        """The message that carries the rows which `rank` owns in `width` bits, with plain values of `item` bytes."""
        return Layout(Message.size(self.owned[rank], width), self.plain_share * item, 1 + len(self.compressed))


def plain_bits(elements: int) -> dict[str, float]:
    """What `Plan.bits` says of a parameter that is averaged plainly."""
    return {"elements": elements, "to_owners": 32.0, "to_all": 32.0}


def uncoded(parameters: Mapping[str, torch.nn.Parameter]) -> dict[str, dict[str, float]]:
    """What `Plan.bits` says of all trained parameters before one is compressed."""
    return {name: plain_bits(parameter.numel()) for name, parameter in parameters.items() if parameter.requires_grad}


@dataclass(frozen=True)
class Layout:
    """Bytes of one message: bits and values, then plain values, then flags of a byte each.

    The first flag is 1 where a value was not finite, those behind it where a compressed parameter had no gradient.
    """

    coded: int
    plain: int
    flags: int = 1

    @property
    def plain_at(self) -> int:
        """Where the plain values begin."""
        return _aligned(self.coded)

    @property
    def flags_at(self) -> int:
        """Where the flags begin."""
        return self.plain_at + self.plain

    @property
    def size(self) -> int:
        """Bytes in all."""
        return _aligned(self.flags_at + self.flags)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _owners(name: str, rows: int, ranks: int) -> np.ndarray:
    """Owning rank of each row of one parameter; each rank owns neighbouring rows."""
    # The name turns the ranks, so that short parameters do not all fall to the first.
    turn = sum(name.encode()) % ranks
    return (np.arange(rows) * ranks // max(rows, 1) + turn) % ranks


def is_compressed(shape: tuple[int, ...], dtype: torch.dtype, smallest: int) -> bool:
    """Whether a tensor is worth sending as bits: two dimensions or more, `smallest` elements, float32 or bfloat16."""
    return len(shape) > 1 and math.prod(shape) >= smallest and dtype in (torch.float32, torch.bfloat16)


def bucket_shape(parameter: torch.Tensor) -> tuple[int, ...]:
    """The shape of what a bucket holds of a parameter: two real numbers of a complex one."""
    return tuple((torch.view_as_real(parameter) if parameter.is_complex() else parameter).shape)


def bucket_parts(
    names: Sequence[str],
    shapes: Sequence[tuple[int, ...]],
    dtype: torch.dtype = torch.float32,
    smallest: int = SMALLEST,
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
        parts.append(Part(name, tuple(shape), offset, is_compressed(tuple(shape), dtype, smallest)))
        offset += math.prod(shape)
    return tuple(parts)
