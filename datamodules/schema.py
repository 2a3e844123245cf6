"""The schema of a table: what each column is, and why it was so decided; written as JSON that a person can edit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

Kind = Literal["number", "category", "boolean", "timestamp", "id", "ignored"]
USED_KINDS: tuple[Kind, ...] = ("number", "category", "boolean", "timestamp")
MISSING_TOKENS = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "#N/A", "?")
FORMAT = 1


@dataclass(frozen=True)
class Column:
    """One column: its kind, the reason for it, and what its training rows hold.

    Attributes:
        categories: Value to count, most frequent first; None for numbers and times.
        quantiles: Minimum, 5 %, 25 %, 50 %, 75 %, 95 %, maximum of the numbers; None for categories.
        is_quantity: Whether the numbers are known to count or measure, and so are no codes, however few there are.
    """

    name: str
    kind: Kind
    reason: str
    missing: int = 0
    distinct: int = 0
    categories: dict[str, int] | None = None
    quantiles: list[float] | None = None
    is_quantity: bool = False


@dataclass(frozen=True)
class LabelColumn:
    """A column of two values, one of several that are predicted at once.

    Attributes:
        no: The value of the rows that do not have the label.
        yes: The value of those that have it.
    """

    name: str
    no: str
    yes: str


@dataclass(frozen=True)
class Schema:
    """All columns of a table but the label, the label's classes, and the tokens that mean "missing".

    A label that is a number has no classes. Of several labels `label` holds the names with commas between them, and
    `classes` each of the names, for a row may have any number of them.
    """

    columns: tuple[Column, ...]
    label: str
    classes: tuple[str, ...]
    positive: str | None
    missing_tokens: tuple[str, ...] = MISSING_TOKENS
    warnings: tuple[str, ...] = field(default=(), compare=False)
    labels: tuple[LabelColumn, ...] = ()

    @property
    def inputs(self) -> tuple[Column, ...]:
        """The columns that a model reads."""
        return tuple(column for column in self.columns if column.kind in USED_KINDS)

    @property
    def positive_index(self) -> int | None:
        """Position of the positive class, None with more than two classes."""
        return None if self.positive is None else self.classes.index(self.positive)

    def with_columns(self, columns: Sequence[Column]) -> Schema:
        """The same schema with other columns."""
        return replace(self, columns=tuple(columns))

    def write(self, path: Path) -> None:
        """Write as JSON, names and categories in their own script."""
        document = {"format": FORMAT, **asdict(self)}
        if not self.labels:
            del document["labels"]
        path.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_schema(path: Path) -> Schema:
    """Read a schema that `Schema.write` wrote and a person may have edited.

    Raises:
        ValueError: If there is no such file, it is no schema, or a kind is unknown.
    """
    if not path.exists():
        raise ValueError(f"there is no schema {path}")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        for name in ("columns", "classes", "missing_tokens"):
            if not isinstance(document[name], list):
                raise TypeError(f'"{name}" has to be a list')
        if document["format"] != FORMAT:
            raise ValueError(f"{path} has schema format {document['format']}, this ludocast reads {FORMAT}")
        columns = tuple(_column(entry) for entry in document["columns"])
        names = [column.name for column in columns]
        if len(set(names)) < len(names):
            raise ValueError(f'{path} describes the column "{max(names, key=names.count)}" twice; take one out')
        return Schema(
            columns=columns,
            label=document["label"],
            classes=tuple(document["classes"]),
            positive=document["positive"],
            missing_tokens=tuple(_token(path, token) for token in document["missing_tokens"]),
            labels=tuple(LabelColumn(**entry) for entry in document.get("labels", ())),
        )
    except (OSError, KeyError, TypeError, json.JSONDecodeError, UnicodeError) as error:
        raise ValueError(
            f"{path} is not a schema as training writes it (schema.json of a run): {type(error).__name__} {error}"
        ) from error


def _token(path: Path, token: object) -> str:
    if not isinstance(token, str):
        raise ValueError(f'{path}: "missing_tokens" is a list of texts such as "-999", got {json.dumps(token)}')
    return token.strip()  # cells are compared without the blanks around them


def _column(entry: dict[str, Any]) -> Column:
    if not isinstance(entry["name"], str):
        raise TypeError(f"a column's name is text, got {entry['name']!r}")
    if entry["kind"] not in get_args(Kind):
        raise ValueError(f'column "{entry["name"]}": kind is one of {", ".join(get_args(Kind))}, got "{entry["kind"]}"')
    return Column(**{**entry, "kind": cast(Kind, entry["kind"])})
