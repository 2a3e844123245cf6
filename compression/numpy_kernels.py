"""The quantiser in numpy: slower than the C kernels, with the same bits.

Arithmetic, the same in C to the bit:
- A sum has 16 float32 lanes (lane k adds the elements k, k + 16, … in index order), which are added pairwise: k to
  k + 8, then k + 4, 2, 1. float32 is precise enough: a lane of 128 elements errs by some 1e-5 at most, while the mean
  is rounded to fp16 (2.4e-4) and the residual takes up whatever was not sent. 16 lanes are one AVX-512 register.
- A sum that is not finite is taken again of c · 2^-40, which cannot overflow while c is finite.
- 4 or 8 bits: the distance of two levels is max |c| / 7 (or 127), coded like a mean; level = c · (1 / distance),
  clipped, rounded half to even; a distance whose inverse overflows counts as infinite.
- Means are float64. A row's exponent brings the larger one to [2^14, 2^15), so that a value of 2^-28 of it keeps
  fp16's full precision; [-125, 113] keeps every decoded value an exact finite float32, subnormal ones included.

R rows, L elements of a row.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

LOWEST, HIGHEST = -125, 113  # exponents
LARGEST = 32752.0  # largest fp16 below 2^15: times 2^113 it is still a finite float32
LEVELS = {4: 7, 8: 127}  # above zero, and as many below, of that many bits
SMALL = np.float32(2.0**-40)
_CHUNK = 1 << 17  # elements that are worked on at a time, so that they stay in the cache


def quantise(
    c: np.ndarray,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    bits: np.ndarray,
    values: np.ndarray,
    exponents: np.ndarray,
    residual: np.ndarray,
    width: int = 1,
) -> bool:
    """Writes the bits or codes, values and exponents of `c`'s rows and `c` minus what they decode to.

    Args:
        c: Flat float32.
        rows: Start, length and byte of each row, [R] int64 each.
        bits: uint8; written.
        values: Written; of 1 bit [R, 2] float16, below and above zero, else [R, 1], the levels' distance.
        exponents: [R] int8; written.
        residual: Flat float32; written where rows lie.
        width: Bits a value.

    Returns:
        Whether every element of the rows is finite; if not, what was written means nothing.
    """
    start, length, byte = rows
    with np.errstate(all="ignore"):
        for size, chosen in _groups(length):
            c_RL = sliding_window_view(c, size)[start[chosen]]
            above_RL = c_RL >= 0 if width == 1 else None
            mean_RV = _distances(c_RL, LEVELS[width]) if above_RL is None else _means(c_RL, above_RL)
            if mean_RV is None:
                return False
            values[chosen], exponents[chosen] = encode_values(mean_RV)
            value_RV = decode_values(values[chosen], exponents[chosen]).astype(np.float32)
            if above_RL is None:
                codes, decoded_RL = _levels(c_RL, value_RV, width)
            else:
                codes = np.packbits(above_RL, axis=1, bitorder="little")
                decoded_RL = np.where(above_RL, value_RV[:, 1:], value_RV[:, :1])
            c_RL -= decoded_RL
            sliding_window_view(residual, size, writeable=True)[start[chosen]] = c_RL
            sliding_window_view(bits, codes.shape[1], writeable=True)[byte[chosen] * width] = codes
    return True


def decode(
    bits: np.ndarray,
    values_RV: np.ndarray,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    out: np.ndarray,
    accumulate: bool,
    width: int = 1,
) -> None:
    """Writes or adds what the bits or codes stand for.

    Args:
        bits: uint8.
        values_RV: float32; of 1 bit [R, 2], what elements below and above zero stand for; else the levels' distance.
        rows: Start, length and byte of each row, [R] int64 each.
        out: Flat float32; written where rows lie.
        accumulate: Adds to `out` rather than overwrite it.
        width: Bits a value.
    """
    start, length, byte = rows
    for size, chosen in _groups(length):
        packed = sliding_window_view(bits, -(-size * width // 8))[byte[chosen] * width]
        if width == 1:
            above_RL = np.unpackbits(packed, axis=1, count=size, bitorder="little").view(bool)
            decoded_RL = np.where(above_RL, values_RV[chosen, 1:], values_RV[chosen, :1])
        else:
            codes_RL = packed if width == 8 else np.stack([packed & 15, packed >> 4], axis=2).reshape(len(packed), -1)
            decoded_RL = (codes_RL[:, :size].astype(np.float32) - LEVELS[width]) * values_RV[chosen]
        window = sliding_window_view(out, size, writeable=True)
        window[start[chosen]] = window[start[chosen]] + decoded_RL if accumulate else decoded_RL


def encode_values(mean_RV: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[R, V] float16 values and [R] int8 exponents of float64 means."""
    largest_R = np.abs(mean_RV).max(axis=1)
    exponent_R = np.where(largest_R > 0, np.clip(np.frexp(largest_R)[1] - 15, LOWEST, HIGHEST), 0)
    scaled_RV = np.ldexp(mean_RV, -exponent_R[:, None]).astype(np.float32)
    return np.clip(scaled_RV, -LARGEST, LARGEST).astype(np.float16), exponent_R.astype(np.int8)


