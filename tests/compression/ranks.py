"""Real process groups for the tests: N processes, gloo, each running one function of a module."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def on_ranks(ranks: int, function: Callable[..., Any], *arguments: Any, timeout: float = 60) -> list[Any]:
    """Run `function(rank, *arguments)` in a process group of N processes; what each returned, None where it died."""
    with tempfile.TemporaryDirectory() as folder:
        context = mp.get_context("spawn")
        processes = [
            context.Process(target=_run, args=(rank, ranks, folder, function, arguments, timeout))
            for rank in range(ranks)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        found = [Path(folder) / f"{rank}.pt" for rank in range(ranks)]
        results = [torch.load(path, weights_only=False) if path.exists() else None for path in found]
    for result in results:
        if isinstance(result, _Failure):
            raise AssertionError(result.text)
    return results


class _Failure:
    def __init__(self, text: str) -> None:
        self.text = text


def _run(
    rank: int, ranks: int, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...], timeout: float
) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks, timeout=timedelta(seconds=timeout)
    )
    try:
        result = function(rank, *arguments)
    except Exception:
        result = _Failure(f"rank {rank}: {traceback.format_exc()}")
    torch.save(result, f"{folder}/{rank}.pt.partial")
    os.rename(f"{folder}/{rank}.pt.partial", f"{folder}/{rank}.pt")
    os._exit(0)  # a group whose peers died would wait for them


class Given(nn.Module):
    """Parameters whose gradients are whatever is given: the loss is their inner product."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape, dtype=dtype)))

    def forward(self, gradients: dict[str, Tensor]) -> Tensor:
        products = [(parameter * gradients[name]).sum() for name, parameter in self.named_parameters()]
        return torch.stack(products).sum()


def wrapped(shapes: dict[str, tuple[int, ...]], bucket_mb: float = 25.0, **options: Any) -> DistributedDataParallel:
    return DistributedDataParallel(Given(shapes), bucket_cap_mb=bucket_mb, **options)


def gradients(shapes: dict[str, tuple[int, ...]], rank: int, step: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1_000 * step + rank)
    return {name: torch.randn(shape, generator=generator) + 0.1 * rank for name, shape in shapes.items()}


def average_once(model: DistributedDataParallel, given: dict[str, Tensor]) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    model(given).backward()
    return {name: p.grad.clone() for name, p in model.module.named_parameters() if p.grad is not None}
