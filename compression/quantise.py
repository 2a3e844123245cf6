"""Gradients as one bit a value and two values a row, with error feedback (Seide et al., Interspeech 2014).

R rows.
"""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from typing import Any

import numpy as np
import torch
from ludocast.compression import numpy_kernels
from ludocast.compression.rows import Rows
from torch import Tensor

_NAMES = {"numpy": "numpy", "portable": "portable C", "avx2": "avx2", "avx512": "avx512", "neon": "neon"}


class Message:
    """What is sent of the rows: one contiguous buffer.

    Bits (1: zero or above; little-endian within a byte, as numpy's `packbits(bitorder="little")`; padded to a multiple
    of 64 bytes), then values, fp16 [R, 2] (below zero, above), then exponents, int8 [R]: an element stands for
    value · 2^exponent. Padded to a multiple of 8 bytes in all, so that messages behind one another stay aligned.

    Args:
        rows: Rows.
        buffer: A received message to read or space to write one into, uint8 [size(rows)], contiguous; zeros are
            allocated if None.
        device: Where to allocate.

    Raises:
        ValueError: If the buffer is not of this form.
    """

    def __init__(self, rows: Rows, buffer: Tensor | None = None, device: torch.device | str = "cpu") -> None:
        size = Message.size(rows)
        if buffer is None:
            buffer = torch.zeros(size, dtype=torch.uint8, device=device)
        if buffer.dtype != torch.uint8 or buffer.shape != (size,) or not buffer.is_contiguous():
            raise ValueError(
                f"a message of these rows is {size} contiguous uint8 values, however: "
                f"{buffer.dtype}{list(buffer.shape)}, strides {buffer.stride()}"
            )
        self.buffer = buffer
        self._rows = len(rows)
        self._values = _values_offset(rows)
        self._exponents = self._values + 4 * self._rows

    @staticmethod
    def size(rows: Rows) -> int:
        """Bytes of a message."""
        return -(-(_values_offset(rows) + 5 * len(rows)) // 8) * 8

    @property
    def bits(self) -> Tensor:
        """The bits with their padding, uint8, a view."""
        return self.buffer[: self._values]

    @property
    def values(self) -> Tensor:
        """[R, 2] float16, a view; the buffer has to lie at an even address."""
        return self.buffer[self._values : self._exponents].view(torch.float16).view(-1, 2)

    @property
    def exponents(self) -> Tensor:
        """[R] int8, a view."""
        return self.buffer[self._exponents : self._exponents + self._rows].view(torch.int8)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Bits, values and exponents as numpy views, at any address."""
        array = self.buffer.numpy()
        values = array[self._values : self._exponents].view(np.float16).reshape(-1, 2)
        return array[: self._values], values, array[self._exponents : self._exponents + self._rows].view(np.int8)

    def pointers(self) -> tuple[int, int, int]:
        """Addresses of bits, values and exponents."""
        start = self.buffer.data_ptr()
        return start, start + self._values, start + self._exponents


def _values_offset(rows: Rows) -> int:
    return -(-rows.bytes // 64) * 64


def kernel() -> str:
    """Which kernel runs on the CPU: "avx512", "avx2", "neon", "portable C" or "numpy".

    The fastest that this CPU can run, or the one that the environment variable `LUDOCAST_KERNEL` names (numpy,
    portable, avx2, avx512, neon).

    Raises:
        ValueError: If the one named is not known or cannot run here.
    """
    return _NAMES[_choice()]


def _choice() -> str:
    wanted = os.environ.get("LUDOCAST_KERNEL", "")
    if wanted == "":
        return available()[0]
    if wanted != "numpy" and wanted not in available():
        raise ValueError(f"LUDOCAST_KERNEL={wanted}: here run {', '.join(available())}")
    return wanted


@functools.cache
def available() -> tuple[str, ...]:
    """What `LUDOCAST_KERNEL` may name here, fastest first; warns once where the C kernels are missing."""
    try:
        return (*_extension().available(), "numpy")
    except ImportError as error:
        warnings.warn(
            f"ludocast.compression runs in numpy, slower: no C compiler built its kernels when installed ({error})",
            RuntimeWarning,
            stacklevel=4,
        )
        return ("numpy",)


@functools.cache
def _extension() -> Any:
    return importlib.import_module("ludocast.compression._kernels")


def quantise(gradient: Tensor, residual: Tensor, next_residual: Tensor, rows: Rows, message: Message) -> bool:
    """Writes gradient + residual as a message and what the message does not hold into the next residual.

    Out of place, so that a gradient that is not finite leaves the residual as it was; swap the two residuals on
    success. decoded + next_residual is gradient + residual but for float32's rounding.

    Args:
        gradient: Flat, float32 or bfloat16, contiguous, `rows.span` elements or more.
        residual: Flat float32, as long.
        next_residual: Flat float32, as long; written where rows lie. May be `residual` itself, which needs half the
            memory and is faster, as fast as `residual.add_(gradient)`; but then nothing of it is kept if the gradient
            is not finite. Otherwise it shares no memory with the others.
        rows: Rows.
        message: Message of these rows; written.

    Returns:
        Whether gradient + residual is finite in all rows. If not, the message and the next residual mean nothing.

    Raises:
        ValueError: If the tensors do not fit.
    """
    _check(gradient, rows, message, (torch.float32, torch.bfloat16))
    for other in (residual, next_residual):
        _check(other, rows, message, (torch.float32,))
        if len(other) != len(gradient):
            raise ValueError(f"gradient and residuals differ in length: {len(gradient)} and {len(other)}")
    if gradient.device.type != "cpu":
        from ludocast.compression import triton_kernels

        return triton_kernels.quantise(gradient, residual, next_residual, rows, message)
    choice = _choice()
    if choice == "numpy":
        with np.errstate(all="ignore"):
            c = gradient.detach().float().numpy() + residual.detach().numpy()
        return numpy_kernels.quantise(c, _arrays(rows), *message.arrays(), next_residual.detach().numpy())
    return bool(
        _extension().quantise(
            choice,
            gradient.data_ptr(),
            gradient.dtype == torch.bfloat16,
            residual.data_ptr(),
            next_residual.data_ptr(),
            *rows.pointers,
            *message.pointers(),
            rows.elements,
        )
    )


def decode(message: Message, rows: Rows, out: Tensor, scale: float = 1.0, accumulate: bool = False) -> None:
    """Writes scale · decoded into `out`, or adds it.

    Args:
        message: Message of these rows.
        rows: Rows.
        out: Flat float32, contiguous, `rows.span` elements or more; written where rows lie.
        scale: Factor; each row's two values are multiplied by it once, in float64, and rounded to float32.
        accumulate: Adds to `out` rather than overwrite it.

    Raises:
        ValueError: If the tensors do not fit.
    """
    _check(out, rows, message, (torch.float32,))
    if out.device.type != "cpu":
        from ludocast.compression import triton_kernels

        triton_kernels.decode(message, rows, out, scale, accumulate)
        return
    choice = _choice()
    if choice == "numpy":
        bits, values, exponents = message.arrays()
        with np.errstate(all="ignore"):
            values_R2 = (numpy_kernels.decode_values(values, exponents) * scale).astype(np.float32)
            numpy_kernels.decode(bits, values_R2, _arrays(rows), out.detach().numpy(), accumulate)
        return
    _extension().decode(choice, *message.pointers(), *rows.pointers, out.data_ptr(), scale, accumulate, rows.elements)


def _arrays(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return rows.start.numpy(), rows.length.numpy(), rows.byte.numpy()


def _check(x: Tensor, rows: Rows, message: Message, dtypes: tuple[torch.dtype, ...]) -> None:
    if x.dtype not in dtypes or x.dim() != 1 or not x.is_contiguous() or len(x) < rows.span:
        raise ValueError(
            f"a flat contiguous {' or '.join(map(str, dtypes))} tensor of {rows.span} elements or more is needed, "
            f"however: {x.dtype}{list(x.shape)}"
        )
    if x.device != message.buffer.device:
        raise ValueError(f"the tensor is on {x.device}, the message on {message.buffer.device}")
    if len(message.buffer) != Message.size(rows):
        raise ValueError(f"the message is of other rows: {len(message.buffer)} bytes, {Message.size(rows)} are needed")
