"""The quantiser for CUDA tensors."""

from __future__ import annotations

from ludocast.compression.quantise import Message
from ludocast.compression.rows import Rows
from torch import Tensor


def quantise(gradient: Tensor, residual: Tensor, next_residual: Tensor, rows: Rows, message: Message) -> bool:
    """As `ludocast.compression.quantise.quantise`."""
    raise NotImplementedError("no kernels for CUDA tensors yet")


def decode(message: Message, rows: Rows, out: Tensor, scale: float, accumulate: bool) -> None:
    """As `ludocast.compression.quantise.decode`."""
    raise NotImplementedError("no kernels for CUDA tensors yet")
