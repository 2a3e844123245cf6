"""Checks of values of a JSON document: each gives the value back, or raises a TypeError that says what it has to be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

Value = TypeVar("Value")


def a_text(value: Any) -> str:
    """Unicode text."""
    if not isinstance(value, str):
        raise TypeError(f"has to be text, got {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise TypeError("has to be Unicode text") from None
    return value


def a_number(value: Any) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e308 or value != value:
        raise TypeError(f"has to be a finite number, got {shown(value)}")
    return float(value)


def a_share(value: Any) -> float:
    """A number between 0 and 1."""
    share = a_number(value)
    if not 0 < share < 1:
        raise TypeError(f"is a share between 0 and 1, got {share:g}")
    return share


def a_count(value: Any) -> int:
    """A whole number from 1 to 2³¹."""
    if type(value) is not int or not 1 <= value <= 2**31:
        raise TypeError(f"has to be a whole number from 1 on, got {shown(value)}")
    return value


def an_object(value: Any) -> dict[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise TypeError(f"has to be an object, got {shown(value)}")
    return value


def texts_by_name(value: Any) -> dict[str, str]:
    """An object of texts."""
    return {name: a_text(item) for name, item in an_object(value).items()}


def optional(check: Callable[[Any], Value]) -> Callable[[Any], Value | None]:
    """What may be null."""
    return lambda value: None if value is None else check(value)


def list_of(check: Callable[[Any], Value]) -> Callable[[Any], tuple[Value, ...]]:
    """A list of such values, as a tuple."""

    def checked(value: Any) -> tuple[Value, ...]:
        if not isinstance(value, list):
            raise TypeError(f"has to be a list, got {shown(value)}")
        return tuple(check(item) for item in value)

    return checked


def shown(value: Any) -> str:
    """A value as JSON, cut where it is long."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    try:
        text = json.dumps(value, ensure_ascii=True)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= 60 else text[:59] + "…"
