from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.gpu.device import backend_of

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a GPU")
@pytest.mark.parametrize("name", ["kernels", "hook", "training"])
def test_without_a_gpu_they_say_so_and_end(name: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.gpu.{name}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "Skipped: this bench needs a CUDA device, and torch sees none.\n")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("ranks", "devices", "version", "backend", "shared"),
    [
        (2, 2, (2, 28, 9), "nccl", False),
        (8, 8, (2, 30, 4), "nccl", False),
        (2, 1, (2, 30, 4), "nccl", True),
        (2, 1, (2, 29, 3), "gloo", False),
        (2, 2, (), "gloo", False),
    ],
)
def test_ranks_share_a_gpu_where_nccl_lets_them(
    ranks: int, devices: int, version: tuple[int, ...], backend: str, shared: bool
) -> None:
    found, environment, _ = backend_of(ranks, devices, version)
    assert found == backend
    assert environment.get("NCCL_MULTI_RANK_GPU_ENABLE") == ("1" if shared else None)
