"""The features of players as a program of a few operators on columns, evaluated by NumPy: no engine where it serves.

`datamodules/etl/compile.py` makes the program from the one definition of the features, the Ibis expressions in
`datamodules/etl/features.py`. A step is a list: the operator, then numbers of earlier steps. Values are those of SQL:
any of them may be missing, and what is worked out from a missing value is missing, unless an operator says otherwise.
"""

# R rows, a day of a player each; B players, whose rows lie together

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Values:
    """Numbers or truths, and which of them are known.

    Attributes:
        numbers: int64, float64 or bool; [R] or [B], or one for all.
        known: bool of that shape; None where all are.
    """

    numbers: Array
    known: Array | None = None


@dataclass(frozen=True)
class Output:
    """A feature of the program.

    Attributes:
        name: Its column.
        step: Number of the step that gives it.
        whole: Whether it is a whole number.
    """

    name: str
    step: int
    whole: bool


def both(a: Array | None, b: Array | None) -> Array | None:
    """Where two values are known."""
    if a is None:
        return b
    return a if b is None else a & b


def _plain(function: Callable[..., Any]) -> Callable[..., Values]:
    """A function of numbers, known where all of its arguments are."""

    def step(*values: Values) -> Values:
        known = None
        for value in values:
            known = both(known, value.known)
        return Values(function(*(value.numbers for value in values)), known)

    return step


def _divide(a: Values, b: Values) -> Values:
    known = both(a.known, b.known)
    zero = np.asarray(b.numbers == 0)
    if zero.any():  # as engines have it, missing
        known = ~zero if known is None else known & ~zero
    return Values(a.numbers / np.where(zero, 1, b.numbers), known)


def _and(a: Values, b: Values) -> Values:
    if a.known is None and b.known is None:
        return Values(a.numbers & b.numbers)
    no = _known(a) & ~a.numbers | _known(b) & ~b.numbers  # one that is false settles it
    return Values(a.numbers & b.numbers & ~no, no | _known(a) & _known(b))


def _or(a: Values, b: Values) -> Values:
    if a.known is None and b.known is None:
        return Values(a.numbers | b.numbers)
    yes = _known(a) & a.numbers | _known(b) & b.numbers
    return Values(yes, yes | _known(a) & _known(b))


def _known(value: Values) -> Array:
    return np.asarray(True) if value.known is None else value.known


def _if(condition: Values, then: Values, otherwise: Values) -> Values:
    """A condition that is missing counts as not fulfilled, as a CASE of SQL has it."""
    chosen = condition.numbers if condition.known is None else condition.numbers & condition.known
    known = None
    if then.known is not None or otherwise.known is not None:
        known = np.where(chosen, _known(then), _known(otherwise))
    return Values(np.where(chosen, then.numbers, otherwise.numbers), known)


def _null_if(a: Values, b: Values) -> Values:
    """The first one, missing where it equals the second."""
    equal = np.asarray(a.numbers == b.numbers)
    if b.known is not None:
        equal = equal & b.known
    return Values(a.numbers, ~equal if a.known is None else a.known & ~equal)


def _coalesce(first: Values, *others: Values) -> Values:
    """The first of them that is known."""
    for other in others:
        if first.known is None:
            return first
        known = None if other.known is None else first.known | other.known
        first = Values(np.where(first.known, first.numbers, other.numbers), known)
    return first


def _greatest(first: Values, *others: Values) -> Values:
    """The greatest of those that are known; missing where none is."""
    for other in others:
        larger = np.maximum(first.numbers, other.numbers)
        if first.known is None and other.known is None:
            first = Values(larger)
            continue
        a, b = _known(first), _known(other)
        first = Values(np.where(a & b, larger, np.where(a, first.numbers, other.numbers)), a | b)
    return first


def _from(least: float, function: Callable[[Array], Array]) -> Callable[[Values], Values]:
    """Of numbers below `least` as of `least`: rounding alone brings a variance below 0, and none asks for ln 0."""

    def step(value: Values) -> Values:
        # What is missing may hold any number; of it no warning is wanted.
        numbers = value.numbers if value.known is None else np.where(value.known, value.numbers, 1.0)
        return Values(function(np.maximum(numbers, least)), value.known)

    return step


EACH: dict[str, Callable[..., Values]] = {
    "to_float": _plain(lambda a: a.astype(np.float64)),
    "to_int": _plain(lambda a: a.astype(np.int64)),
    "add": _plain(np.add),
    "subtract": _plain(np.subtract),
    "multiply": _plain(np.multiply),
    "divide": _divide,
    "greater": _plain(np.greater),
    "greater_equal": _plain(np.greater_equal),
    "less": _plain(np.less),
    "less_equal": _plain(np.less_equal),
    "equal": _plain(np.equal),
    "not_equal": _plain(np.not_equal),
    "and": _and,
    "or": _or,
    "not": _plain(np.logical_not),
    "if": _if,
    "null_if": _null_if,
    "coalesce": _coalesce,
    "is_null": lambda a: Values(~_known(a)),
    "not_null": lambda a: Values(_known(a)),
    "greatest": _greatest,
    "ln": _from(5e-324, np.log),
    "sqrt": _from(0.0, np.sqrt),
}
_SMALLEST, _LARGEST = np.iinfo(np.int64).min, np.iinfo(np.int64).max
REDUCTIONS: dict[str, tuple[Any, int]] = {
    "sum": (np.add, 0), "max": (np.maximum, _SMALLEST), "min": (np.minimum, _LARGEST),
}  # fmt: skip


