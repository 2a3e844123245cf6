"""Sequences of steps: flat arrays and where each sequence begins and ends, with no Python object a sequence."""

# N sequences, T steps in the arrays, D numbers a step

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from ludocast.datamodules.ragged import flat_positions, offsets_of


@dataclass(frozen=True)
class Sequences:
    """N sequences; they may overlap, as the windows of one player's events at two times do.

    Attributes:
        steps: Name to [T] or [T, D].
        begin: First step of each sequence, int64 [N].
        end: The step after its last one, int64 [N].
        static: What holds for a sequence as a whole, such as its label: name to [N] or [N, D].
    """

    steps: dict[str, np.ndarray]
    begin: np.ndarray
    end: np.ndarray
    static: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        total = {len(values) for values in self.steps.values()}
        if len(total) != 1:
            raise ValueError(f"all arrays of steps have one length, got {sorted(total)}")
        if any(len(values) != len(self.begin) for values in (self.end, *self.static.values())):
            raise ValueError(f"begin, end and what is static have one entry a sequence ({len(self.begin)})")
        if len(self.begin) and (self.begin.min() < 0 or self.end.max() > total.pop() or (self.begin > self.end).any()):
            raise ValueError("a sequence begins or ends outside of its steps")

    def __len__(self) -> int:
        return len(self.begin)

    @property
    def lengths(self) -> np.ndarray:
        """Steps of each sequence, int64 [N]."""
        return np.asarray(self.end - self.begin)

    def rows(self, index: np.ndarray) -> Sequences:
        """Some of the sequences, in the order of `index`; the steps are shared, not copied."""
        static = {name: values[index] for name, values in self.static.items()}
        return replace(self, begin=self.begin[index], end=self.end[index], static=static)

    def compact(self) -> Sequences:
        """The same sequences end to end; steps of two sequences are copied, those of none left out."""
        positions, offsets = flat_positions(self.begin, self.end), offsets_of(self.lengths)
        steps = {name: values[positions] for name, values in self.steps.items()}
        return replace(self, steps=steps, begin=offsets[:-1], end=offsets[1:])

    def joined(self) -> Sequences:
        """One sequence of all steps, in order; what was static is left out."""
        whole = self.compact()
        total = np.array([len(next(iter(whole.steps.values())))])
        return Sequences(whole.steps, np.zeros(1, np.int64), total)

    def cut(self, longest: int) -> Sequences:
        """Sequences of more than `longest` steps in pieces of `longest` steps and a rest; static values stay with each.

        Raises:
            ValueError: If `longest` is below 1.
        """
        if longest < 1:
            raise ValueError(f"a piece has one step or more, got longest={longest}")
        pieces = np.maximum(-(-self.lengths // longest), 1)
        row = np.repeat(np.arange(len(self)), pieces)
        number = flat_positions(np.zeros(len(self), np.int64), pieces)
        begin = self.begin[row] + number * longest
        return replace(self.rows(row), begin=begin, end=np.minimum(begin + longest, self.end[row]))

    def with_next(self, step: str, name: str = "target") -> Sequences:
        """Each step is given the value of the next one as `name`; the last step, which has none, is left out."""
        values = self.steps[step]
        following = np.concatenate([values[1:], values[:1]])
        return replace(self, steps={**self.steps, name: following}, end=np.maximum(self.end - 1, self.begin))


def from_offsets(
    steps: Mapping[str, np.ndarray], offsets: np.ndarray, static: Mapping[str, np.ndarray] | None = None
) -> Sequences:
    """Sequences that lie end to end.

    Args:
        steps: Name to [T] or [T, D].
        offsets: int64 [N + 1], from 0 to T.
        static: Name to [N] or [N, D].
    """
    return Sequences(dict(steps), offsets[:-1], offsets[1:], dict(static) if static is not None else {})
