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
    then a value a row, fp16 [R, 1], that multiplies the sizes of its elements' `Steps`, then exponents, int8 [R]: it
    counts value · 2^exponent. Of 4 or 8 bits a value: codes (two in a byte, the first one in the lower half), then one
    value a row, the distance of two levels, then exponents; code − 7 (or 127) is the level. Bits are padded to a
    multiple of 64 bytes, the whole to a multiple of 8, so that messages behind one another stay aligned.

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
        self._exponents = self._values + 2 * self._rows

    @staticmethod
    def size(rows: Rows, width: int = 1) -> int:
        """Bytes of a message."""
        return -(-(_values_offset(rows, width) + 3 * len(rows)) // 8) * 8

    @property
    def bits(self) -> Tensor:
        """The bits or codes with their padding, uint8, a view."""
        return self.buffer[: self._values]

    @property
    def values(self) -> Tensor:
        """[R, 1] float16, a view; the buffer has to lie at an even address."""
        return self.buffer[self._values : self._exponents].view(torch.float16).view(-1, 1)

    @property
    def exponents(self) -> Tensor:
        """[R] int8, a view."""
        return self.buffer[self._exponents : self._exponents + self._rows].view(torch.int8)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Bits, values and exponents as numpy views, at any address."""
        array = self.buffer.numpy()
        values = array[self._values : self._exponents].view(np.float16).reshape(-1, 1)
        return array[: self._values], values, array[self._exponents : self._exponents + self._rows].view(np.int8)

    @cached_property
    def pointers(self) -> tuple[int, int, int]:
        """Addresses of bits, values and exponents."""
        start = self.buffer.data_ptr()
        return start, start + self._values, start + self._exponents


FRESH = 64  # a step of size 1


class Steps:
    """What both ends of 1-bit messages of the same rows know: the size of each element's step.

    Attributes:
        step: uint8, each row's at 8 · byte: the level and, in the highest bit, the sign sent last.
        means: [R, 3] float64, known to the sender alone: of |c| · size, size² and level, from step to step.
        next_means: What `quantise` writes, and `commit` makes current.
    """

    def __init__(self, rows: Rows, device: torch.device | str = "cpu") -> None:
        self.step = torch.full((8 * rows.bytes,), FRESH, dtype=torch.uint8, device=device)
        self.means, self.next_means = (torch.zeros(len(rows), 3, dtype=torch.float64, device=device) for _ in range(2))

    def commit(self) -> None:
        """Take the next means."""
        self.means, self.next_means = self.next_means, self.means


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
    steps: Steps | None = None,
    received: Sequence[tuple[Message, Steps]] = (),
) -> bool:
    """Writes gradient + residual as a message and what the message does not hold into the next residual.

    Out of place, so that a gradient that is not finite leaves the residual as it was; swap the two residuals, commit
    the steps and have them `learn` the message on success. decoded + next_residual is gradient + residual but for
    float32's rounding.

    Args:
        gradient: Flat, float32 or bfloat16, contiguous, `rows.span` elements or more.
        residual: Flat float32, as long.
        next_residual: Flat float32, as long; written where rows lie. May be `residual` itself, which needs half the
            memory and is faster where all fits into the cache; but then nothing of it is kept if the gradient is not
            finite. May be `gradient`, which is then overwritten. Otherwise it shares no memory with the others.
        rows: Rows.
        message: Message of these rows; written.
        steps: Of these rows, for 1 bit a value; its next means are written.
        received: Messages of the same rows, 1 bit a value: added to the gradient, one after the other, in float32. Each
            row's sum stays in the processor's first cache.

    Returns:
        Whether the sum is finite in all rows. If not, the message, the next residual and means mean nothing.

    Raises:
        ValueError: If the tensors do not fit.
    """
    _check(gradient, rows, message, (torch.float32, torch.bfloat16))
    for other in (residual, next_residual):
        _check(other, rows, message, (torch.float32,))
        if len(other) != len(gradient):
            raise ValueError(f"gradient and residuals differ in length: {len(gradient)} and {len(other)}")
    _check_steps(rows, message, steps)
    for one, its in received:
        _check(residual, rows, one, (torch.float32,))
        _check_steps(rows, one, its)
    on_cpu = gradient.device.type == "cpu"
    choice = _choice() if on_cpu else ""
    if on_cpu and choice != "numpy":
        messages = np.array([_pointers(one, its) for one, its in ((message, steps), *received)], dtype=np.int64)
        means = (0, 0) if steps is None else (steps.means.data_ptr(), steps.next_means.data_ptr())
        return bool(
            _extension().quantise(
                choice, gradient.data_ptr(), gradient.dtype == torch.bfloat16, residual.data_ptr(),
                next_residual.data_ptr(), *means, rows.pointers.ctypes.data, messages.ctypes.data, len(received),
                message.width, rows.elements >= STREAM,
            )
        )  # fmt: skip
    if not on_cpu:
        from ludocast.compression import triton_kernels

        return triton_kernels.quantise(gradient, residual, next_residual, rows, message, steps, received)
    if received:
        gradient = gradient.float().clone()
        for one, its in received:
            decode(one, rows, gradient, accumulate=True, steps=its)
    with np.errstate(all="ignore"):
        c = gradient.detach().float().numpy() + residual.detach().numpy()
    left = next_residual.detach().numpy()
    if steps is None:
        return numpy_kernels.code_levels(c, _arrays(rows), *message.arrays(), left, message.width)
    known = (steps.step.numpy(), steps.means.numpy(), steps.next_means.numpy())
    return numpy_kernels.code(c, _arrays(rows), *message.arrays(), left, *known)


def decode(
    message: Message,
    rows: Rows,
    out: Tensor,
    scale: float = 1.0,
    accumulate: bool = False,
    steps: Steps | None = None,
    learning: bool = False,
) -> None:
    """Writes scale · decoded into `out`, or adds it.

    Args:
        message: Message of these rows.
        rows: Rows.
        out: Flat float32, contiguous, `rows.span` elements or more; written where rows lie.
        scale: Factor; each row's value is multiplied by it once, in float64, and rounded to float32.
        accumulate: Adds to `out` rather than overwrite it.
        steps: Of these rows, for 1 bit a value.
        learning: Whether they `learn` the message in the same pass.

    Raises:
        ValueError: If the tensors do not fit.
    """
    _check(out, rows, message, (torch.float32,))
    _check_steps(rows, message, steps)
    if out.device.type != "cpu":
        from ludocast.compression import triton_kernels

        triton_kernels.decode(message, rows, out, scale, accumulate, steps, learning)
        return
    choice = _choice()
    if choice == "numpy":
        bits, values, exponents = message.arrays()
        step = None if steps is None else steps.step.numpy()
        with np.errstate(all="ignore"):
            value_R1 = (numpy_kernels.decode_values(values, exponents) * scale).astype(np.float32)
            numpy_kernels.decode(bits, value_R1, _arrays(rows), out.detach().numpy(), accumulate, message.width, step)
        if step is not None and learning:
            numpy_kernels.learn(bits, _arrays(rows), step)
        return
    addresses = np.array(_pointers(message, steps), dtype=np.int64)
    _extension().decode(
        choice, rows.pointers.ctypes.data, addresses.ctypes.data, out.data_ptr(), scale, accumulate, learning,
        message.width, rows.elements >= STREAM,
    )  # fmt: skip


def learn(message: Message, rows: Rows, steps: Steps) -> None:
    """Have the steps grow where a message of 1 bit a value has the last sign again, and shrink elsewhere.

    Raises:
        ValueError: If they do not fit.
    """
    _check_steps(rows, message, steps)
    if message.buffer.device.type != "cpu":
        from ludocast.compression import triton_kernels

        triton_kernels.learn(message, rows, steps)
    elif _choice() == "numpy":
        numpy_kernels.learn(message.arrays()[0], _arrays(rows), steps.step.numpy())
    else:
        addresses = np.array(_pointers(message, steps), dtype=np.int64)
        _extension().learn(_choice(), rows.pointers.ctypes.data, addresses.ctypes.data)


def _pointers(message: Message, steps: Steps | None) -> tuple[int, int, int, int]:
    return (*message.pointers, 0 if steps is None else steps.step.data_ptr())


def _arrays(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return rows.start.numpy(), rows.length.numpy(), rows.byte.numpy()


def _check_steps(rows: Rows, message: Message, steps: Steps | None) -> None:
    if (steps is None) != (message.width > 1):
        raise ValueError(f"steps belong to 1 bit a value, and only to it; the message has {message.width}")
    if steps is not None and (len(steps.step) != 8 * rows.bytes or len(steps.means) != len(rows)):
        raise ValueError(f"the steps are of other rows: {len(steps.step)} bytes, {8 * rows.bytes} are needed")


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
