"""What `bundle.json` tells of several labels that are predicted at once, beside their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ludocast.serve.json_values import a_number, a_text, an_object, list_of

if TYPE_CHECKING:
    from ludocast.serve.manifest import Manifest


@dataclass(frozen=True)
class LabelValues:
    """Of one label.

    Attributes:
        no: What its column held in training where a row does not have it.
        yes: What where it has it.
        threshold: From which probability on it is answered.
    """

    no: str
    yes: str
    threshold: float


def some_label_values(value: object) -> tuple[LabelValues, ...]:
    """Of each label.

    Raises:
        TypeError: If it is something else.
    """
    return tuple(_label_values(entry) for entry in list_of(an_object)(value))


def _label_values(entry: dict[str, object]) -> LabelValues:
    if entry.keys() != {"no", "yes", "threshold"} or entry["no"] == entry["yes"]:
        raise TypeError('has to hold objects of "no", "yes", which differ, and "threshold"')
    return LabelValues(a_text(entry["no"]), a_text(entry["yes"]), a_number(entry["threshold"]))


def labels_had(manifest: Manifest, labels: np.ndarray[Any, Any]) -> list[tuple[str, ...]]:
    """Names of the labels that each row has.

    Args:
        manifest: With their names.
        labels: bool [N, L].
    """
    names: Sequence[str] = manifest.classes
    return [tuple(name for name, is_had in zip(names, row, strict=True) if is_had) for row in labels.tolist()]
