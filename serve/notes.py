"""What is told beside answers: sentences whose numbers add up over the parts of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Note(NamedTuple):
    """A sentence of how often something was met.

    Attributes:
        where: What stands before the number, such as a column.
        one: What follows a 1.
        many: What follows any other number.
    """

    where: str
    one: str
    many: str

    def sentence(self, count: int) -> str:
        """With its number."""
        return f"{self.where}1 {self.one}" if count == 1 else f"{self.where}{count:,} {self.many}"


def sentences(notes: Mapping[Note, int]) -> list[str]:
    """All of them."""
    return [note.sentence(count) for note, count in notes.items()]


def about_rows(what: str, plural: str | None = None) -> Note:
    """Of rows that have something, such as "no step"; `plural` where that is said otherwise of several."""
    return Note("", f"row has {what}", f"rows have {what if plural is None else plural}")


def about_steps(column: str, which: str, done: str) -> Note:
    """Of steps of some kind in a column, with which something was done, such as "left out"."""
    return Note(f'column "{column}": ', f"step {which} was {done}", f"steps {which} were {done}")


def overflow(column: str) -> Note:
    """Of numbers that count as missing."""
    of = "infinite or too large number"
    return Note(f'column "{column}": ', f"{of} was taken as missing", f"{of}s were taken as missing")
