"""The meaning of one cell, shared by the training reader and the scorer; needs numpy and Arrow only.

The scalar functions are the definition; `column_values` gives the same for a whole Arrow column, faster.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Halfway between the largest float32 and the next power of two: from here on rounding gives infinity.
FLOAT32_LIMIT = float(2**128 - 2**103)
FLOATING = ("number", "timestamp")
WHOLE = r"^(0|-?[1-9][0-9]{0,17})$"  # texts that int64 gives back as they are
_NUMBERS = (float, int, np.floating, np.integer, np.bool_, Decimal)
_BOOLEANS = {"true": "true", "false": "false", "1": "true", "0": "false"}


class CellError(ValueError):
    """A cell that does not fit its column's kind; `row` counts from 0 and is None for a single cell."""

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


@dataclass(frozen=True)
class ColumnValues:
    """A column as the graph takes it.

    Attributes:
        values: float32 [N] (NaN is missing), float64 [N] (UTC seconds) or objects [N] of str ("" is missing).
        overflowed: How many numbers were infinite or too large for float32; they count as missing.
    """

    values: np.ndarray[Any, Any]
    overflowed: int = 0


def parse_number(value: object, missing: frozenset[str]) -> float:
    """A number rounded to float32; NaN where it is missing, infinite, or too large for float32.

    Args:
        value: Number, boolean or text; text as Python's `float` reads it, without underscores.
        missing: Texts that mean "missing"; one that is a number ("-999") holds for numbers too.

    Raises:
        CellError: If the value is no number.
    """
    number = round_number(read_number(value, missing))
    return math.nan if math.isinf(number) else number


def round_number(number: float) -> float:
    """The nearest float32; infinite where it is too large."""
    return float(np.float32(number)) if abs(number) < FLOAT32_LIMIT else number if number != number else math.inf


def read_number(value: object, missing: frozenset[str]) -> float:
    """A number as float64: NaN where missing, infinite where it is too large.

    Raises:
        CellError: If the value is no number.
    """
    if isinstance(value, str):
        text = value.strip()
        if text in missing:
            return math.nan
        if "_" in text:
            raise _unexpected("a number", value)
        value = text
    elif not isinstance(value, _NUMBERS):
        if is_null(value):
            return math.nan
        raise _unexpected("a number", value)
    try:
        number = float(value)
    except OverflowError:
        return math.inf
    except ValueError:
        raise _unexpected("a number", value) from None
    return math.nan if number in missing_numbers(missing) else number


def parse_category(value: object, missing: frozenset[str]) -> str:
    """A category as text; "" where it is missing or infinite; text stays verbatim, 1 and 1.0 are "1", True is "true".

    Raises:
        CellError: If the value is a list, an object, or text that is no Unicode.
    """
    if isinstance(value, str):
        if not value.isascii() and not _encodes(value):
            raise _unexpected("text", value)
        # A member of a text enum becomes its text: onnxruntime would take its name.
        return "" if value.strip() in missing else value if type(value) is str else str.__str__(value)
    if isinstance(value, (bool, np.bool_)):
        text = "true" if value else "false"
    elif isinstance(value, _NUMBERS):
        text = _number_text(value)
    elif is_null(value):
        return ""
    elif isinstance(value, (dt.date, dt.time)):
        text = value.isoformat()
    else:
        raise _unexpected("text", value)
    return "" if text in missing else text


def parse_boolean(value: object, missing: frozenset[str]) -> str:
    """Text "true", "false", or "" where missing; true and false in any case, 1 and 0 as number or text.

    Raises:
        CellError: If the value is none of these.
    """
    if isinstance(value, str):
        text = value.strip()
        if text in missing:
            return ""
        text = text.lower()
    else:
        text = parse_category(value, missing)
        if text == "":
            return ""
    if text not in _BOOLEANS:
        raise _unexpected("true or false", value)
    return _BOOLEANS[text]


def parse_timestamp(value: object, missing: frozenset[str]) -> float:
    """UTC seconds since 1970; NaN where missing or infinite.

    Args:
        value: ISO 8601 text or date (UTC where no zone is named), `datetime`, `date`, or epoch seconds.
        missing: Texts that mean "missing".

    Raises:
        CellError: If the value is no time.
    """
    number = read_timestamp(value, missing)
    return math.nan if math.isinf(number) else number


