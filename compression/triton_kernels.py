"""The quantiser as Triton kernels for CUDA tensors: the same message as the C kernels write.

One program a row, which it holds in registers: g and e are read once, the next residual and the bits written once.
The sums are float32 in the order of Triton's tree, not in that of 16 lanes (which would leave most of a GPU's threads
idle), so that a row's value may differ from the C kernels' in fp16's last bit; everything else is the same to the bit.

R rows.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence

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
    _check(message)
    bad = torch.zeros(1, dtype=torch.int32, device=gradient.device)
    if len(rows) > 0:
        pointers = (message.bits, message.values, message.exponents, bad)
        _quantise[(len(rows),)](
            gradient, residual, next_residual, *_on(rows, gradient.device), *pointers, BLOCK=_block(rows), num_warps=8
        )
    return bad


def owner_step(
    gradient: Tensor,
    residual: Tensor,
    next_residual: Tensor,
    rows: Rows,
    received: Sequence[Message],
    share: float,
    answer: Message,
) -> bool:
    """Writes share · gradient + share · each of what was received + residual as a message, in one pass.

    In float32 and in this order. With a share of 1 it is `ludocast.compression.quantise.quantise`; waits for the device
    to know whether all is finite.
    """
    return not bool(launch_owner_step(gradient, residual, next_residual, rows, received, share, answer).item())


def launch_owner_step(
    gradient: Tensor,
    residual: Tensor,
    next_residual: Tensor,
    rows: Rows,
    received: Sequence[Message],
    share: float,
    answer: Message,
) -> Tensor:
    """As `owner_step` without waiting.

    A row is averaged where it is coded, in registers: gradient and residual are read once however many ranks there are,
    and one launch does what takes one a rank and one more if `decode` and `quantise` do it.

    Returns:
        [1] int32 on the device: 1 where the sum is not finite.
    """
    for message in (answer, *received):
        _check(message)
    device = gradient.device
    bad = torch.zeros(1, dtype=torch.int32, device=device)
    if len(rows) > 0:
        # Addresses relative to the first one's bits; within a message all are alike.
        base = received[0] if received else answer
        bits, values, exponents = base.pointers
        places = _offsets(tuple(message.pointers[0] - bits for message in received), device)
        pointers = (answer.bits, answer.values, answer.exponents, bad)
        _owner_step[(len(rows),)](
            gradient, residual, next_residual, *_on(rows, device), base.bits, places, values - bits, exponents - bits,
            len(received), _bits_of(share), *pointers, BLOCK=_block(rows), num_warps=8,
            enable_fp_fusion=False,  # a fused multiply-add of share · gradient would round another way than the CPU
        )  # fmt: skip
    return bad


def decode(message: Message, rows: Rows, out: Tensor, scale: float, accumulate: bool) -> None:
    """As `ludocast.compression.quantise.decode`."""
    _check(message)
    if len(rows) > 0:
        pointers = (message.bits, message.values, message.exponents, out)
        _decode[(len(rows),)](
            *_on(rows, out.device), *pointers, _bits_of(scale), ACCUMULATE=accumulate, BLOCK=_block(rows), num_warps=8
        )


def _check(message: Message) -> None:
    if message.width != 1:
        raise ValueError(f"on a GPU a value is sent as 1 bit, got {message.width}; leave width at 1")


def _bits_of(number: float) -> int:
    """Of a float64, as an integer: Triton would pass the number itself as float32."""
    (bits,) = struct.unpack("<q", struct.pack("<d", number))
    return int(bits)


@functools.lru_cache(maxsize=256)
def _offsets(offsets: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(offsets if offsets else (0,), dtype=torch.int64).to(device)


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
def _code(
    c: tl.tensor,
    inside: tl.tensor,
    n: tl.tensor,
    r: tl.tensor,
    byte: tl.tensor,
    next_ptr: tl.tensor,
    bits_ptr: tl.tensor,
    values_ptr: tl.tensor,
    exponents_ptr: tl.tensor,
    bad_ptr: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Write a row of c as row r of a message, and what that does not hold to next_ptr, where the row begins."""
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
    tl.store(next_ptr + tl.arange(0, BLOCK), c - tl.where(above, v_above, v_below), mask=inside)

    octets = tl.reshape(above.to(tl.int32), [BLOCK // 8, 8]) << tl.arange(0, 8)[None, :]
    k = tl.arange(0, BLOCK // 8)
    tl.store(bits_ptr + byte + k, tl.sum(octets, axis=1).to(tl.uint8), mask=k * 8 < n)


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
    byte = tl.load(byte_ptr + r)
    _code(c, inside, n, r, byte, next_ptr + start, bits_ptr, values_ptr, exponents_ptr, bad_ptr, BLOCK)


@triton.jit(do_not_specialize=["values_at", "exponents_at", "count", "share_bits"])
def _owner_step(
    g_ptr: tl.tensor,
    e_ptr: tl.tensor,
    next_ptr: tl.tensor,
    start_ptr: tl.tensor,
    length_ptr: tl.tensor,
    byte_ptr: tl.tensor,
    got_ptr: tl.tensor,
    offset_ptr: tl.tensor,
    values_at: tl.tensor,
    exponents_at: tl.tensor,
    count: tl.tensor,
    share_bits: tl.tensor,
    bits_ptr: tl.tensor,
    values_ptr: tl.tensor,
    exponents_ptr: tl.tensor,
    bad_ptr: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    r = tl.program_id(0)
    start, n, byte = tl.load(start_ptr + r), tl.load(length_ptr + r), tl.load(byte_ptr + r)
    i = tl.arange(0, BLOCK)
    inside = i < n
    share = share_bits.to(tl.int64).to(tl.float64, bitcast=True)
    c = tl.load(g_ptr + start + i, mask=inside, other=0.0).to(tl.float32) * share.to(tl.float32)
    for k in range(count):
        bits = got_ptr + tl.load(offset_ptr + k)
        values = (bits + values_at).to(tl.pointer_type(tl.float16), bitcast=True)
        exponents = (bits + exponents_at).to(tl.pointer_type(tl.int8), bitcast=True)
        c += _decoded(bits + byte, values, exponents, r, i, inside, share)
    c += tl.load(e_ptr + start + i, mask=inside, other=0.0)
    _code(c, inside, n, r, byte, next_ptr + start, bits_ptr, values_ptr, exponents_ptr, bad_ptr, BLOCK)


@triton.jit
def _decoded(
    bits_ptr: tl.tensor,
    values_ptr: tl.tensor,
    exponents_ptr: tl.tensor,
    r: tl.tensor,
    i: tl.tensor,
    inside: tl.tensor,
    scale: tl.tensor,
) -> tl.tensor:
    """What row r of a message stands for, times scale; its bits begin at bits_ptr."""
    power = _power_of_two(tl.load(exponents_ptr + r))
    v_below = (tl.load(values_ptr + 2 * r).to(tl.float64) * power * scale).to(tl.float32)
    v_above = (tl.load(values_ptr + 2 * r + 1).to(tl.float64) * power * scale).to(tl.float32)
    octet = tl.load(bits_ptr + i // 8, mask=inside, other=0).to(tl.int32)
    return tl.where(((octet >> (i % 8)) & 1) == 1, v_above, v_below)


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
    value = _decoded(bits_ptr + tl.load(byte_ptr + r), values_ptr, exponents_ptr, r, i, inside, scale)
    if ACCUMULATE:
        value += tl.load(out_ptr + start + i, mask=inside, other=0.0)
    tl.store(out_ptr + start + i, value, mask=inside)
