"""The quantiser as Triton kernels for CUDA tensors: the same message as the C kernels write.

One program a row, which it holds in registers: g and e are read once, the next residual and the bits written once.
The sums are float32 in the order of Triton's tree, not in that of 16 lanes (which would leave most of a GPU's threads
idle), so that a row's value may differ from the C kernels' in fp16's last bit; everything else is the same to the bit.

R rows.
"""

from __future__ import annotations

import functools
import struct

import torch
import triton
import triton.language as tl
from ludocast.compression.quantise import Message
from ludocast.compression.rows import Rows
from torch import Tensor

_LONGEST = 1 << 15  # elements of a row; about 2,048 are usual


def quantise(gradient: Tensor, residual: Tensor, next_residual: Tensor, rows: Rows, message: Message) -> bool:
    """As `ludocast.compression.quantise.quantise`; waits for the device to know whether all is finite."""
    return not bool(launch_quantise(gradient, residual, next_residual, rows, message).item())


def launch_quantise(gradient: Tensor, residual: Tensor, next_residual: Tensor, rows: Rows, message: Message) -> Tensor:
    """As `quantise` without waiting.

    Returns:
        [1] int32 on the device: 1 where gradient + residual is not finite.
    """
    if message.width != 1:
        raise ValueError(f"on a GPU a value is sent as 1 bit, got {message.width}; leave width at 1")
    bad = torch.zeros(1, dtype=torch.int32, device=gradient.device)
    if len(rows) > 0:
        pointers = (message.bits, message.values, message.exponents, bad)
        _quantise[(len(rows),)](
            gradient, residual, next_residual, *_on(rows, gradient.device), *pointers, BLOCK=_block(rows), num_warps=8
        )
    return bad


def decode(message: Message, rows: Rows, out: Tensor, scale: float, accumulate: bool) -> None:
    """As `ludocast.compression.quantise.decode`."""
    if len(rows) > 0:
        # Triton passes a float as float32; its bits as an integer keep float64.
        (scale_bits,) = struct.unpack("<q", struct.pack("<d", scale))
        pointers = (message.bits, message.values, message.exponents, out)
        _decode[(len(rows),)](
            *_on(rows, out.device), *pointers, scale_bits, ACCUMULATE=accumulate, BLOCK=_block(rows), num_warps=8
        )


