"""The quantiser in numpy: slower than the C kernels, with the same bits.

Arithmetic, the same in C to the bit:
- 1 bit: an element stands for its sign times value · size, the row's value times the size of the element's own step,
  2^((level - 64) / 8) as float32. Levels lie in 0 to 127: one up where a sign is that of the step before, one down
  where it is not. So a step grows while the residual falls behind and shrinks once it swings from side to side
  (adaptive delta modulation: Jayant, "Adaptive delta modulation with a one-bit memory", Bell System Technical Journal,
  1970).
- The row's value is mean(|c| · size) / mean(size^2), the least squares of its elements, times mean(level) / 64, which
  draws levels back to the middle of their range. Means are remembered over some 50 steps: 0.98 of the one before and
  0.02 of this step's, of which one in four 16 elements are enough. So the value is known before the row is read. The
  first time it is that of the row itself.
- A sum has 16 float32 lanes (lane k adds the elements k, k + 16, … in index order), which are added pairwise: k to
  k + 8, then k + 4, 2, 1; 16 lanes are one AVX-512 register. One that is not finite is taken again of c · 2^-40, which
  cannot overflow while c is finite.
- 4 or 8 bits: the distance of two levels is max |c| / 7 (or 127), coded like a value; level = c · (1 / distance),
  clipped, rounded half to even; a distance whose inverse overflows counts as infinite.
- Means are float64. A row's exponent brings its value to [2^14, 2^15), where fp16 has its full precision; [-125, 113]
  keeps every decoded value an exact finite float32, subnormal ones included, and 104 one times the largest size.

R rows, L elements of a row.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

LOWEST, HIGHEST, HIGHEST_OF_BITS = -125, 113, 104  # exponents
LARGEST = 32752.0  # largest fp16 below 2^15: times 2^113 it is still a finite float32
LEVELS = {4: 7, 8: 127}  # above zero, and as many below, of that many bits
TOP, MEMORY = 127, 0.98  # level of a step; of a row's means, from step to step
SIZES = (2.0 ** ((np.arange(TOP + 1) - 64) / 8)).astype(np.float32)
SMALL = np.float32(2.0**-40)
_CHUNK = 1 << 17  # elements that are worked on at a time, so that they stay in the cache
RowArrays = tuple[np.ndarray, np.ndarray, np.ndarray]  # start, length and byte of each row, [R] int64


def code(
    c: np.ndarray,
    rows: RowArrays,
    bits: np.ndarray,
    values: np.ndarray,
    exponents: np.ndarray,
    residual: np.ndarray,
    steps: np.ndarray,
    means: np.ndarray,
    next_means: np.ndarray,
) -> bool:
    """Writes the signs, values and exponents of `c`'s rows and `c` minus what they decode to.

    Args:
        c: Flat float32.
        rows: Rows.
        bits: uint8; written.
        values: [R, 1] float16; written.
        exponents: [R] int8; written.
        residual: Flat float32; written where rows lie.
        steps: uint8, each row's at 8 · byte.
        means: [R, 3] float64, of |c| · size, of size^2 and of levels; zeros at first.
        next_means: [R, 3] float64; written.

    Returns:
        Whether every element of the rows is finite; if not, what was written means nothing.
    """
    start, length, byte = rows
    with np.errstate(all="ignore"):
        for size, chosen in _groups(length):
            c_RL = sliding_window_view(c, size)[start[chosen]]
            size_RL = SIZES[sliding_window_view(steps, size)[8 * byte[chosen]] & TOP]
            if not np.isfinite(c_RL).all():
                return False
            block = np.arange(size) // 16
            sample = block % 4 == block // 4 % 4
            level_RL = sliding_window_view(steps, size)[8 * byte[chosen]][:, sample] & TOP
            here_R3 = _means(c_RL[:, sample], size_RL[:, sample], level_RL)
            means_R3 = np.where(means[chosen, 1:2] == 0, here_R3, means[chosen])
            next_means[chosen] = MEMORY * means_R3 + (1 - MEMORY) * here_R3
            mean_R1 = means_R3[:, :1] / means_R3[:, 1:2] * (means_R3[:, 2:] / 64)
            values[chosen], exponents[chosen] = encode_values(mean_R1, HIGHEST_OF_BITS)
            value_R1 = decode_values(values[chosen], exponents[chosen]).astype(np.float32)
            above_RL = c_RL >= 0
            codes = np.packbits(above_RL, axis=1, bitorder="little")
            c_RL -= np.where(above_RL, value_R1 * size_RL, -value_R1 * size_RL)
            sliding_window_view(residual, size, writeable=True)[start[chosen]] = c_RL
            sliding_window_view(bits, codes.shape[1], writeable=True)[byte[chosen]] = codes
    return True


def code_levels(
    c: np.ndarray,
    rows: RowArrays,
    bits: np.ndarray,
    values: np.ndarray,
    exponents: np.ndarray,
    residual: np.ndarray,
    width: int,
) -> bool:
    """As `code` in 4 or 8 bits a value; `values` are the distances of two levels."""
    start, length, byte = rows
    with np.errstate(all="ignore"):
        for size, chosen in _groups(length):
            c_RL = sliding_window_view(c, size)[start[chosen]]
            mean_R1 = _distances(c_RL, LEVELS[width])
            if mean_R1 is None:
                return False
            values[chosen], exponents[chosen] = encode_values(mean_R1, HIGHEST)
            value_R1 = decode_values(values[chosen], exponents[chosen]).astype(np.float32)
            codes, decoded_RL = _levels(c_RL, value_R1, width)
            c_RL -= decoded_RL
            sliding_window_view(residual, size, writeable=True)[start[chosen]] = c_RL
            sliding_window_view(bits, codes.shape[1], writeable=True)[byte[chosen] * width] = codes
    return True


def decode(
    bits: np.ndarray,
    value_R1: np.ndarray,
    rows: RowArrays,
    out: np.ndarray,
    accumulate: bool,
    width: int = 1,
    steps: np.ndarray | None = None,
) -> None:
    """Writes or adds what the bits or codes stand for.

    Args:
        bits: uint8.
        value_R1: float32 [R, 1]; of 1 bit the values, else the levels' distances.
        rows: Rows.
        out: Flat float32; written where rows lie.
        accumulate: Adds to `out` rather than overwrite it.
        width: Bits a value.
        steps: Of 1 bit.
    """
    start, length, byte = rows
    for size, chosen in _groups(length):
        packed = sliding_window_view(bits, -(-size * width // 8))[byte[chosen] * width]
        if steps is not None:
            above_RL = np.unpackbits(packed, axis=1, count=size, bitorder="little").view(bool)
            value_RL = value_R1[chosen] * SIZES[sliding_window_view(steps, size)[8 * byte[chosen]] & TOP]
            decoded_RL = np.where(above_RL, value_RL, -value_RL)
        else:
            codes_RL = packed if width == 8 else np.stack([packed & 15, packed >> 4], axis=2).reshape(len(packed), -1)
            decoded_RL = (codes_RL[:, :size].astype(np.float32) - LEVELS[width]) * value_R1[chosen]
        window = sliding_window_view(out, size, writeable=True)
        window[start[chosen]] = window[start[chosen]] + decoded_RL if accumulate else decoded_RL


def learn(bits: np.ndarray, rows: RowArrays, steps: np.ndarray) -> None:
    """Moves each level up where the sign is the last one again, else down."""
    _, length, byte = rows
    for size, chosen in _groups(length):
        packed = sliding_window_view(bits, -(-size // 8))[byte[chosen]]
        sign_RL = np.unpackbits(packed, axis=1, count=size, bitorder="little")
        window = sliding_window_view(steps, size, writeable=True)
        step_RL = window[8 * byte[chosen]]
        level_RL = (step_RL & TOP).astype(np.int16) + np.where(step_RL >> 7 == sign_RL, 1, -1)
        window[8 * byte[chosen]] = np.clip(level_RL, 0, TOP).astype(np.uint8) | sign_RL << 7


def encode_values(mean_R1: np.ndarray, highest: int) -> tuple[np.ndarray, np.ndarray]:
    """[R, 1] float16 values and [R] int8 exponents of float64 means, 0 or above."""
    exponent_R = np.where(mean_R1[:, 0] > 0, np.clip(np.frexp(mean_R1[:, 0])[1] - 15, LOWEST, highest), 0)
    scaled_R1 = np.ldexp(mean_R1, -exponent_R[:, None]).astype(np.float32)
    return np.minimum(scaled_R1, LARGEST).astype(np.float16), exponent_R.astype(np.int8)


def decode_values(values_R1: np.ndarray, exponent_R: np.ndarray) -> np.ndarray:
    """[R, 1] float64: value · 2^exponent, exact."""
    return np.ldexp(values_R1.astype(np.float64), exponent_R[:, None].astype(np.int32))


def _groups(length: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Rows of one length each, at most `_CHUNK` elements at a time: the length and the rows' indices."""
    found = []
    for size in np.unique(length):
        chosen = np.flatnonzero(length == size)
        step = max(1, _CHUNK // int(size))
        found += [(int(size), chosen[i : i + step]) for i in range(0, len(chosen), step)]
    return found


def _means(c_RL: np.ndarray, size_RL: np.ndarray, level_RL: np.ndarray) -> np.ndarray:
    """[R, 3] float64 means of |c| · size, of size² and of levels."""
    sum_R = _lane_sum(np.abs(c_RL) * size_RL).astype(np.float64)
    large = ~np.isfinite(sum_R)
    if large.any():
        sum_R[large] = _lane_sum(np.abs(c_RL[large]) * SMALL * size_RL[large]).astype(np.float64) * 2.0**40
    square_R = _lane_sum(size_RL * size_RL).astype(np.float64)
    found: np.ndarray = np.stack([sum_R, square_R, level_RL.sum(axis=1).astype(np.float64)], axis=1)
    found /= c_RL.shape[1]
    return found


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
