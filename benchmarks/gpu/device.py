"""What the GPU benches need, and what they ran on."""

from __future__ import annotations

import importlib.util

import torch

# NCCL's experimental setting for several ranks on one GPU, which it knows from 2.30 on. NVLink SHARP does not go with
# it; few blocks a collective let those of all ranks run at a time, without which none ends.
SHARED_GPU = {"NCCL_MULTI_RANK_GPU_ENABLE": "1", "NCCL_NVLS_ENABLE": "0", "NCCL_MAX_CTAS": "4"}
SHARES_FROM = (2, 30)


def why_not(triton: bool) -> str | None:
    """What is missing here, as a sentence; None if nothing is."""
    if not torch.cuda.is_available():
        return "this bench needs a CUDA device, and torch sees none"
    if triton and importlib.util.find_spec("triton") is None:
        return "this bench needs triton, which CUDA builds of torch bring along"
    return None


def describe() -> str:
    """The device and the software, in a line."""
    nccl = ".".join(map(str, nccl_version())) or "none"
    count, name = torch.cuda.device_count(), torch.cuda.get_device_name()
    return f"{count} × {name}; torch {torch.__version__}, CUDA {torch.version.cuda}, NCCL {nccl}"


def nccl_version() -> tuple[int, ...]:
    """Of the library that is loaded; empty if torch has none."""
    if not torch.distributed.is_nccl_available():
        return ()
    return tuple(number for number in torch.cuda.nccl.version() if isinstance(number, int))


def backend_of(ranks: int, devices: int, version: tuple[int, ...]) -> tuple[str, dict[str, str], str]:
    """Which backend so many ranks can use, its environment, and why, for people.

    Args:
        ranks: N.
        devices: GPUs here.
        version: Of NCCL.
    """
    if version and ranks <= devices:
        return "nccl", {}, "nccl, a GPU a rank"
    if version >= SHARES_FROM:
        return "nccl", SHARED_GPU, "nccl, ranks share GPUs by its experimental setting"
    return "gloo", {}, "gloo with CUDA tensors: ranks share a GPU, which takes NCCL 2.30"
