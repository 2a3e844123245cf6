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
from ludocast.compression.numpy_kernels import SIZES
from ludocast.compression.quantise import Message, Steps
from ludocast.compression.rows import Rows
from torch import Tensor

_LONGEST = 1 << 15  # elements of a row; about 2,048 are usual
_WARP = 32  # threads


def quantise(
    gradient: Tensor,
    residual: Tensor,
    next_residual: Tensor,
    rows: Rows,
    message: Message,
    steps: Steps | None,
    received: Sequence[tuple[Message, Steps]] = (),
) -> bool:
    """As `ludocast.compression.quantise.quantise`; waits for the device to know whether all is finite."""
    return not bool(launch_quantise(gradient, residual, next_residual, rows, message, steps, received).item())


def launch_quantise(
    gradient: Tensor,
    residual: Tensor,
    next_residual: Tensor,
    rows: Rows,
    message: Message,
    steps: Steps | None,
    received: Sequence[tuple[Message, Steps]] = (),
) -> Tensor:
    """As `quantise` without waiting.

    A row is summed where it is coded, in registers: gradient and residual are read once however many ranks there are.

    Returns:
        [1] int32 on the device: 1 where the sum is not finite.
    """
    mine = _check(message, steps)
    device = gradient.device
    bad = torch.zeros(1, dtype=torch.int32, device=device)
    if len(rows) > 0:
        # Addresses relative to the first one's; within a message all are alike.
        base, known = received[0] if received else (message, mine)
        bits, values, exponents = base.pointers
        here = known.step.data_ptr()
        places = [(one.pointers[0] - bits, _check(one, its).step.data_ptr() - here) for one, its in received]
        pointers = (message.bits, message.values, message.exponents, mine.step, mine.means, mine.next_means, bad)
        _quantise[(len(rows),)](
            gradient, residual, next_residual, *_on(rows, device), base.bits, known.step,
            _offsets(tuple(places), device), values - bits, exponents - bits, len(received), *pointers, _sizes(device),
            BLOCK=_block(rows), num_warps=_warps(rows, 16),
            enable_fp_fusion=False,  # a fused multiply-add would round another way than the CPU
        )  # fmt: skip
    return bad


def decode(
    message: Message, rows: Rows, out: Tensor, scale: float, accumulate: bool, steps: Steps | None, learning: bool
) -> None:
    """As `ludocast.compression.quantise.decode`."""
    step = _check(message, steps).step
    if len(rows) > 0:
        pointers = (message.bits, message.values, message.exponents, step, _sizes(out.device), out)
        _decode[(len(rows),)](
            *_on(rows, out.device), *pointers, _bits_of(scale), ACCUMULATE=accumulate, LEARNING=learning,
            BLOCK=_block(rows), num_warps=_warps(rows, 8), enable_fp_fusion=False,
        )  # fmt: skip


def learn(message: Message, rows: Rows, steps: Steps) -> None:
    """As `ludocast.compression.quantise.learn`."""
    _check(message, steps)
    if len(rows) > 0:
        _, length, byte = _on(rows, steps.step.device)
        _learn[(len(rows),)](length, byte, message.bits, steps.step, BLOCK=_block(rows), num_warps=_warps(rows, 8))


def _check(message: Message, steps: Steps | None) -> Steps:
    if message.width != 1 or steps is None:
        raise ValueError(f"on a GPU a value is sent as 1 bit, got {message.width}; leave width at 1")
    return steps


def _bits_of(number: float) -> int:
    """Of a float64, as an integer: Triton would pass the number itself as float32."""
    (bits,) = struct.unpack("<q", struct.pack("<d", number))
    return int(bits)


