"""What the hook did: seconds of each step by kind of work, bytes, and the size of residuals over time."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ludocast.compression.hook import OneBitState

FORMAT = 1
SECONDS = ("quantise", "exchange", "decode", "wait", "whole", "trial")
BYTES = ("bytes", "plain_bytes")
_MOST = 1024  # steps that are kept; beyond, every second one goes
_NORMS_EVERY = 20  # steps, at first
_FIRST_NORMS = 5
_MOST_NORMS = 64  # beyond, every second one goes


@dataclass
class Record:
    """Of one rank; the hook's threads add to it side by side.

    Attributes:
        layers: By parameter, its elements and the bits sent a value and phase.
        device: Type of the device that holds the gradients.
        steps: By step, seconds of each of `SECONDS` and bytes of each of `BYTES`. "wait" is what backward waited for
            its last bucket, "whole" goes from the last bucket of the step before to that of this one, "trial" is what
            `auto` took to compare. "bytes" were sent as bits, "plain_bytes" is what plain averaging of the other
            buckets sends, if it goes round in a ring.
        norms: By step, by parameter, the norms of its gradient and of its residual.
        decisions: By step, what `auto` chose, in words.
        compressed: Steps of which a bucket was sent as bits, all of them.
        plain: The other steps.
    """

    layers: dict[str, dict[str, float]] = field(default_factory=dict)
    device: str = "cpu"
    steps: dict[int, dict[str, float]] = field(default_factory=dict)
    norms: dict[int, dict[str, tuple[float, float]]] = field(default_factory=dict)
    decisions: dict[int, str] = field(default_factory=dict)
    compressed: int = 0
    plain: int = 0
    _stride: int = 1
    _norms_every: int = _NORMS_EVERY
    _as_bits: int = -1  # the last step of which a bucket was
    _ended: tuple[int, float] = (-1, 0.0)
    _lock: Lock = field(default_factory=Lock)

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
        with self._lock:
            if kind == "bytes" and amount > 0:
                self._as_bits = step
            if step % self._stride != 0:
                return
            entry = self.steps.get(step)
            if entry is None:
                if len(self.steps) >= _MOST:
                    self._stride *= 2
                    self.steps = {k: v for k, v in self.steps.items() if k % self._stride == 0}
                    if step % self._stride != 0:
                        return
                entry = self.steps[step] = dict.fromkeys((*SECONDS, *BYTES), 0.0)
            entry[kind] += amount

    def end(self, step: int) -> None:
        """Note that the hook has got the last bucket of a step."""
        now = time.perf_counter()
        self.compressed += self._as_bits == step
        self.plain += self._as_bits != step
        before, then = self._ended
        self.add(step, "whole", now - then if before == step - 1 and before >= 0 else 0.0)
        self._ended = (step, now)

    def wants_norms(self, step: int) -> bool:
        """Whether the residuals of this step are to be measured: of the first steps, and of some later ones."""
        return step in self.norms or len(self.norms) < _FIRST_NORMS or step % self._norms_every == 0

    def add_norms(self, step: int, names: Sequence[str], pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Keep the norms of gradients and residuals.

        Args:
            step: Of the training.
            names: Of the parameters.
            pairs: Their gradients and residuals.
        """
        if not names:
            return
        # float64 would take 13 times as long on a CPU; one transfer for all of them from a GPU.
        norms = [torch.linalg.vector_norm(x, dtype=torch.float32) for pair in pairs for x in pair]
        values = torch.stack(norms).tolist()
        with self._lock:
            if step not in self.norms and len(self.norms) >= _MOST_NORMS:
                self._norms_every *= 2
                self.norms = {k: v for k, v in self.norms.items() if k % self._norms_every == 0}
            self.norms.setdefault(step, {}).update(zip(names, zip(values[::2], values[1::2], strict=True), strict=True))

    def decide(self, step: int, words: str, layers: dict[str, dict[str, float]]) -> None:
        """Keep what `auto` chose.

        Args:
            step: Of the training.
            words: What was chosen.
            layers: How each parameter is sent from now on.
        """
        with self._lock:
            if len(self.decisions) >= _MOST_NORMS:
                self.decisions = dict(list(self.decisions.items())[::2])
            self.decisions[step] = words
            self.layers |= layers

    def as_json(self) -> dict[str, Any]:
        """Numbers and texts alone; null where a norm was not finite."""
        with self._lock:
            return {
                "device": self.device,
                "compressed": self.compressed,
                "plain": self.plain,
                "decisions": [{"step": step, "words": words} for step, words in self.decisions.items()],
                "layers": {name: dict(layer) for name, layer in self.layers.items()},
                "steps": [
                    {"step": step, **{k: int(v) if k in BYTES else _short(v) for k, v in entry.items()}}
                    for step, entry in sorted(self.steps.items())
                ],
                "norms": [
                    {"step": step, "parameters": {name: [_short(x) for x in pair] for name, pair in entry.items()}}
                    for step, entry in sorted(self.norms.items())
                ],
            }


def _short(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def write_record(state: OneBitState, path: str | Path) -> None:
    """Write what the hook did as JSON, of which `ludocast compression-report` makes a page.

    Call it on one rank, the first: it speaks for its host. The file is there whole or not at all.

    Args:
        state: What `register_onebit_hook` returned.
        path: Of the file, compression.json in the folder of the run.
    """
    path = Path(path)
    document = {
        "format": FORMAT, "ranks": state.ranks, "ranks_per_host": state.topology.local_ranks, "step": state.step,
        "sent_bytes": state.sent_bytes, "decision": state.decision, "settings": asdict(state.settings),
        **state.record.as_json(),
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(document, allow_nan=False), encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
