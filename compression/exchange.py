"""One bucket's way over the network in two phases, with error feedback in both.

1. Each rank codes gradient + residual of the rows that others own, and sends each owner its rows (all-to-all).
2. Each owner adds what it got to its own gradient + residual, which it need not code, codes the sum and sends it to all
   (all-gather).

Both ends of every message keep the sizes of its steps, which change with a step that all ranks have brought to its end.
Everyone decodes the same bytes and divides by the number of ranks, so all ranks hold the same average to the bit.
"""

# N ranks, n elements of a bucket

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from ludocast.compression.plan import Layout, Plan
from ludocast.compression.quantise import Message, Steps, decode, learn, quantise
from ludocast.compression.rows import Rows
from torch import Tensor

# torch 2.13 renames it.
_all_gather: Callable[..., object] = getattr(dist, "all_gather_single", dist.all_gather_into_tensor)


@dataclass
class Residual:
    """What a rank has still to add, float32 [n], and the place of the next one; `commit` makes the next one current.

    In the rows that it owns it is what the sum that it sent to all has left over, in all others what this rank has not
    told their owner: all of the size of a gradient, so that what is missing in an average is the residuals' mean.
    """

    now: Tensor
    next: Tensor

    @staticmethod
    def zeros(elements: int, device: torch.device) -> Residual:
        """Nothing left over."""
        return Residual(torch.zeros(elements, device=device), torch.zeros(elements, device=device))

    def commit(self) -> None:
        """Take the next one."""
        self.now, self.next = self.next, self.now


