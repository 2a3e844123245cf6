"""What the network bench compares: one MLP under DDP, once with each way to average its gradients.

N ranks, B rows of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from ludocast.compression.hook import OneBitState, register_onebit_hook
from torch import Tensor, nn
from torch._C._distributed_c10d import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

WIDTHS = (1536, 2048, 2048, 2048, 2048, 2048, 1024)  # 22.0 M parameters
METHODS = {
    "fp32": "plain DDP",
    "fp16": "torch's fp16_compress_hook",
    "powersgd1": "torch's PowerSGD, rank 1, one bucket",
    "powersgd4": "torch's PowerSGD, rank 4, one bucket",
    "onebit": "ours",
    "onebit-delay": "ours, delay=1",
    "onebit-8": "ours, averages of 8 bits",
    "auto": "ours, auto=True",
    "none": "no communication: the limit",
}
WARMUP = 4  # steps: DDP divides its buckets after the first, PowerSGD begins at the third
_POWERSGD_START = 2


def mlp(widths: Sequence[int] = WIDTHS) -> nn.Sequential:
    """Linear layers with ReLU between them; equal on every rank and for every method."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for n, m in pairwise(widths):
        layers += [nn.Linear(n, m), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def batch(rows: int, rank: int) -> tuple[Tensor, Tensor]:
    """Inputs [B, first width] and classes [B]."""
    generator = torch.Generator().manual_seed(rank)
    x = torch.randn(rows, WIDTHS[0], generator=generator)
    return x, torch.randint(WIDTHS[-1], (rows,), generator=generator)


class Contestant:
    """A model, its optimizer and its way to average gradients.

    Args:
        method: One of `METHODS`.
        ranks: N.
    """

    def __init__(self, method: str, ranks: int) -> None:
        self.method, self.ranks, self.steps = method, ranks, 0
        one_bucket = method.startswith("powersgd")  # with two or more it hangs on gloo
        self.model = DistributedDataParallel(mlp(), bucket_cap_mb=1024 if one_bucket else None)
        self.onebit: OneBitState | None = None
        if method == "fp16":
            self.model.register_comm_hook(None, fp16_compress_hook)
        elif one_bucket:
            state = PowerSGDState(None, int(method[-1]), start_powerSGD_iter=_POWERSGD_START)
            self.model.register_comm_hook(state, powerSGD_hook)
        elif method == "none":
            self.model.register_comm_hook(None, _as_it_is)
        elif method != "fp32":
            ways: dict[str, dict[str, Any]] = {
                "onebit-delay": {"delay": 1}, "onebit-8": {"width": 8}, "auto": {"auto": True},
            }  # fmt: skip
            options = ways.get(method, {})
            self.onebit = register_onebit_hook(self.model, **options)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)

    def step(self, x_BD: Tensor, y_B: Tensor) -> None:
        """One step of training, of plain SGD."""
        F.cross_entropy(self.model(x_BD), y_B).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.steps += 1

    def drain(self) -> None:
        """Wait for what a step has left under way (delay=1), so that it falls into no other method's turn."""
        for entry in self.onebit._buckets.values() if self.onebit is not None else ():
            if entry.late is not None:
                entry.late.wait()

    def close(self) -> None:
        """Let go of what the hook holds; no step may follow."""
        self.drain()
        if self.onebit is not None:
            self.onebit.close()

    def payload(self) -> float:
        """Bytes that this rank means to send a step, computed; without headers and acknowledgements."""
        shapes = [tuple(parameter.shape) for parameter in self.model.parameters()]
        total = sum(map(math.prod, shapes))
        if self.onebit is not None:
            return self.onebit.sent_bytes / self.steps
        if self.method.startswith("powersgd"):
            total = sum(map(partial(low_rank, rank=int(self.method[-1])), shapes))
        width = {"none": 0, "fp16": 2}.get(self.method, 4)
        return 2 * (self.ranks - 1) / self.ranks * total * width  # gloo's all-reduce is a ring


def low_rank(shape: tuple[int, ...], rank: int) -> int:
    """Numbers that PowerSGD sends of a tensor: P and Q, or all where that saves less than half."""
    n, m = shape[0], math.prod(shape[1:])
    both = min(n, m, rank) * (n + m)
    return both if 2 * both < n * m else n * m


def _as_it_is(_state: object, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    future: torch.futures.Future[Tensor] = torch.futures.Future()
    future.set_result(bucket.buffer())
    return future


# DDP compares the annotations themselves, not their text.
_as_it_is.__annotations__.update({"bucket": GradBucket, "return": torch.futures.Future[Tensor]})
