"""Steps of training on GPUs, gradients averaged in each way: `python -m benchmarks.gpu.hook`.

A process a rank. With a GPU a rank it runs on NCCL; where ranks share a GPU, on NCCL from 2.30 on by an experimental
setting, else on gloo, which takes CUDA tensors through the host's memory. Ranks that share a GPU share its memory's
bandwidth too and have no network between them: such a run shows that the hook works there and what coding costs, never
what it saves. Methods take turns of five steps and one before them that is not timed, into which falls what delay=1 has
left under way. A step's time is that of the slowest rank.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
from ludocast.compression.hook import register_onebit_hook
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook
from torch.multiprocessing.spawn import spawn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from benchmarks.compression.contestants import _as_it_is, mlp
from benchmarks.gpu.device import backend_of, describe, nccl_version, why_not

METHODS = ("fp32", "fp16", "onebit", "onebit-delay", "none")
TURN = 5  # timed steps


def build(method: str, widths: list[int], device: torch.device) -> DistributedDataParallel:
    """An MLP under DDP with its hook; equal on every rank and for every method."""
    model = DistributedDataParallel(mlp(widths).to(device), device_ids=[device.index])
    if method == "fp16":
        model.register_comm_hook(None, fp16_compress_hook)
    elif method == "none":
        model.register_comm_hook(None, _as_it_is)
    elif method != "fp32":
        register_onebit_hook(model, delay=int(method == "onebit-delay"))
    return model


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x_BD: Tensor, y_B: Tensor) -> float:
    """Seconds of a step of plain SGD, from all ranks' begin to this rank's end."""
    torch.cuda.synchronize()
    dist.barrier()
    begin = time.perf_counter()
    F.cross_entropy(model(x_BD), y_B).backward()
    optimizer.step()
    optimizer.zero_grad()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def rank_main(rank: int, options: argparse.Namespace, backend: str, folder: str) -> None:
    """One rank's part; rank 0 prints."""
    device = torch.device("cuda", rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    dist.init_process_group(
        backend, init_method=f"file://{folder}/store", rank=rank, world_size=options.ranks, timeout=timedelta(minutes=2)
    )
    generator = torch.Generator().manual_seed(rank)
    x_BD = torch.randn(options.batch, options.widths[0], generator=generator).to(device)
    y_B = torch.randint(options.widths[-1], (options.batch,), generator=generator).to(device)
    models = {method: build(method, options.widths, device) for method in options.methods}
    optimizers = {method: torch.optim.SGD(model.parameters(), lr=0.01) for method, model in models.items()}
    times: dict[str, list[float]] = {method: [] for method in models}
    for turn in range(options.turns + 1):
        for method, model in models.items():
            for i in range(TURN + 1):
                slowest = torch.tensor([step(model, optimizers[method], x_BD, y_B)], device=device)
                dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
                if turn > 0 and i > 0:  # in the first turn DDP divides its buckets and kernels are compiled
                    times[method].append(float(slowest))
    if rank == 0:
        Path(folder, "table").write_text(table(times, options), encoding="utf-8")
    dist.destroy_process_group()


def table(times: dict[str, list[float]], options: argparse.Namespace) -> str:
    """A method a line."""
    lines = [f"{'':14}{'median ms':>11}{'best ms':>9}{'rows/s':>11}{'× fp32':>8}{'% of none':>11}"]
    for method, seconds in times.items():
        middle = median(seconds)
        line = f"{method:14}{1e3 * middle:11.2f}{1e3 * min(seconds):9.2f}{options.ranks * options.batch / middle:11.0f}"
        line += f"{median(times['fp32']) / middle:8.2f}" if "fp32" in times else f"{'–':>8}"
        lines.append(line + (f"{100 * median(times['none']) / middle:11.1f}" if "none" in times else f"{'–':>11}"))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, help="default: the number of GPUs, 2 or more")
    parser.add_argument("--widths", type=int, nargs="+", default=[4096] * 9, help="of the MLP")
    parser.add_argument("--batch", type=int, default=1024, help="rows a rank")
    parser.add_argument("--turns", type=int, default=6, help=f"of {TURN} steps, of each method")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    options = parser.parse_args()
    missing = why_not(triton=True)
    if missing is not None:
        print(f"Skipped: {missing}.")
        return
    options.ranks = max(2, torch.cuda.device_count()) if options.ranks is None else options.ranks
    backend, environment, how = backend_of(options.ranks, torch.cuda.device_count(), nccl_version())
    os.environ.update({"GLOO_SOCKET_IFNAME": "lo", **environment, **os.environ})
    parameters = sum((n + 1) * m for n, m in pairwise(options.widths))
    print(f"{describe()}\n{options.ranks} ranks, {how}; {parameters:,} parameters, batch {options.batch} a rank")
    with tempfile.TemporaryDirectory() as folder:
        spawn(rank_main, (options, backend, folder), nprocs=options.ranks)
        print(Path(folder, "table").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
