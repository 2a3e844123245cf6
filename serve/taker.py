"""Fields of `bundle.json` taken one by one, each checked; an error says which is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

Value = TypeVar("Value")


class ManifestError(ValueError):
    """What is wrong with a `bundle.json`, without the name of the bundle."""


@dataclass(frozen=True)
class Taker:
    """Takes fields of one JSON object; an error says which."""

    entry: Mapping[str, Any]
    where: str

    def get(self, key: str, check: Callable[[Any], Value]) -> Value:
        """A field.

        Raises:
            ManifestError: If it is missing, or not as it has to be.
        """
        if key not in self.entry:
            raise ManifestError(f'bundle.json: "{self.where}{key}" is missing')
        try:
            return check(self.entry[key])
        except TypeError as error:
            raise ManifestError(f'bundle.json: "{self.where}{key}" {error}') from None
