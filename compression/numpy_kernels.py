"""The quantiser in numpy: slower than the C kernels, with the same bits.

Arithmetic, the same in C to the bit:
- A sum has 16 float32 lanes (lane k adds the elements k, k + 16, … in index order), which are added pairwise: k to
  k + 8, then k + 4, 2, 1. float32 is precise enough: a lane of 128 elements errs by some 1e-5 at most, while the mean
  is rounded to fp16 (2.4e-4) and the residual takes up whatever was not sent. 16 lanes are one AVX-512 register.
- A sum that is not finite is taken again of c · 2^-40, which cannot overflow while c is finite.
- Means are float64. A row's exponent brings the larger one to [2^14, 2^15), so that a value of 2^-28 of it keeps
  fp16's full precision; [-125, 113] keeps every decoded value an exact finite float32, subnormal ones included.

R rows, L elements of a row.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

LOWEST, HIGHEST = -125, 113  # exponents
LARGEST = 32752.0  # largest fp16 below 2^15: times 2^113 it is still a finite float32
SMALL = np.float32(2.0**-40)
_CHUNK = 1 << 17  # elements that are worked on at a time, so that they stay in the cache


def quantise(
    c: np.ndarray,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    bits: np.ndarray,
    values: np.ndarray,
    exponents: np.ndarray,
    residual: np.ndarray,
) -> bool:
    """Writes the bits, values and exponents of `c`'s rows and `c` minus what they decode to.

    Args:
        c: Flat float32.
        rows: Start, length and byte of each row, [R] int64 each.
        bits: uint8; written.
        values: [R, 2] float16, below and above zero; written.
        exponents: [R] int8; written.
        residual: Flat float32; written where rows lie.

    Returns:
        Whether every element of the rows is finite; if not, what was written means nothing.
    """
    start, length, byte = rows
    with np.errstate(all="ignore"):
        for size, chosen in _groups(length):
            c_RL = sliding_window_view(c, size)[start[chosen]]
            above_RL = c_RL >= 0
            mean_R2 = _means(c_RL, above_RL)
            if mean_R2 is None:
                return False
            values[chosen], exponents[chosen] = encode_values(mean_R2)
            decoded_R2 = decode_values(values[chosen], exponents[chosen]).astype(np.float32)
            c_RL -= np.where(above_RL, decoded_R2[:, 1:], decoded_R2[:, :1])
            sliding_window_view(residual, size, writeable=True)[start[chosen]] = c_RL
            packed = np.packbits(above_RL, axis=1, bitorder="little")
            sliding_window_view(bits, packed.shape[1], writeable=True)[byte[chosen]] = packed
    return True


def decode(
    bits: np.ndarray,
    values_R2: np.ndarray,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    out: np.ndarray,
    accumulate: bool,
) -> None:
    """Writes or adds each row's two values.

    Args:
        bits: uint8.
        values_R2: float32, what elements below and above zero stand for.
        rows: Start, length and byte of each row, [R] int64 each.
        out: Flat float32; written where rows lie.
        accumulate: Adds to `out` rather than overwrite it.
    """
    start, length, byte = rows
    for size, chosen in _groups(length):
        packed = sliding_window_view(bits, -(-size // 8))[byte[chosen]]
        above_RL = np.unpackbits(packed, axis=1, count=size, bitorder="little").view(bool)
        decoded_RL = np.where(above_RL, values_R2[chosen, 1:], values_R2[chosen, :1])
        window = sliding_window_view(out, size, writeable=True)
        window[start[chosen]] = window[start[chosen]] + decoded_RL if accumulate else decoded_RL


def encode_values(mean_R2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[R, 2] float16 values and [R] int8 exponents of float64 means."""
    largest_R = np.abs(mean_R2).max(axis=1)
    exponent_R = np.where(largest_R > 0, np.clip(np.frexp(largest_R)[1] - 15, LOWEST, HIGHEST), 0)
    scaled_R2 = np.ldexp(mean_R2, -exponent_R[:, None]).astype(np.float32)
    return np.clip(scaled_R2, -LARGEST, LARGEST).astype(np.float16), exponent_R.astype(np.int8)


def decode_values(values_R2: np.ndarray, exponent_R: np.ndarray) -> np.ndarray:
    """[R, 2] float64: value · 2^exponent, exact."""
    return np.ldexp(values_R2.astype(np.float64), exponent_R[:, None].astype(np.int32))


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