def read_timestamp(value: object, missing: frozenset[str]) -> float:
    """As `parse_timestamp`, but infinite where the number of seconds is.

    Raises:
        CellError: If the value is no time.
    """
    if isinstance(value, dt.date):
        return math.nan if is_null(value) else _seconds(value)
    if isinstance(value, str):
        text = value.strip()
        if text in missing:
            return math.nan
        try:
            return _seconds(dt.datetime.fromisoformat(text))
        except ValueError:
            pass
    if not isinstance(value, (bool, np.bool_)):
        try:
            return read_number(value, missing)
        except CellError:
            pass
    raise _unexpected("a time such as 2026-01-31T18:00:00Z", value)


PARSERS: dict[str, Callable[[object, frozenset[str]], Any]] = {
    "number": parse_number,
    "category": parse_category,
    "boolean": parse_boolean,
    "timestamp": parse_timestamp,
}
# The same, but infinite where a number is too large, so that a caller can count those.
READERS: dict[str, Callable[[object, frozenset[str]], Any]] = {
    **PARSERS,
    "number": lambda value, missing: round_number(read_number(value, missing)),
    "timestamp": read_timestamp,
}
DTYPES: dict[str, Any] = {"number": np.float32, "timestamp": np.float64, "category": object, "boolean": object}


def is_null(value: object) -> bool:
    """Whether a value is None, NaN, or pandas' NA or NaT."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating)) and bool(value != value)


def _unexpected(wanted: str, value: object) -> CellError:
    try:
        text = str(value)
    except (ValueError, OverflowError):  # an integer of more digits than Python prints, a date of Arrow's alone
        return CellError(f"expected {wanted}, got a {type(value).__name__}")
    shown = text if len(text) <= 40 else text[:39] + "…"
    # One line, and nothing in it that a terminal or JSON would stumble over.
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)
    return CellError(f'expected {wanted}, got "{shown}"')


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number_text(value: Any) -> str:
    if isinstance(value, (int, np.integer)):
        number = int(value)
    elif not math.isfinite(value):
        return ""
    elif value != int(value):
        return repr(float(value))
    else:
        number = int(value)
    try:
        return str(number)
    except ValueError:  # Python prints no integer of more than 4,300 digits
        raise CellError("expected text, got an integer of thousands of digits") from None


def _seconds(value: dt.date) -> float:
    if not isinstance(value, dt.datetime):
        value = dt.datetime(value.year, value.month, value.day)
    return (value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value).timestamp()


@lru_cache(maxsize=64)
def missing_numbers(missing: frozenset[str]) -> frozenset[float]:
    """The numbers among the texts that mean "missing"."""
    numbers = set()
    for token in missing:
        try:
            numbers.add(float(token))
        except ValueError:
            continue
    return frozenset(number for number in numbers if number == number)


def column_values(array: pa.ChunkedArray | pa.Array, kind: str, missing: frozenset[str]) -> ColumnValues:
    """A column, by the meaning of the scalar functions.

    Args:
        array: Any Arrow column of N rows.
        kind: "number", "category", "boolean" or "timestamp".
        missing: Texts that mean "missing".

    Raises:
        CellError: With the row of the first cell that does not fit.
    """
    plain = _combined(array)
    if kind in FLOATING and not pa.types.is_dictionary(plain.type):
        fast = _timestamps(plain) if kind == "timestamp" else _numbers(plain, missing)
        if fast is not None:
            return _without_infinite(fast, kind)
    if pa.types.is_nested(plain.type) or pa.types.is_null(plain.type):
        return parse_values(python_values(plain), kind, missing)
    return _by_distinct_value(plain, kind, missing)


def parse_values(values: Sequence[object], kind: str, missing: frozenset[str]) -> ColumnValues:
    """A column of Python values, one after the other.

    Raises:
        CellError: With the row of the first cell that does not fit.
    """
    read = READERS[kind]
    found = []
    try:
        for value in values:
            found.append(read(value, missing))
    except CellError as error:
        raise CellError(str(error), len(found)) from None
    out = np.empty(len(found), object if kind not in FLOATING else np.float64)
    out[:] = found
    return _without_infinite(out, kind) if kind in FLOATING else ColumnValues(out)


def python_values(array: pa.Array | pa.ChunkedArray) -> list[Any]:
    """The cells as Python values; one that Python has no value for, such as a date after 9999, stays Arrow's scalar."""
    try:
        return list(array.to_pylist())
    except (OverflowError, ValueError):
        return [_python_value(scalar) for scalar in array]