def decode_values(values_RV: np.ndarray, exponent_R: np.ndarray) -> np.ndarray:
    """[R, V] float64: value · 2^exponent, exact."""
    return np.ldexp(values_RV.astype(np.float64), exponent_R[:, None].astype(np.int32))


def _groups(length: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Rows of one length each, at most `_CHUNK` elements at a time: the length and the rows' indices."""
    found = []
    for size in np.unique(length):
        chosen = np.flatnonzero(length == size)
        step = max(1, _CHUNK // int(size))
        found += [(int(size), chosen[i : i + step]) for i in range(0, len(chosen), step)]
    return found


def _means(c_RL: np.ndarray, above_RL: np.ndarray) -> np.ndarray | None:
    """[R, 2] float64 means of the elements below and above zero, 0 where there is none; None if c is not finite."""
    count_R = np.count_nonzero(above_RL, axis=1)
    zero = np.float32(0)
    columns = []
    for part, n_R in ((np.minimum, c_RL.shape[1] - count_R), (np.maximum, count_R)):
        sum_R = _lane_sum(part(c_RL, zero)).astype(np.float64)
        large = ~np.isfinite(sum_R)
        if large.any():
            sum_R[large] = _lane_sum(part(c_RL[large] * SMALL, zero)).astype(np.float64) * 2.0**40
            if not np.isfinite(sum_R).all():
                return None
        columns.append(np.where(n_R > 0, sum_R / np.maximum(n_R, 1), 0.0))
    return np.stack(columns, axis=1)


def _distances(c_RL: np.ndarray, top: int) -> np.ndarray | None:
    """[R, 1] float64 distances of levels, `top` of them above zero; None if c is not finite."""
    largest_R1 = np.abs(c_RL).max(axis=1, keepdims=True)
    return largest_R1.astype(np.float64) / top if np.isfinite(largest_R1).all() else None


def _levels(c_RL: np.ndarray, distance_R1: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The packed codes of the nearest levels, uint8, and what they stand for, float32 [R, L]."""
    top = LEVELS[width]
    inverse_R1 = np.float32(1) / distance_R1
    inverse_R1[~np.isfinite(inverse_R1)] = 0
    level_RL = np.rint(np.clip(c_RL * inverse_R1, -top, top)) + np.float32(0)  # no -0
    codes_RL: np.ndarray = (level_RL + top).astype(np.uint8)
    if width == 4:
        codes_RL = np.pad(codes_RL, ((0, 0), (0, codes_RL.shape[1] % 2)))
        codes_RL = codes_RL[:, ::2] | codes_RL[:, 1::2] << 4
    return codes_RL, level_RL * distance_R1


def _lane_sum(x_RL: np.ndarray) -> np.ndarray:
    """[R] float32 sums in the order that the module's docstring fixes."""
    rows, size = x_RL.shape
    full = size // 16 * 16
    # numpy adds along this axis one by one; pairwise it adds only along the innermost.
    lanes: np.ndarray = np.add.reduce(x_RL[:, :full].reshape(rows, -1, 16), axis=1)
    lanes[:, : size - full] += x_RL[:, full:]
    for half in (8, 4, 2, 1):
        lanes = lanes[:, :half] + lanes[:, half : 2 * half]
    return lanes[:, 0]
