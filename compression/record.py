"""What the hook did: seconds of each step by kind of work, bytes, and the size of residuals over time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

KINDS = ("quantise", "exchange", "decode", "wait")
_MOST = 1024  # steps that are kept; beyond, every second one goes
_NORMS_EVERY = 50  # steps
_MOST_NORMS = 128


@dataclass
class Record:
    """Of one rank.

    Attributes:
        steps: By step, seconds of each of `KINDS` and bytes sent; "wait" is what backward waited for its last bucket.
        norms: By step, by parameter, the norms of its gradient and of its residual.
        layers: By parameter, its elements and the bits sent a value and phase.
    """

    steps: dict[int, dict[str, float]] = field(default_factory=dict)
    norms: dict[int, dict[str, tuple[float, float]]] = field(default_factory=dict)
    layers: dict[str, dict[str, float]] = field(default_factory=dict)
    _stride: int = 1

    @contextmanager
    def timed(self, step: int, kind: str) -> Iterator[None]:
        """Add the seconds that the block takes."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.add(step, kind, time.perf_counter() - begin)

    def add(self, step: int, kind: str, amount: float) -> None:
        """Add to one of a step's numbers."""
        if step % self._stride != 0:
            return
        entry = self.steps.get(step)
        if entry is None:
            if len(self.steps) >= _MOST:
                self._stride *= 2
                self.steps = {k: v for k, v in self.steps.items() if k % self._stride == 0}
                if step % self._stride != 0:
                    return
            entry = self.steps.setdefault(step, dict.fromkeys((*KINDS, "bytes"), 0.0))
        entry[kind] += amount

    def wants_norms(self, step: int) -> bool:
        """Whether the residuals of this step are to be measured."""
        return step < 5 or step % _NORMS_EVERY == 0

    def add_norms(self, step: int, name: str, gradient: Tensor, residual: Tensor) -> None:
        """Keep two norms."""
        norms = tuple(float(torch.linalg.vector_norm(x, dtype=torch.float64)) for x in (gradient, residual))
        if step not in self.norms and len(self.norms) >= _MOST_NORMS:
            self.norms = dict(list(self.norms.items())[::2])
        self.norms.setdefault(step, {})[name] = (norms[0], norms[1])

    def as_json(self) -> dict[str, Any]:
        """Numbers and texts alone."""
        return {
            "steps": [{"step": step, **entry} for step, entry in sorted(self.steps.items())],
            "norms": [
                {"step": step, "parameters": {name: list(pair) for name, pair in entry.items()}}
                for step, entry in sorted(self.norms.items())
            ],
            "layers": self.layers,
        }
