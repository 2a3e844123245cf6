"""One bucket's way over the network in two phases, with error feedback in both.

1. Each rank codes gradient + residual and sends each owner the rows that it owns (all-to-all).
2. Each owner averages what it got, adds its own residual, codes again and sends it to all (all-gather).

Everyone decodes the same bytes, so all ranks hold the same average to the bit.
"""

# N ranks, n elements of a bucket

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from ludocast.compression.plan import Layout, Plan
from ludocast.compression.quantise import Message, decode, quantise
from torch import Tensor

# torch 2.13 renames it.
_all_gather = getattr(dist, "all_gather_single", dist.all_gather_into_tensor)


@dataclass
class Residual:
    """What was not sent yet, float32 [n], and the place of the next one; `commit` makes the next one current."""

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
    """The buffers of one bucket, and the three steps in which it is exchanged.

    Args:
        plan: The bucket's.
        rank: This rank among the plan's.
        dtype: Of the bucket.
        device: Of the bucket.
    """

    def __init__(self, plan: Plan, rank: int, dtype: torch.dtype, device: torch.device) -> None:
        self.plan, self.rank, self.dtype, self.device = plan, rank, dtype, device
        self.layouts = [plan.layout(owner, dtype.itemsize) for owner in range(plan.ranks)]
        self.worker = Residual.zeros(plan.elements, device)
        self.owner = Residual.zeros(plan.elements, device)
        self._average = torch.zeros(plan.elements, device=device)
        self._plain = plan.plain.to(device)
        mine, largest = self.layouts[rank].size, max(layout.size for layout in self.layouts)
        self._sizes = [layout.size for layout in self.layouts]
        self._send = torch.zeros(sum(self._sizes), dtype=torch.uint8, device=device)
        self._received = torch.zeros(plan.ranks * mine, dtype=torch.uint8, device=device)
        self._answer = torch.zeros(largest, dtype=torch.uint8, device=device)
        self._answers = torch.zeros(plan.ranks * largest, dtype=torch.uint8, device=device)

    @property
    def sent_bytes(self) -> int:
        """Bytes that this rank sends to others in one exchange."""
        to_others = len(self._send) - self.layouts[self.rank].size
        return to_others + (self.plan.ranks - 1) * len(self._answer)

    def encode(self, gradient: Tensor) -> None:
        """Code gradient + residual, float32 or bfloat16 [n], for every owner; the gradient is free thereafter."""
        finite = True
        plain = self._plain_shares(gradient)
        parts = torch.split(self._send, self._sizes)
        for part, layout, rows, share in zip(parts, self.layouts, self.plan.owned, plain, strict=True):
            if len(rows):
                message = Message(rows, part[: layout.coded])
                finite &= quantise(gradient, self.worker.now, self.worker.next, rows, message)
            _plain_view(part, layout, self.dtype).copy_(share)
        for part, layout in zip(parts, self.layouts, strict=True):
            part[layout.flag_at] = not finite

    def _plain_shares(self, gradient: Tensor) -> Tensor:
        shares = torch.zeros(self.plan.ranks * self.plan.plain_share, dtype=self.dtype, device=self.device)
        shares[: len(self._plain)] = gradient[self._plain]
        return shares.view(self.plan.ranks, -1)

    def to_owners(self, group: dist.ProcessGroup) -> None:
        """Phase 1: exchange, average the rows that this rank owns, and code the average."""
        mine = self.layouts[self.rank]
        dist.all_to_all_single(self._received, self._send, [mine.size] * self.plan.ranks, self._sizes, group=group)
        parts = self._received.view(self.plan.ranks, mine.size)
        rows = self.plan.owned[self.rank]
        share = 1 / self.plan.ranks
        finite = not bool(parts[:, mine.flag_at].any())
        if len(rows):
            for rank, part in enumerate(parts):
                decode(Message(rows, part[: mine.coded]), rows, self._average, share, accumulate=rank > 0)
            answer = Message(rows, self._answer[: mine.coded])
            finite &= quantise(self._average, self.owner.now, self.owner.next, rows, answer)
        if self.plan.plain_share:
            plain = torch.stack([_plain_view(part, mine, self.dtype) for part in parts])
            wide = plain.double() if self.dtype == torch.float64 else plain.float()
            _plain_view(self._answer, mine, self.dtype).copy_(wide.mean(dim=0))
        self._answer[mine.flag_at] = not finite

    def to_all(self, group: dist.ProcessGroup, out: Tensor) -> bool:
        """Phase 2: gather all averages into `out` [n]; whether they are finite.

        Where they are not, on any rank, `out` is NaN and the residuals stay as they were, on every rank alike.
        """
        _all_gather(self._answers, self._answer, group=group)
        parts = self._answers.view(self.plan.ranks, -1)
        flags = [bool(part[layout.flag_at]) for part, layout in zip(parts, self.layouts, strict=True)]
        if any(flags):
            out.fill_(float("nan"))
            return False
        direct = out.dtype == torch.float32 and out.is_contiguous()
        decoded = out if direct else self._average
        for part, layout, rows in zip(parts, self.layouts, self.plan.owned, strict=True):
            if len(rows):
                decode(Message(rows, part[: layout.coded]), rows, decoded)
        if not direct:
            for piece in self.plan.compressed:
                out[piece.where] = decoded[piece.where].to(out.dtype)
        if self.plan.plain_share:
            shares = [_plain_view(part, layout, self.dtype) for part, layout in zip(parts, self.layouts, strict=True)]
            out[self._plain] = torch.cat(shares)[: len(self._plain)]
        self.worker.commit()
        self.owner.commit()
        return True


def _plain_view(part: Tensor, layout: Layout, dtype: torch.dtype) -> Tensor:
    return part[layout.plain_at : layout.plain_at + layout.plain].view(dtype)
