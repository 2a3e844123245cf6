"""Where onnxruntime computes."""

from __future__ import annotations

from typing import Any

import onnxruntime as ort

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"


def providers(device: str) -> list[Any]:
    """Execution providers of a device for onnxruntime, in order of preference.

    Args:
        device: "cpu" or "cuda".

    Raises:
        ValueError: If it is neither, or the onnxruntime that is installed has no CUDA.
    """
    if device == "cpu":
        return [CPU]
    if device != "cuda":
        raise ValueError(f'--device: expected cpu or cuda, got "{device}"')
    if CUDA not in ort.get_available_providers():
        raise ValueError(
            "--device cuda: this onnxruntime computes on the CPU alone; "
            "pip uninstall onnxruntime && pip install onnxruntime-gpu, or take --device cpu"
        )
    # TF32 rounds to 10 bits, and the check rows would not be reproduced.
    return [(CUDA, {"use_tf32": "0"}), CPU]