class BucketExchange:
    """The buffers of one bucket, and the steps in which it is exchanged, to be called in this order.

    Args:
        plan: The bucket's.
        rank: This rank among the plan's.
        dtype: Of the bucket.
        device: Of the bucket.
        late: The bucket's buffer is overwritten before `add`, so that `encode` keeps what is needed of it.
        may_drop: DDP drops the average of a parameter that no rank has used, so that nothing is to be sent of it.
    """

    def __init__(
        self,
        plan: Plan,
        rank: int,
        dtype: torch.dtype,
        device: torch.device,
        late: bool = False,
        may_drop: bool = False,
    ) -> None:
        self.plan, self.rank, self.dtype, self.device = plan, rank, dtype, device
        self.late, self.may_drop = late, may_drop
        self._own_ranges = plan.owned_ranges(rank) if late else []
        self.residual = Residual.zeros(plan.elements, device)
        self._plain = plan.plain.to(device)
        self._rows = plan.owned[rank]
        self._others = [owner for owner in range(plan.ranks) if owner != rank]

        asked = [plan.layout(owner, dtype.itemsize) for owner in range(plan.ranks)]
        self._sent_sizes = [0 if owner == rank else asked[owner].size for owner in range(plan.ranks)]
        self._got_sizes = [0 if other == rank else asked[rank].size for other in range(plan.ranks)]
        self._send = torch.zeros(sum(self._sent_sizes), dtype=torch.uint8, device=device)
        self._got = torch.zeros(sum(self._got_sizes), dtype=torch.uint8, device=device)
        sent, got = (
            torch.split(whole, sizes)
            for whole, sizes in ((self._send, self._sent_sizes), (self._got, self._got_sizes))
        )  # fmt: skip
        self._to = {owner: _Piece(sent[owner], asked[owner], plan.owned[owner]) for owner in self._others}
        self._from = [_Piece(got[other], asked[rank], self._rows) for other in self._others]

        answered = [plan.layout(owner, dtype.itemsize, plan.width) for owner in range(plan.ranks)]
        largest = max(layout.size for layout in answered)
        self._answer = torch.zeros(largest, dtype=torch.uint8, device=device)
        self._answers = torch.zeros(plan.ranks * largest, dtype=torch.uint8, device=device)
        parts = torch.split(self._answers, largest)
        self._all = [
            _Piece(parts[owner], answered[owner], plan.owned[owner], plan.width) for owner in range(plan.ranks)
        ]
        self._mine = _Piece(self._answer, answered[rank], self._rows, plan.width)
        self._mine.steps = self._all[rank].steps  # decoding brings on what coding goes by
        self._own_plain = torch.zeros(plan.plain_share, dtype=dtype, device=device)
        self._flags = torch.zeros(1 + len(plan.compressed), dtype=torch.uint8, device=device)

    @property
    def sent_bytes(self) -> int:
        """Bytes that this rank sends to others in one exchange."""
        return len(self._send) + len(self._others) * len(self._answer)

    def encode(self, gradient: Tensor) -> None:
        """Code gradient + residual, float32 or bfloat16 [n], for the owners."""
        finite = True
        shares = self._plain_shares(gradient)
        for owner, piece in self._to.items():
            if piece.rows:
                residual = (self.residual.now, self.residual.next)
                finite &= quantise(gradient, *residual, piece.rows, piece.message, piece.steps)
            piece.plain(self.dtype).copy_(shares[owner])
        self._own_plain.copy_(shares[self.rank])
        unused = [self.may_drop and not gradient[part.where].any() for part in self.plan.compressed]
        self._flags.copy_(torch.tensor([not finite, *unused], dtype=torch.uint8))
        for piece in self._to.values():
            piece.flags.copy_(self._flags)
        for start, end in self._own_ranges:
            self.residual.next[start:end] = gradient[start:end]

    def _plain_shares(self, gradient: Tensor) -> Tensor:
        shares = torch.zeros(self.plan.ranks * self.plan.plain_share, dtype=self.dtype, device=self.device)
        shares[: len(self._plain)] = gradient[self._plain]
        return shares.view(self.plan.ranks, -1)

    def to_owners(self, group: dist.ProcessGroup) -> None:
        """Phase 1 on the network."""
        dist.all_to_all_single(self._got, self._send, self._got_sizes, self._sent_sizes, group=group)

    def add(self, gradient: Tensor) -> None:
        """Add what this rank got of the rows that it owns to its own gradient [n], and code the sum."""
        flags = [self._flags, *(piece.flags for piece in self._from)]
        finite = not any(bool(flag[0]) for flag in flags)
        if self._rows and finite:
            received = [(piece.message, piece.known_steps) for piece in self._from]
            mine, residual = self.residual.next if self.late else gradient, (self.residual.now, self.residual.next)
            finite = quantise(mine, *residual, self._rows, self._mine.message, self._mine.steps, received)
            if self.may_drop and finite:
                self._hold_back(torch.stack(flags).all(dim=0)[1:].tolist())
        if self.plan.plain_share:
            shares = [piece.plain(self.dtype) for piece in self._from]
            shares.insert(self.rank, self._own_plain)  # one order of addition, whoever owns the share
            plain = torch.stack(shares)
            wide = plain.float() if self.dtype in (torch.float16, torch.bfloat16) else plain
            self._mine.plain(self.dtype).copy_(wide.mean(dim=0))
        self._mine.flags[0] = not finite

    def _hold_back(self, unused: list[bool]) -> None:
        """Send zeros of parameters that no rank has used, and keep what would have been sent."""
        if not any(unused):
            return
        message, start = self._mine.message, self._rows.start.to(self.device)
        coded = torch.zeros(self.plan.elements, device=self.device)
        decode(message, self._rows, coded, steps=self._mine.steps)
        for part, dropped in zip(self.plan.compressed, unused, strict=True):
            if dropped:
                self.residual.next[part.where] += coded[part.where]
                message.values[(start >= part.where.start) & (start < part.where.stop)] = 0

    def to_all(self, group: dist.ProcessGroup) -> None:
        """Phase 2 on the network."""
        _all_gather(self._answers, self._answer, group=group)

    def decode(self, out: Tensor, keep: bool = True) -> bool:
        """Write all averages into `out` [n]; whether they are finite.

        Where they are not, on any rank, `out` is NaN and the residuals stay as they were, on every rank alike.

        Args:
            out: Written.
            keep: Whether the residuals change; not in a trial.
        """
        if any(bool(piece.flags[0]) for piece in self._all):
            out.fill_(float("nan"))
            return False
        direct = out.dtype == torch.float32 and out.is_contiguous()
        decoded = out if direct else torch.empty(self.plan.elements, device=self.device)
        for piece in self._all:
            if piece.rows:
                learning = keep and piece.steps is not None
                decode(piece.message, piece.rows, decoded, 1 / self.plan.ranks, steps=piece.steps, learning=learning)
        if not direct:
            for part in self.plan.compressed:
                out[part.where] = decoded[part.where].to(out.dtype)
        if self.plan.plain_share:
            out[self._plain] = torch.cat([piece.plain(self.dtype) for piece in self._all])[: len(self._plain)]
        if keep:
            self._commit()
        return True

    def _commit(self) -> None:
        """Make what this exchange has left over, and what it has learnt of the steps, current."""
        self.residual.commit()
        for piece in (*self._to.values(), *self._from):
            if piece.rows:
                learn(piece.message, piece.rows, piece.known_steps)
        for piece in (*self._to.values(), self._mine):
            if piece.steps is not None:
                piece.steps.commit()

    def steps(self) -> Iterator[tuple[str, Steps, Rows]]:
        """Of every message of 1 bit a value its name, alike in any bucket, its steps and its rows."""
        named = {f"to owner {owner}": piece for owner, piece in self._to.items()}
        named |= {f"from other {sender}": piece for sender, piece in enumerate(self._from)}
        named |= {f"to all from {owner}": piece for owner, piece in enumerate(self._all)}
        for name, piece in named.items():
            if piece.steps is not None:
                yield name, piece.steps, piece.rows

    def flush(self, gradient: Tensor, local_ranks: int = 1) -> None:
        """Add to a gradient that is to be averaged plainly what was not sent yet, and keep nothing of it.

        Args:
            gradient: Of this rank; changed.
            local_ranks: Of the host for which this rank speaks: what it keeps is of the size of their mean.
        """
        for part in self.plan.compressed:
            if self.may_drop and not gradient[part.where].any():
                continue
            gradient[part.where] += local_ranks * self.residual.now[part.where].to(gradient.dtype)
            self.residual.now[part.where] = 0


class _Piece:
    """One message in a buffer: rows with their steps, plain values and flags."""

    def __init__(self, buffer: Tensor, layout: Layout, rows: Rows, width: int = 1) -> None:
        self.buffer, self._layout, self.rows = buffer, layout, rows
        self.steps = Steps(rows, buffer.device) if width == 1 else None
        self.message = Message(rows, buffer[: layout.coded], width=width)

    @property
    def known_steps(self) -> Steps:
        if self.steps is None:
            raise AssertionError("what goes to owners is always 1 bit a value")
        return self.steps

    def plain(self, dtype: torch.dtype) -> Tensor:
        return self.buffer[self._layout.plain_at : self._layout.plain_at + self._layout.plain].view(dtype)

    @property
    def flags(self) -> Tensor:
        return self.buffer[self._layout.flags_at : self._layout.flags_at + self._layout.flags]
