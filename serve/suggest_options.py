"""Options of suggestions, under the same names in a process, over HTTP and on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

USUAL_K = 20


@dataclass(frozen=True)
class SuggestOptions:
    """What is asked for one history.

    Attributes:
        k: Suggestions, from 1 on; a model ranks so many at most.
        exclude_owned: Whether what is in the history is left out; items that are bought again are not.
        exclude: Items that are not suggested, such as those not for sale.
        only: Items of which alone suggestions are taken; None for all.
        category: Values of the catalogue's category of which alone suggestions are taken; None for all.
        diversity: From 0, the order of scores, to 1, as different as can be (`serve.diversity`).
    """

    k: int = USUAL_K
    exclude_owned: bool = True
    exclude: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    category: tuple[str, ...] | None = None
    diversity: float = 0.0

    def __post_init__(self) -> None:
        if type(self.k) is not int or self.k < 1:
            raise ValueError(f'"k": expected a whole number from 1 on, got {self.k!r}')
        if type(self.exclude_owned) is not bool:
            raise ValueError(f'"exclude_owned": expected true or false, got {self.exclude_owned!r}')
        if type(self.diversity) not in (int, float) or not 0 <= self.diversity <= 1:
            raise ValueError(f'"diversity": expected a number from 0 to 1, got {self.diversity!r}')

    @property
    def filters(self) -> tuple[tuple[str, ...], tuple[str, ...] | None, tuple[str, ...] | None]:
        """What decides which items are allowed."""
        return self.exclude, self.only, self.category


OPTIONS = tuple(field.name for field in fields(SuggestOptions))
_LISTS = ("exclude", "only", "category")


def options_of_records(rows: Sequence[Mapping[str, Any]]) -> list[SuggestOptions]:
    """The options of each record; null is the default.

    Raises:
        ValueError: With row and option, if one does not fit.
    """
    found, usual = [], SuggestOptions()
    for number, row in enumerate(rows, 1):
        given = {name: row[name] for name in OPTIONS if row.get(name) is not None}
        try:
            for name in _LISTS:
                if name in given:
                    given[name] = _texts(name, given[name])
            found.append(SuggestOptions(**given) if given else usual)
        except ValueError as error:
            raise ValueError(f"row {number}, {error}") from None
    return found


def _texts(name: str, value: object) -> tuple[str, ...]:
    """A list of ids or values, whole numbers as their texts; one alone is a list of one."""
    values = [value] if isinstance(value, (str, int)) else value
    if not isinstance(values, (list, tuple)):
        raise ValueError(f'"{name}": expected a list, got {type(value).__name__}')
    for one in values:
        if isinstance(one, bool) or not isinstance(one, (str, int)):
            raise ValueError(f'"{name}": expected texts or whole numbers, got {"null" if one is None else repr(one)}')
    return tuple(str(one) for one in values)


def ids_of_words(words: Sequence[str] | None) -> tuple[str, ...] | None:
    """Ids of a command line: each word is one, or the name of a text file with one a line.

    Raises:
        ValueError: If a file is no UTF-8 text.
    """
    if words is None:
        return None
    found: list[str] = []
    for word in words:
        if not Path(word).is_file():
            found.append(word)
            continue
        try:
            lines = Path(word).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise ValueError(f"{word} is no UTF-8 text; give a file with one id a line") from None
        found += [line.strip() for line in lines if line.strip()]
    return tuple(found)
