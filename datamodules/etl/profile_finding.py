"""What is wrong with a log, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SHOWN = 5  # examples in a sentence


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: In a word or two, such as "duplicates".
        told: What was found, with its number.
        advice: What to do about it.
        numbers: The same for programs.
    """

    kind: str
    told: str
    advice: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"kind": self.kind, "told": self.told, "advice": self.advice, **self.numbers}


def some(names: Sequence[object]) -> str:
    """The first few, and how many more there are."""
    shown = ", ".join(str(name) for name in names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN:,} more"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Such as "1 event" or "2,000 events"."""
    return f"{number:,} {one}" if number == 1 else f"{number:,} {one + 's' if many is None else many}"
