"""Real process groups for the tests: N processes, gloo, each running one function of a module."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable, Mapping
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

Shapes = Mapping[str, tuple[int, ...]]
_POOL: list[tuple[Any, Connection]] = []  # living rank processes and the pipes to them; starting one takes seconds


def on_ranks(
    ranks: int, function: Callable[..., Any], *arguments: Any, timeout: float = 60, fresh: bool = False
) -> list[Any]:
    """Run `function(rank, *arguments)` in a new process group of N processes.

    Args:
        ranks: N.
        function: Of a module; what it returns is pickled, and is not None.
        arguments: Of it.
        timeout: Of the process group, in seconds.
        fresh: In processes of their own, which may be killed.

    Returns:
        What each rank returned; None where it died.
    """
    pool = [_start() for _ in range(ranks)] if fresh else _POOL
    while len(pool) < ranks:
        pool.append(_start())
    with tempfile.TemporaryDirectory() as folder:
        for rank, (_, pipe) in enumerate(pool[:ranks]):
            pipe.send((rank, ranks, folder, function, arguments, timeout))
        results = [_receive(pipe) for _, pipe in pool[:ranks]]
    if fresh or any(result is None for result in results):
        for process, _ in pool:
            process.kill()
        pool.clear()
    for result in results:
        if isinstance(result, _Failure):
            raise AssertionError(result.text)
    return results


def _start() -> tuple[Any, Connection]:
    context = mp.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    there.close()
    return process, here


def _receive(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except (EOFError, ConnectionResetError):
        return None


class _Failure:
    def __init__(self, text: str) -> None:
        self.text = text


def _serve(pipe: Connection) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    while True:
        rank, ranks, folder, function, arguments, timeout = pipe.recv()
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks,
            timeout=timedelta(seconds=timeout),
        )  # fmt: skip
        dist.barrier()  # all are connected: one that returns at once must not hang up on one still connecting
        try:
            result = function(rank, *arguments)
        except Exception:
            result = _Failure(f"rank {rank}: {traceback.format_exc()}")
        pipe.send(result)
        dist.destroy_process_group()


class Given(nn.Module):
    """Parameters whose gradients are whatever is given: the loss is their inner product; what is not given is unused."""

    def __init__(self, shapes: Shapes, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape, dtype=dtype)))

    def forward(self, gradients: dict[str, Tensor]) -> Tensor:
        parameters = dict(self.named_parameters())
        products = [(parameters[name] * gradient).sum() for name, gradient in gradients.items()]
        return torch.stack(products).sum()


def wrapped(
    shapes: Shapes, bucket_mb: float = 25.0, dtype: torch.dtype = torch.float32, **options: Any
) -> DistributedDataParallel:
    return DistributedDataParallel(Given(shapes, dtype), bucket_cap_mb=bucket_mb, **options)


def gradients(shapes: Shapes, rank: int, step: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1_000 * step + rank)
    return {name: torch.randn(shape, generator=generator) + 0.1 * rank for name, shape in shapes.items()}


def average_once(model: DistributedDataParallel, given: dict[str, Tensor]) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    model(given).backward()
    return {name: p.grad.clone() for name, p in model.module.named_parameters() if p.grad is not None}