@functools.lru_cache(maxsize=256)
def _offsets(offsets: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    return torch.tensor(offsets if offsets else ((0, 0),), dtype=torch.int64).to(device)


@functools.lru_cache(maxsize=16)
def _sizes(device: torch.device) -> Tensor:
    return torch.from_numpy(SIZES).to(device)


@functools.lru_cache(maxsize=256)
def _on(rows: Rows, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    return rows.start.to(device), rows.length.to(device), rows.byte.to(device)


@functools.lru_cache(maxsize=256)
def _block(rows: Rows) -> int:
    longest = int(rows.length.max())
    if longest > _LONGEST:
        raise ValueError(f"a row on a GPU has {_LONGEST} elements at most, however: {longest}")
    return max(16, 1 << (longest - 1).bit_length())


def _warps(rows: Rows, elements: int) -> int:
    """So many that a thread has so many elements of a usual row; benchmarks/gpu/kernels.py told which are fastest."""
    return min(max(_block(rows) // (elements * _WARP), 1), 32)


@triton.jit
def _is_finite(x: tl.tensor) -> tl.tensor:
    return tl.abs(x) <= 3.4028234663852886e38


@triton.jit
def _power_of_two(exponent: tl.tensor) -> tl.tensor:
    return ((exponent.to(tl.int64) + 1023) << 52).to(tl.float64, bitcast=True)


@triton.jit
def _size(step: tl.tensor, sizes_ptr: tl.tensor) -> tl.tensor:
    return tl.load(sizes_ptr + (step & 127))


@triton.jit
def _learnt(step: tl.tensor, sign: tl.tensor) -> tl.tensor:
    """Level and last sign, int32, after one more sign."""
    level = step & 127
    level = tl.where((step >> 7) == sign, tl.minimum(level + 1, 127), tl.maximum(level - 1, 0))
    return level | (sign << 7)


@triton.jit
def _is_even(start: tl.tensor, n: tl.tensor) -> tl.tensor:
    """Whether a thread's elements of a row lie in one aligned 16 bytes and are all inside or all outside.

    There a kernel takes start // 4 * 4 and n // 16 * 16 for start and n, which are the same numbers, but the compiler
    sees what they are divisible by and moves 4 elements at once.
    """
    return (start % 4 == 0) & (n % 16 == 0)


@triton.jit(do_not_specialize=["values_at", "exponents_at", "count"])
def _quantise(
    g_ptr: tl.tensor,
    e_ptr: tl.tensor,
    next_ptr: tl.tensor,
    start_ptr: tl.tensor,
    length_ptr: tl.tensor,
    byte_ptr: tl.tensor,
    got_ptr: tl.tensor,
    got_step_ptr: tl.tensor,
    offset_ptr: tl.tensor,
    values_at: tl.tensor,
    exponents_at: tl.tensor,
    count: tl.tensor,
    bits_ptr: tl.tensor,
    values_ptr: tl.tensor,
    exponents_ptr: tl.tensor,
    step_ptr: tl.tensor,
    means_ptr: tl.tensor,
    next_means_ptr: tl.tensor,
    bad_ptr: tl.tensor,
    sizes_ptr: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    r = tl.program_id(0)
    start, n, byte = tl.load(start_ptr + r), tl.load(length_ptr + r), tl.load(byte_ptr + r)
    if _is_even(start, n):
        _quantise_row(
            r, start // 4 * 4, n // 16 * 16, byte, g_ptr, e_ptr, next_ptr, got_ptr, got_step_ptr, offset_ptr, values_at,
            exponents_at, count, bits_ptr, values_ptr, exponents_ptr, step_ptr, means_ptr, next_means_ptr, bad_ptr,
            sizes_ptr, BLOCK,
        )  # fmt: skip
    else:
        _quantise_row(
            r, start, n, byte, g_ptr, e_ptr, next_ptr, got_ptr, got_step_ptr, offset_ptr, values_at, exponents_at,
            count, bits_ptr, values_ptr, exponents_ptr, step_ptr, means_ptr, next_means_ptr, bad_ptr, sizes_ptr, BLOCK,
        )  # fmt: skip


@triton.jit
def _quantise_row(
    r: tl.tensor,
    start: tl.tensor,
    n: tl.tensor,
    byte: tl.tensor,
    g_ptr: tl.tensor,
    e_ptr: tl.tensor,
    next_ptr: tl.tensor,
    got_ptr: tl.tensor,
    got_step_ptr: tl.tensor,
    offset_ptr: tl.tensor,
    values_at: tl.tensor,
    exponents_at: tl.tensor,
    count: tl.tensor,
    bits_ptr: tl.tensor,
    values_ptr: tl.tensor,
    exponents_ptr: tl.tensor,
    step_ptr: tl.tensor,
    means_ptr: tl.tensor,
    next_means_ptr: tl.tensor,
    bad_ptr: tl.tensor,
    sizes_ptr: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    i = tl.arange(0, BLOCK)
    inside = i < n
    one = tl.full([], 1.0, tl.float64)
    c = tl.load(g_ptr + start + i, mask=inside, other=0.0).to(tl.float32)
    for k in range(count):
        bits = got_ptr + tl.load(offset_ptr + 2 * k)
        its_step = got_step_ptr + tl.load(offset_ptr + 2 * k + 1)
        values = (bits + values_at).to(tl.pointer_type(tl.float16), bitcast=True)
        exponents = (bits + exponents_at).to(tl.pointer_type(tl.int8), bitcast=True)
        sign, known = _received(bits + byte, its_step + 8 * byte, n, BLOCK)
        c += _decoded(sign, known, values, exponents, sizes_ptr, r, one)
    c += tl.load(e_ptr + start + i, mask=inside, other=0.0)

    step = tl.load(step_ptr + 8 * byte + i, mask=inside, other=64).to(tl.int32)
    size = _size(step, sizes_ptr)
    length, sampled = tl.abs(c), inside & (i // 16 % 4 == i // 64 % 4)
    product = tl.sum(tl.where(sampled, length * size, 0.0), axis=0)
    square = tl.sum(tl.where(sampled, size * size, 0.0), axis=0)
    level = tl.sum(tl.where(sampled, step & 127, 0), axis=0)
    bad = tl.sum((inside & (_is_finite(c) == 0)).to(tl.int32), axis=0)  # a maximum may pass over NaN
    tl.store(bad_ptr, 1, mask=bad > 0)
    whole = product.to(tl.float64)
    if _is_finite(product) == 0:
        small = 9.094947017729282e-13  # 2^-40
        whole = tl.sum(tl.where(sampled, length * small * size, 0.0), axis=0).to(tl.float64) * 1099511627776.0  # 2^40

    # Of 256 elements 64 are sampled, 16 of each 64; the last ones are fewer.
    rest = n % 256
    sampled_rest = tl.minimum(tl.maximum(rest % 64 - rest // 64 * 16, 0), 16)
    number = (n // 256 * 64 + rest // 64 * 16 + sampled_rest).to(tl.float64)
    here_product, here_square = whole / number, square.to(tl.float64) / number
    here_level = level.to(tl.float64) / number
    product_mean, square_mean = tl.load(means_ptr + 3 * r), tl.load(means_ptr + 3 * r + 1)
    level_mean = tl.load(means_ptr + 3 * r + 2)
    first = square_mean == 0
    level_mean = tl.where(first, here_level, level_mean)
    product_mean = tl.where(first, here_product, product_mean)
    square_mean = tl.where(first, here_square, square_mean)
    # float64 constants, as the CPU's 0.98 and 1 - 0.98
    memory = (tl.full([], 4607002274814922588, tl.int64)).to(tl.float64, bitcast=True)
    tl.store(next_means_ptr + 3 * r, memory * product_mean + (1 - memory) * here_product)
    tl.store(next_means_ptr + 3 * r + 1, memory * square_mean + (1 - memory) * here_square)
    tl.store(next_means_ptr + 3 * r + 2, memory * level_mean + (1 - memory) * here_level)

    mean = product_mean / square_mean * (level_mean / 64)
    exponent = ((mean.to(tl.int64, bitcast=True) >> 52) - 1023 - 14).to(tl.int32)
    exponent = tl.where(mean > 0, tl.minimum(tl.maximum(exponent, -125), 104), 0)
    half = tl.minimum((mean * _power_of_two(-exponent)).to(tl.float32), 32752.0).to(tl.float16)
    tl.store(values_ptr + r, half)
    tl.store(exponents_ptr + r, exponent.to(tl.int8))
    v = (half.to(tl.float64) * _power_of_two(exponent)).to(tl.float32)
    above = c >= 0
    tl.store(next_ptr + start + i, c - tl.where(above, v * size, -(v * size)), mask=inside)

    octets = tl.reshape((above & inside).to(tl.int32), [BLOCK // 8, 8]) << tl.arange(0, 8)[None, :]
    k = tl.arange(0, BLOCK // 8)
    tl.store(bits_ptr + byte + k, tl.sum(octets, axis=1).to(tl.uint8), mask=k * 8 < n)


@triton.jit
def _received(
    bits_ptr: tl.tensor, step_ptr: tl.tensor, n: tl.tensor, BLOCK: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """Signs and steps, int32, of a row whose bits and steps begin there."""
    i, k = tl.arange(0, BLOCK), tl.arange(0, BLOCK // 8)
    octet = tl.load(bits_ptr + k, mask=k * 8 < n, other=0).to(tl.int32)
    sign = tl.reshape((octet[:, None] >> tl.arange(0, 8)[None, :]) & 1, [BLOCK])
    return sign, tl.load(step_ptr + i, mask=i < n, other=64).to(tl.int32)


@triton.jit
def _decoded(
    sign: tl.tensor,
    step: tl.tensor,
    values_ptr: tl.tensor,
    exponents_ptr: tl.tensor,
    sizes_ptr: tl.tensor,
    r: tl.tensor,
    scale: tl.tensor,
) -> tl.tensor:
    """What row r of a message stands for, times scale."""
    power = _power_of_two(tl.load(exponents_ptr + r))
    v = (tl.load(values_ptr + r).to(tl.float64) * power * scale).to(tl.float32) * _size(step, sizes_ptr)
    return tl.where(sign == 1, v, -v)


@triton.jit(do_not_specialize=["scale_bits"])
def _decode(
    start_ptr: tl.tensor,
    length_ptr: tl.tensor,
    byte_ptr: tl.tensor,
    bits_ptr: tl.tensor,
    values_ptr: tl.tensor,
    exponents_ptr: tl.tensor,
    step_ptr: tl.tensor,
    sizes_ptr: tl.tensor,
    out_ptr: tl.tensor,
    scale_bits: tl.tensor,
    ACCUMULATE: tl.constexpr,
    LEARNING: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    r = tl.program_id(0)
    start, n, byte = tl.load(start_ptr + r), tl.load(length_ptr + r), tl.load(byte_ptr + r)
    pointers = (bits_ptr + byte, values_ptr, exponents_ptr, step_ptr + 8 * byte, sizes_ptr, out_ptr)
    if _is_even(start, n):
        _decode_row(r, start // 4 * 4, n // 16 * 16, *pointers, scale_bits, ACCUMULATE, LEARNING, BLOCK)
    else:
        _decode_row(r, start, n, *pointers, scale_bits, ACCUMULATE, LEARNING, BLOCK)


@triton.jit
def _decode_row(
    r: tl.tensor,
    start: tl.tensor,
    n: tl.tensor,
    bits_ptr: tl.tensor,
    values_ptr: tl.tensor,
    exponents_ptr: tl.tensor,
    step_ptr: tl.tensor,
    sizes_ptr: tl.tensor,
    out_ptr: tl.tensor,
    scale_bits: tl.tensor,
    ACCUMULATE: tl.constexpr,
    LEARNING: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    i = tl.arange(0, BLOCK)
    inside = i < n
    scale = scale_bits.to(tl.int64).to(tl.float64, bitcast=True)
    sign, step = _received(bits_ptr, step_ptr, n, BLOCK)
    value = _decoded(sign, step, values_ptr, exponents_ptr, sizes_ptr, r, scale)
    if ACCUMULATE:
        value += tl.load(out_ptr + start + i, mask=inside, other=0.0)
    tl.store(out_ptr + start + i, value, mask=inside)
    if LEARNING:
        tl.store(step_ptr + i, _learnt(step, sign).to(tl.uint8), mask=inside)


@triton.jit
def _learn(
    length_ptr: tl.tensor, byte_ptr: tl.tensor, bits_ptr: tl.tensor, step_ptr: tl.tensor, BLOCK: tl.constexpr
) -> None:
    r = tl.program_id(0)
    n, byte = tl.load(length_ptr + r), tl.load(byte_ptr + r)
    bits_ptr += byte
    step_ptr += 8 * byte
    if n % 16 == 0:
        _learn_row(n // 16 * 16, bits_ptr, step_ptr, BLOCK)
    else:
        _learn_row(n, bits_ptr, step_ptr, BLOCK)


@triton.jit
def _learn_row(n: tl.tensor, bits_ptr: tl.tensor, step_ptr: tl.tensor, BLOCK: tl.constexpr) -> None:
    i = tl.arange(0, BLOCK)
    sign, step = _received(bits_ptr, step_ptr, n, BLOCK)
    tl.store(step_ptr + i, _learnt(step, sign).to(tl.uint8), mask=i < n)
