"""All tasks of a bundle by name; to add one, enter it here and say in `serve/answers.py` what its answers look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OUTPUTS = ("label", "probabilities")
VALUES = ("value", "bounds")


@dataclass(frozen=True)
class Task:
    """What a graph gives.

    Attributes:
        outputs: Names of its two outputs.
        answer: "class", a label and a probability a class; "lists" of labels and probabilities, which only bundles of
            sequences give; or "number", a value and the lower and upper bound of an interval around it.
        format: Of `bundle.json`, the first that knows the task: a release that does not know it refuses the file.
    """

    outputs: tuple[str, str]
    answer: Literal["class", "lists", "number"]
    format: int


# Of "tags" labels and probabilities are lists of one entry a step, of "next" of the likeliest few; of "items" these are
# the best few items and their scores, "" and minus infinity where no item is left.
TASKS = {
    "classification": Task(OUTPUTS, "class", 1),
    "tags": Task(("labels", "probabilities"), "lists", 2),
    "next": Task(("labels", "probabilities"), "lists", 2),
    "items": Task(("items", "scores"), "lists", 2),
    "regression": Task(VALUES, "number", 3),
}