def _python_value(scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        return scalar


def _combined(array: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(array, pa.ChunkedArray):
        if array.num_chunks == 1:
            array = array.chunk(0)
        else:
            array = array.unify_dictionaries().combine_chunks()
            array = array if isinstance(array, pa.Array) else pa.concat_arrays(array.chunks)
    if isinstance(array, pa.ExtensionArray):
        return array.storage
    if pa.types.is_float16(array.type):  # older Arrows do little with it
        return array.cast(pa.float32())
    # Python values of nanoseconds would need pandas.
    if pa.types.is_timestamp(array.type) and array.type.unit == "ns":
        return array.cast(pa.timestamp("us", array.type.tz), safe=False)
    return array


def _without_infinite(numbers: np.ndarray[Any, Any], kind: str) -> ColumnValues:
    with np.errstate(over="ignore"):
        values = numbers.astype(DTYPES[kind])
    infinite = np.isinf(values)
    count = int(infinite.sum())
    if count:
        values[infinite] = np.nan
    return ColumnValues(values, count)


def _timestamps(array: pa.Array) -> np.ndarray[Any, Any] | None:
    if pa.types.is_date32(array.type):
        return _floats(array.cast(pa.int32())) * 86_400.0
    if not pa.types.is_timestamp(array.type):
        return None
    return _floats(array.cast(pa.int64())) / {"s": 1.0, "ms": 1e3, "us": 1e6}[array.type.unit]


def _numbers(array: pa.Array, missing: frozenset[str]) -> np.ndarray[Any, Any] | None:
    """Float64 [N], infinite where too large; None where the cells have to be read one by one."""
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        numbers = _floats(array)
    elif pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        found = _text_numbers(array, missing)
        if found is None:
            return None
        numbers = found
    else:
        return None
    tokens_as_numbers = missing_numbers(missing)
    if tokens_as_numbers:
        numbers = np.where(np.isin(numbers, list(tokens_as_numbers)), np.nan, numbers)
    return numbers


def _text_numbers(array: pa.Array, missing: frozenset[str]) -> np.ndarray[Any, Any] | None:
    # Most columns hold no missing token, and to look for them takes longer than to read the numbers.
    numbers = _read_floats(array)
    if numbers is not None:
        return numbers
    # As in the scalar functions, a token with blanks around it equals no cell.
    tokens = pa.array(sorted(token for token in missing if token == token.strip()), array.type)
    return _read_floats(pc.if_else(pc.is_in(array, value_set=tokens), pa.scalar(None, array.type), array))


def _read_floats(texts: pa.Array) -> np.ndarray[Any, Any] | None:
    try:
        numbers = _floats(texts)
    except pa.ArrowInvalid:  # a cell that is no number, or is one in Python's eyes only
        return None
    # Arrow reads what Python reads, but takes "nan(abc)" for a number too.
    return numbers if np.count_nonzero(np.isnan(numbers)) == texts.null_count else None


def _floats(array: pa.Array) -> np.ndarray[Any, Any]:
    return np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def _by_distinct_value(array: pa.Array, kind: str, missing: frozenset[str]) -> ColumnValues:
    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    # Null is one more value, at the end: -1 points to it.
    indices = encoded.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    read = READERS[kind]
    found: list[Any] = []
    wrong: dict[int, CellError] = {}
    for value in [*python_values(_combined(encoded.dictionary)), None]:
        try:
            found.append(read(value, missing))
        except CellError as error:
            wrong[len(found)] = error
            found.append("" if kind not in FLOATING else math.nan)
    if wrong:
        rows = np.flatnonzero(np.isin(indices, list(wrong)))
        if len(rows):  # a dictionary may hold values that no row has
            raise CellError(str(wrong[int(indices[rows[0]])]), int(rows[0]))
    values = np.empty(len(found), object if kind not in FLOATING else np.float64)
    values[:] = found
    return _without_infinite(values[indices], kind) if kind in FLOATING else ColumnValues(values[indices])