# Arguments of each operator, two unless it stands here; None is one or more.
ARGUMENTS: dict[str, int | None] = {
    "to_float": 1, "to_int": 1, "not": 1, "is_null": 1, "not_null": 1, "ln": 1, "sqrt": 1, "if": 3, "coalesce": None,
    "greatest": None,
}  # fmt: skip


def _fits(name: str, count: int) -> bool:
    """Whether there is such an operator, with so many arguments."""
    if name in REDUCTIONS:
        return count in (1, 2)
    wanted = ARGUMENTS.get(name, 2)
    return name in EACH and (count >= 1 if wanted is None else count == wanted)


def _reduced(name: str, starts: Array, rows: int, value: Values, where: Values | None) -> Values:
    """Of the rows of each player that are known and fulfil `where`, whole numbers; missing where there is none.

    Fractions have no place here: `compile.py` refuses them, for their sum depends on the order of rows.
    """
    function, neutral = REDUCTIONS[name]
    numbers = np.broadcast_to(value.numbers, (rows,)).astype(np.int64, copy=False)
    counted = value.known
    if where is not None:
        counted = both(counted, both(where.numbers, where.known))
    if counted is None:
        return Values(function.reduceat(numbers, starts))
    counted = np.broadcast_to(counted, (rows,))
    found = function.reduceat(np.where(counted, numbers, neutral), starts)
    return Values(found, np.logical_or.reduceat(counted, starts))


class FeatureProgram:
    """A program that was read and found right.

    Args:
        columns: Names of what a row holds.
        steps: Operator and arguments; `column` has a name, `number` a value, all others numbers of earlier steps.
        outputs: The features.

    Raises:
        ValueError: If a step is none that is known.
    """

    def __init__(self, columns: Sequence[str], steps: Sequence[Sequence[Any]], outputs: Sequence[Output]) -> None:
        for number, (name, *arguments) in enumerate(steps):
            if name == "column":
                fits = len(arguments) == 1 and arguments[0] in columns
            elif name == "number":
                fits = len(arguments) == 1 and type(arguments[0]) in (int, float, bool)
            else:
                fits = _fits(name, len(arguments)) and all(type(a) is int and 0 <= a < number for a in arguments)
            if not fits:
                raise ValueError(f"step {number} ({name}) of the features is not known here; install a newer ludocast")
        if any(not 0 <= output.step < len(steps) for output in outputs):
            raise ValueError("a feature names a step that there is not")
        self.columns, self.outputs = tuple(columns), tuple(outputs)
        self._steps = [tuple(step) for step in steps]

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "columns": list(self.columns), "steps": [list(step) for step in self._steps],
            "features": [[output.name, output.step, output.whole] for output in self.outputs],
        }  # fmt: skip

    def run(self, columns: Mapping[str, Values], starts: Array, rows: int) -> dict[str, Array]:
        """Features of B players.

        Args:
            columns: Name to the values of all rows [R].
            starts: Where the rows of each player begin, int64 [B]; every one of them has a row.
            rows: R.

        Returns:
            Feature to float64 [B], NaN where it is missing.
        """
        values: list[Values] = []
        for name, *arguments in self._steps:
            if name == "column":
                values.append(columns[arguments[0]])
            elif name == "number":
                values.append(Values(np.asarray(arguments[0])))
            elif name in EACH:
                values.append(EACH[name](*(values[number] for number in arguments)))
            else:
                where = values[arguments[1]] if len(arguments) > 1 else None
                values.append(_reduced(name, starts, rows, values[arguments[0]], where))
        return {output.name: _told(values[output.step], len(starts)) for output in self.outputs}


def read_program(document: Mapping[str, Any]) -> FeatureProgram:
    """The program that `FeatureProgram.document` wrote.

    Raises:
        ValueError: If it is none.
    """
    try:
        outputs = [Output(str(name), int(step), bool(whole)) for name, step, whole in document["features"]]
        columns = [str(name) for name in document["columns"]]
        steps = [list(step) for step in document["steps"]]
        if any(not step or type(step[0]) is not str for step in steps):
            raise TypeError
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("it holds no program of features") from error
    return FeatureProgram(columns, steps, outputs)


def _told(value: Values, players: int) -> Array:
    """Values of a feature as float64 [B], NaN where it is missing."""
    numbers = np.broadcast_to(value.numbers, (players,)).astype(np.float64)
    return numbers if value.known is None else np.where(value.known, numbers, np.nan)