@functools.lru_cache(maxsize=256)
def _on(rows: Rows, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    return rows.start.to(device), rows.length.to(device), rows.byte.to(device)


@functools.lru_cache(maxsize=256)
def _block(rows: Rows) -> int:
    longest = int(rows.length.max())
    if longest > _LONGEST:
        raise ValueError(f"a row on a GPU has {_LONGEST} elements at most, however: {longest}")
    return max(16, 1 << (longest - 1).bit_length())


@triton.jit
def _is_finite(x: tl.tensor) -> tl.tensor:
    return tl.abs(x) <= 3.4028234663852886e38


@triton.jit
def _power_of_two(exponent: tl.tensor) -> tl.tensor:
    return ((exponent.to(tl.int64) + 1023) << 52).to(tl.float64, bitcast=True)


@triton.jit
def _sum(plain: tl.tensor, scaled: tl.tensor) -> tl.tensor:
    """The sum as float64: of c, or where that overflowed of c · 2^-40."""
    return tl.where(_is_finite(plain), plain.to(tl.float64), scaled.to(tl.float64) * 1099511627776.0)  # 2^40


@triton.jit
def _half(mean: tl.tensor, exponent: tl.tensor) -> tl.tensor:
    scaled = (mean * _power_of_two(-exponent)).to(tl.float32)
    return tl.minimum(tl.maximum(scaled, -32752.0), 32752.0).to(tl.float16)


@triton.jit
def _quantise(
    g_ptr: tl.tensor,
    e_ptr: tl.tensor,
    next_ptr: tl.tensor,
    start_ptr: tl.tensor,
    length_ptr: tl.tensor,
    byte_ptr: tl.tensor,
    bits_ptr: tl.tensor,
    values_ptr: tl.tensor,
    exponents_ptr: tl.tensor,
    bad_ptr: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    r = tl.program_id(0)
    start, n = tl.load(start_ptr + r), tl.load(length_ptr + r)
    i = tl.arange(0, BLOCK)
    inside = i < n
    g = tl.load(g_ptr + start + i, mask=inside, other=0.0).to(tl.float32)
    c = g + tl.load(e_ptr + start + i, mask=inside, other=0.0)
    positive = c >= 0
    above, below = inside & positive, inside & (positive == 0)
    count_above = tl.sum(above.to(tl.int32), axis=0)
    count_below = n.to(tl.int32) - count_above

    c_above, c_below = tl.where(above, c, 0.0), tl.where(below, c, 0.0)
    small = 9.094947017729282e-13  # 2^-40
    small_above, small_below = tl.sum(c_above * small, axis=0), tl.sum(c_below * small, axis=0)
    sum_above = _sum(tl.sum(c_above, axis=0), small_above)
    sum_below = _sum(tl.sum(c_below, axis=0), small_below)
    finite = _is_finite(small_above) & _is_finite(small_below)
    tl.store(bad_ptr, 1, mask=finite == 0)

    mean_above = sum_above / tl.maximum(count_above, 1).to(tl.float64)
    mean_below = sum_below / tl.maximum(count_below, 1).to(tl.float64)
    largest = tl.maximum(mean_above, -mean_below)
    exponent = ((largest.to(tl.int64, bitcast=True) >> 52) - 1023 - 14).to(tl.int32)
    exponent = tl.where(largest > 0, tl.minimum(tl.maximum(exponent, -125), 113), 0)
    half_below, half_above = _half(mean_below, exponent), _half(mean_above, exponent)
    tl.store(values_ptr + 2 * r, half_below)
    tl.store(values_ptr + 2 * r + 1, half_above)
    tl.store(exponents_ptr + r, exponent.to(tl.int8))

    power = _power_of_two(exponent)
    v_below = (half_below.to(tl.float64) * power).to(tl.float32)
    v_above = (half_above.to(tl.float64) * power).to(tl.float32)
    tl.store(next_ptr + start + i, c - tl.where(above, v_above, v_below), mask=inside)

    octets = tl.reshape(above.to(tl.int32), [BLOCK // 8, 8]) << tl.arange(0, 8)[None, :]
    k = tl.arange(0, BLOCK // 8)
    tl.store(bits_ptr + tl.load(byte_ptr + r) + k, tl.sum(octets, axis=1).to(tl.uint8), mask=k * 8 < n)


@triton.jit(do_not_specialize=["scale_bits"])
def _decode(
    start_ptr: tl.tensor,
    length_ptr: tl.tensor,
    byte_ptr: tl.tensor,
    bits_ptr: tl.tensor,
    values_ptr: tl.tensor,
    exponents_ptr: tl.tensor,
    out_ptr: tl.tensor,
    scale_bits: tl.tensor,
    ACCUMULATE: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    r = tl.program_id(0)
    start, n = tl.load(start_ptr + r), tl.load(length_ptr + r)
    i = tl.arange(0, BLOCK)
    inside = i < n
    scale = scale_bits.to(tl.int64).to(tl.float64, bitcast=True)
    power = _power_of_two(tl.load(exponents_ptr + r))
    v_below = (tl.load(values_ptr + 2 * r).to(tl.float64) * power * scale).to(tl.float32)
    v_above = (tl.load(values_ptr + 2 * r + 1).to(tl.float64) * power * scale).to(tl.float32)
    octet = tl.load(bits_ptr + tl.load(byte_ptr + r) + i // 8, mask=inside, other=0).to(tl.int32)
    value = tl.where(((octet >> (i % 8)) & 1) == 1, v_above, v_below)
    if ACCUMULATE:
        value += tl.load(out_ptr + start + i, mask=inside, other=0.0)
    tl.store(out_ptr + start + i, value, mask=inside)
