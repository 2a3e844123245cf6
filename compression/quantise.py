"""Gradients as 1 bit a value, or 4 or 8, with error feedback (Seide et al., Interspeech 2014).

R rows.
"""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from ludocast.compression import numpy_kernels
from ludocast.compression.rows import Rows
from torch import Tensor

WIDTHS = (1, 4, 8)  # bits a value
STREAM = 1 << 16  # elements from which stores bypass the cache: what was written a step ago is in no near cache by now
_NAMES = {"numpy": "numpy", "portable": "portable C", "avx2": "avx2", "avx512": "avx512", "neon": "neon"}


class Message:
    """What is sent of the rows: one contiguous buffer.

    Of 1 bit a value: bits (1: zero or above; little-endian within a byte, as numpy's `packbits(bitorder="little")`),
    then values, fp16 [R, 2] (what elements below zero stand for, and those above), then exponents, int8 [R]: a value
    counts value · 2^exponent. Of 4 or 8 bits a value: codes (two in a byte, the first one in the lower half), then one
    value a row, fp16 [R, 1], the distance of two levels, then exponents; code − 7 (or 127) is the level. Bits are
    padded to a multiple of 64 bytes, the whole to a multiple of 8, so that messages behind one another stay aligned.

    Args:
        rows: Rows.
        buffer: A received message to read or space to write one into, uint8 [size(rows, width)], contiguous; zeros are
            allocated if None.
        device: Where to allocate.
        width: Bits a value: 1, 4 or 8.

    Raises:
        ValueError: If the buffer is not of this form.
    """

    def __init__(
        self, rows: Rows, buffer: Tensor | None = None, device: torch.device | str = "cpu", width: int = 1
    ) -> None:
        if width not in WIDTHS:
            raise ValueError(f"a value is sent as 1, 4 or 8 bits, got {width}")
        size = Message.size(rows, width)
        if buffer is None:
            buffer = torch.zeros(size, dtype=torch.uint8, device=device)
        if buffer.dtype != torch.uint8 or buffer.shape != (size,) or not buffer.is_contiguous():
            raise ValueError(
                f"a message of these rows is {size} contiguous uint8 values, however: "
                f"{buffer.dtype}{list(buffer.shape)}, strides {buffer.stride()}"
            )
        self.buffer, self.width = buffer, width
        self._rows = len(rows)
        self._values = _values_offset(rows, width)
        self._exponents = self._values + 2 * _values_a_row(width) * self._rows

    @staticmethod
    def size(rows: Rows, width: int = 1) -> int:
        """Bytes of a message."""
        return -(-(_values_offset(rows, width) + (2 * _values_a_row(width) + 1) * len(rows)) // 8) * 8

    @property
    def bits(self) -> Tensor:
        """The bits or codes with their padding, uint8, a view."""
        return self.buffer[: self._values]

    @property
    def values(self) -> Tensor:
        """[R, 2] or [R, 1] float16, a view; the buffer has to lie at an even address."""
        return self.buffer[self._values : self._exponents].view(torch.float16).view(-1, _values_a_row(self.width))

    @property
    def exponents(self) -> Tensor:
        """[R] int8, a view."""
        return self.buffer[self._exponents : self._exponents + self._rows].view(torch.int8)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Bits, values and exponents as numpy views, at any address."""
        array = self.buffer.numpy()
        values = array[self._values : self._exponents].view(np.float16).reshape(-1, _values_a_row(self.width))
        return array[: self._values], values, array[self._exponents : self._exponents + self._rows].view(np.int8)

    @cached_property
    def pointers(self) -> tuple[int, int, int]:
        """Addresses of bits, values and exponents."""
        start = self.buffer.data_ptr()
        return start, start + self._values, start + self._exponents


def _values_a_row(width: int) -> int:
    return 2 if width == 1 else 1


def _values_offset(rows: Rows, width: int) -> int:
    return -(-rows.bytes * width // 64) * 64


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


def quantise(
    gradient: Tensor,
    residual: Tensor,
    next_residual: Tensor,
    rows: Rows,
    message: Message,
    received: Sequence[Message] = (),
) -> bool:
    """Writes gradient + residual as a message and what the message does not hold into the next residual.

    Out of place, so that a gradient that is not finite leaves the residual as it was; swap the two residuals on
    success. decoded + next_residual is gradient + residual but for float32's rounding.

    Args:
        gradient: Flat, float32 or bfloat16, contiguous, `rows.span` elements or more.
        residual: Flat float32, as long.
        next_residual: Flat float32, as long; written where rows lie. May be `residual` itself, which needs half the
            memory and is faster where all fits into the cache; but then nothing of it is kept if the gradient is not
            finite. May be `gradient`, which is then overwritten. Otherwise it shares no memory with the others.
        rows: Rows.
        message: Message of these rows; written.
        received: Of the same rows, 1 bit a value: added to the gradient, one after the other, in float32. Each row's
            sum stays in the processor's first cache.

    Returns:
        Whether the sum is finite in all rows. If not, the message and the next residual mean nothing.

    Raises:
        ValueError: If the tensors do not fit.
    """
    _check(gradient, rows, message, (torch.float32, torch.bfloat16))
    for other in (residual, next_residual):
        _check(other, rows, message, (torch.float32,))
        if len(other) != len(gradient):
            raise ValueError(f"gradient and residuals differ in length: {len(gradient)} and {len(other)}")
    for one in received:
        _check(residual, rows, one, (torch.float32,))
    on_cpu = gradient.device.type == "cpu"
    choice = _choice() if on_cpu else ""
    if on_cpu and choice != "numpy":
        messages = np.array([one.pointers for one in (message, *received)], dtype=np.int64)
        return bool(
            _extension().quantise(
                choice, gradient.data_ptr(), gradient.dtype == torch.bfloat16, residual.data_ptr(),
                next_residual.data_ptr(), rows.pointers.ctypes.data, messages.ctypes.data, len(received),
                message.width, rows.elements >= STREAM,
            )
        )  # fmt: skip
    if not on_cpu:
        from ludocast.compression import triton_kernels

        if received:
            return triton_kernels.owner_step(gradient, residual, next_residual, rows, received, 1.0, message)
        return triton_kernels.quantise(gradient, residual, next_residual, rows, message)
    if received:
        gradient = gradient.float().clone()
        for one in received:
            decode(one, rows, gradient, accumulate=True)
    with np.errstate(all="ignore"):
        c = gradient.detach().float().numpy() + residual.detach().numpy()
    return numpy_kernels.quantise(c, _arrays(rows), *message.arrays(), next_residual.detach().numpy(), message.width)


def decode(message: Message, rows: Rows, out: Tensor, scale: float = 1.0, accumulate: bool = False) -> None:
    """Writes scale · decoded into `out`, or adds it.

    Args:
        message: Message of these rows.
        rows: Rows.
        out: Flat float32, contiguous, `rows.span` elements or more; written where rows lie.
        scale: Factor; each row's values are multiplied by it once, in float64, and rounded to float32.
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
            values_RV = (numpy_kernels.decode_values(values, exponents) * scale).astype(np.float32)
            numpy_kernels.decode(bits, values_RV, _arrays(rows), out.detach().numpy(), accumulate, message.width)
        return
    addresses = np.array(message.pointers, dtype=np.int64)
    _extension().decode(
        choice, rows.pointers.ctypes.data, addresses.ctypes.data, out.data_ptr(), scale, accumulate, message.width,
        rows.elements >= STREAM,
    )  # fmt: skip


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
    size = Message.size(rows, message.width)
    if len(message.buffer) != size:
        raise ValueError(f"the message is of other rows: {len(message.buffer)} bytes, {size} are needed")
