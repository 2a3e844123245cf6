"""All tasks of a bundle by name; to add one, enter it here and say in `serve/answers.py` what its answers look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ludocast.serve.json_values import a_share, a_text, an_object, list_of, shown

OUTPUTS = ("label", "probabilities")
VALUES = ("value", "bounds")
LOSSES = ("squared", "absolute", "quantile", "poisson", "tweedie")  # by which numbers are predicted
MEASURES, ANOMALY = ("distances", "probabilities"), "anomaly"  # of "segments"


@dataclass(frozen=True)
class Loss:
    """By which a number was predicted.

    Attributes:
        name: One of `LOSSES`.
        quantile: Of "quantile", the share of the rows that are to lie below what is predicted; None of others.
    """

    name: str
    quantile: float | None = None


@dataclass(frozen=True)
class Task:
    """What a graph gives.

    Attributes:
        outputs: Names of its two outputs.
        answer: "class", a label and a probability a class; "lists" of labels and probabilities, which only bundles of
            sequences give; "number", a value and the lower and upper bound of an interval around it; "segment", a
            label and a distance or probability a label, then the anomaly score where there is one; or "labels", of each
            of several labels whether a row has it, and its probability.
        format: Of `bundle.json`, the first that knows the task: a release that does not know it refuses the file.
    """

    outputs: tuple[str, str]
    answer: Literal["class", "lists", "number", "segment", "labels"]
    format: int


# Of "tags" labels and probabilities are lists of one entry a step, of "next" of the likeliest few; of "items" these are
# the best few items and their scores, "" and minus infinity where no item is left.
TASKS = {
    "classification": Task(OUTPUTS, "class", 1),
    "tags": Task(("labels", "probabilities"), "lists", 2),
    "next": Task(("labels", "probabilities"), "lists", 2),
    "items": Task(("items", "scores"), "lists", 2),
    "regression": Task(VALUES, "number", 3),
    "segments": Task(("segment", "measures"), "segment", 3),
    "labels": Task(("labels", "probabilities"), "labels", 4),
}


def a_loss(value: object) -> Loss:
    """By which a number was predicted.

    Raises:
        TypeError: If it is something else.
    """
    entry = an_object(value)
    name = entry.get("name")
    if name not in LOSSES:
        raise TypeError(f"names one of {', '.join(LOSSES)}, got {shown(name)}")
    return Loss(name, a_share(entry.get("quantile")) if name == "quantile" else None)


def some_measures(value: object) -> tuple[str, ...]:
    """What is told of segments, one of `MEASURES`, then `ANOMALY` where it is.

    Raises:
        TypeError: If it is something else.
    """
    names = list_of(a_text)(value)
    if names[:1] not in {(name,) for name in MEASURES} or names[1:] not in ((), (ANOMALY,)):
        raise TypeError(f'has to be one of {", ".join(MEASURES)}, with or without "{ANOMALY}" behind it')
    return names


def measured(classes: Sequence[str], measures: Sequence[str] | None) -> int:
    """Numbers of an answer: one a class, and the anomaly score."""
    return len(classes) + (measures is not None and ANOMALY in measures)
