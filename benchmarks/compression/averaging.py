"""The ways to average gradients that the convergence bench compares, as DDP communication hooks.

N ranks, n elements of a tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from ludocast.compression.hook import OneBitState, register_onebit_hook
from ludocast.compression.plan import bucket_parts
from ludocast.compression.rows import Rows
from torch import Tensor, nn
from torch._C._distributed_c10d import GradBucket
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

from benchmarks.compression.contestants import low_rank

METHODS = {
    "fp32": "plain DDP",
    "onebit": "ours",
    "onebit-4096": "ours, row_length=4096",
    "onebit-8": "ours, width=8: owners send averages of 8 bits",
    "onebit-delay": "ours, delay=1",
    "two-values": "1 bit, two means a row (Seide et al.), error feedback in both phases; its mathematics alone",
    "one-scale": "1 bit, one scale a tensor, error feedback in both phases; its mathematics alone",
    "no-feedback": "1 bit, two means a row, no error feedback; its mathematics alone",
    "powersgd1": "torch's PowerSGD, rank 1, one bucket",
    "powersgd4": "torch's PowerSGD, rank 4, one bucket",
}
ONEBIT: dict[str, dict[str, Any]] = {
    "onebit": {}, "onebit-4096": {"row_length": 4096}, "onebit-8": {"width": 8}, "onebit-delay": {"delay": 1},
}  # fmt: skip
Coder = Callable[[Tensor, tuple[int, ...]], Tensor]  # flat values and their tensor's shape to what is decoded of them


class Averaging:
    """A model under DDP with one of the `METHODS`.

    Args:
        method: Which.
        module: The model.
        warmup: Steps of plain averaging that come first.
    """

    def __init__(self, method: str, module: nn.Module, warmup: int) -> None:
        self.method, self.warmup = method, warmup
        one_bucket = method.startswith("powersgd")  # with two or more it hangs on gloo
        self.model = DistributedDataParallel(module, bucket_cap_mb=1024 if one_bucket else None)
        self.onebit: OneBitState | None = None
        if one_bucket:
            start = max(2, warmup)  # what torch asks for at least
            self.model.register_comm_hook(
                PowerSGDState(None, int(method[-1]), start_powerSGD_iter=start), powerSGD_hook
            )
        elif method in ONEBIT:
            self.onebit = register_onebit_hook(self.model, warmup, **ONEBIT[method])
        elif method in SIMULATED:
            self.model.register_comm_hook(_Simulated(self.model, *SIMULATED[method], warmup), _simulated_hook)
        elif method != "fp32":
            raise ValueError(f"unknown method {method}; there are {', '.join(METHODS)}")

    def bytes_saved(self, steps: int) -> float | None:
        """fp32's bytes over this method's in a step after the warm-up; None where only mathematics is simulated."""
        shapes = [tuple(parameter.shape) for parameter in self.model.parameters()]
        total = sum(map(math.prod, shapes))
        if self.onebit is not None and steps > self.warmup:
            ranks = self.onebit.ranks
            mine = torch.tensor(float(self.onebit.sent_bytes))
            dist.all_reduce(mine)
            fp32 = 2 * (ranks - 1) * 4 * total  # of all ranks; gloo's all-reduce is a ring
            return fp32 * (steps - self.warmup) / float(mine)
        if self.method.startswith("powersgd"):
            return total / sum(map(partial(low_rank, rank=int(self.method[-1])), shapes))
        return 1.0 if self.method == "fp32" else None

    def close(self) -> None:
        """End what the hook has started."""
        if self.onebit is not None:
            self.onebit.close()


def one_scale(c: Tensor, _shape: tuple[int, ...]) -> Tensor:
    """Sign times the mean magnitude of the whole tensor."""
    return torch.where(c >= 0, 1.0, -1.0) * c.abs().mean()


def two_values(c: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The mean of a row's elements below zero for each of them, and that of the others."""
    rows = Rows.of_parameters([shape], [0])
    row = torch.repeat_interleave(torch.arange(len(rows)), rows.length)
    group = 2 * row + (c >= 0)
    sums = torch.zeros(2 * len(rows)).index_add_(0, group, c)
    return (sums / torch.bincount(group, minlength=2 * len(rows)))[group]


SIMULATED = {"two-values": (two_values, True), "one-scale": (one_scale, True), "no-feedback": (two_values, False)}


class _Simulated:
    """Both phases with decoded values in float32: owners' residuals, being equal on all ranks, are kept on all."""

    def __init__(self, model: DistributedDataParallel, coder: Coder, feedback: bool, warmup: int) -> None:
        self.coder, self.feedback, self.warmup, self.step = coder, feedback, warmup, 0
        self.names = {id(parameter): name for name, parameter in model.module.named_parameters()}
        self.worker: dict[str, Tensor] = {}
        self.owner: dict[str, Tensor] = {}

    def average(self, bucket: GradBucket) -> Tensor:
        buffer, step = bucket.buffer(), self.step
        self.step += bucket.is_last()
        names = [self.names[id(parameter)] for parameter in bucket.parameters()]
        shapes = [tuple(parameter.shape) for parameter in bucket.parameters()]
        parts = [part for part in bucket_parts(names, shapes, buffer.dtype) if part.compressed and step >= self.warmup]
        for part in parts:
            buffer[part.where] = self._code(buffer[part.where], part.name, part.shape, self.worker)
        dist.all_reduce(buffer)
        buffer /= dist.get_world_size()
        for part in parts:
            buffer[part.where] = self._code(buffer[part.where], part.name, part.shape, self.owner)
        return buffer

    def _code(self, x: Tensor, name: str, shape: tuple[int, ...], residuals: dict[str, Tensor]) -> Tensor:
        c = x + residuals[name] if name in residuals else x.clone()
        decoded = self.coder(c, shape)
        if self.feedback:
            residuals[name] = c - decoded
        return decoded


def _simulated_hook(state: _Simulated, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    future: torch.futures.Future[Tensor] = torch.futures.Future()
    future.set_result(state.average(bucket))
    return future


# DDP compares the annotations themselves, not their text.
_simulated_hook.__annotations__.update({"bucket": GradBucket, "return": torch.futures.Future[Tensor]})
