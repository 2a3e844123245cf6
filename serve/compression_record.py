"""A training's compression.json, and the numbers that a person wants of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

FORMAT = 1
FILE = "compression.json"
STAGES = ("quantise", "exchange", "decode")
NEW_BUCKETS = 2  # steps at the beginning, in which DDP divides the parameters and allocates
FP32 = 32


@dataclass(frozen=True)
class Layer:
    """One parameter.

    Attributes:
        name: In the model.
        elements: Its values.
        to_owners: Bits a value that a rank sends to those who average.
        to_all: Bits a value that these send to all.
        residual: Step, and the residual's norm over the gradient's, where both are known.
    """

    name: str
    elements: int
    to_owners: float
    to_all: float
    residual: tuple[tuple[int, float], ...] = ()

    @property
    def bits(self) -> float:
        """Bits a value on the mean of both ways."""
        return (self.to_owners + self.to_all) / 2


@dataclass(frozen=True)
class Step:
    """Seconds and bytes of one step, as in the file."""

    step: int
    seconds: dict[str, float]
    bytes: int
    plain_bytes: int

    @property
    def as_bits(self) -> bool:
        """Whether a bucket was sent as bits."""
        return self.bytes > 0


@dataclass(frozen=True)
class CompressionRun:
    """What the file says."""

    ranks: int
    ranks_per_host: int
    settings: dict[str, Any]
    device: str
    total_steps: int
    compressed: int
    plain: int
    decisions: tuple[tuple[int, str], ...]
    layers: tuple[Layer, ...]
    steps: tuple[Step, ...]

    @property
    def speakers(self) -> int:
        """Ranks that exchange over the network, one a host where ranks share hosts."""
        return self.ranks // self.ranks_per_host

    @property
    def elements(self) -> int:
        """Values of all layers."""
        return sum(layer.elements for layer in self.layers)

    @property
    def fp32_bytes(self) -> float:
        """Bytes a step that a rank sends when fp32 gradients go round in a ring."""
        return 2 * (self.speakers - 1) / self.speakers * 4 * self.elements

    @property
    def step_bytes(self) -> float:
        """Bytes that the first rank sent in a compressed step."""
        return median(step.bytes + step.plain_bytes for step in self.measured)

    @property
    def times_fewer(self) -> float:
        """fp32's bytes over those sent."""
        return self.fp32_bytes / self.step_bytes

    @property
    def measured(self) -> list[Step]:
        """The compressed steps without `auto`'s trials; without the first, which allocates, if more are left."""
        found = [step for step in self.steps if step.as_bits]
        found = [step for step in found if step.seconds["trial"] == 0] or found
        return found[1:] if len(found) > 1 else found

    @property
    def averaged_plainly(self) -> list[Step]:
        """The steps in which nothing was sent as bits, without those in which DDP begins and `auto` compares."""
        return [
            step for step in self.steps
            if not step.as_bits and step.seconds["trial"] == 0 and step.step >= NEW_BUCKETS
        ]  # fmt: skip


def milliseconds(steps: Sequence[Step], kind: str) -> float | None:
    """Median of the steps that have it; None if none has."""
    known = [1000 * step.seconds[kind] for step in steps if kind != "whole" or step.seconds[kind] > 0]
    return median(known) if known else None


def read_run(run: Path) -> CompressionRun:
    """Read a run's record.

    Args:
        run: Its folder, or the file itself.

    Raises:
        ValueError: If there is none, or it cannot be used; in one sentence with the remedy.
    """
    path = run if run.is_file() else run / FILE
    if not path.is_file():
        raise ValueError(_missing(run))
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); train anew, or call write_record again") from error
    found = document.get("format") if isinstance(document, dict) else None
    if found is not None and found != FORMAT:
        raise ValueError(
            f"{path} has format {found!r}, this ludocast reads {FORMAT}; make the page with the ludocast that trained"
        )
    try:
        return _run(document)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError(
            f"{path} is not what write_record writes ({type(error).__name__}: {error}); train anew, or call it again"
        ) from error


def _missing(run: Path) -> str:
    if not run.exists():
        begun = run.with_name(run.name + ".partial")
        if (begun / FILE).is_file():
            return f"there is no {run} yet, its training has not ended; ask for {begun}"
        return f"there is no folder {run}; give that of a run, such as run"
    return (
        f"{run} holds no {FILE}: train on several processes with --compression onebit, or call "
        f'write_record(state, "{run / FILE}") at the end of your own loop'
    )


def _run(document: dict[str, Any]) -> CompressionRun:
    ratios: dict[str, list[tuple[int, float]]] = {}
    for entry in document["norms"]:
        for name, (gradient, residual) in entry["parameters"].items():
            if gradient is not None and residual is not None and gradient > 0:
                ratios.setdefault(name, []).append((int(entry["step"]), residual / gradient))
    layers = [
        Layer(
            name, int(layer["elements"]), float(layer["to_owners"]), float(layer["to_all"]),
            tuple(ratios.get(name, ())),
        )
        for name, layer in document["layers"].items()
    ]  # fmt: skip
    if not layers:
        raise ValueError("no layers")
    if not document["compressed"]:  # prepared, and never sent
        layers = [Layer(layer.name, layer.elements, FP32, FP32) for layer in layers]
    kinds = (*STAGES, "wait", "whole", "trial")
    steps = [
        Step(
            int(step["step"]), {kind: float(step[kind]) for kind in kinds}, int(step["bytes"]),
            int(step["plain_bytes"]),
        )
        for step in document["steps"]
    ]  # fmt: skip
    run = CompressionRun(
        ranks=int(document["ranks"]),
        ranks_per_host=int(document["ranks_per_host"]),
        settings=dict(document["settings"]),
        device=str(document["device"]),
        total_steps=int(document["step"]),
        compressed=int(document["compressed"]),
        plain=int(document["plain"]),
        decisions=tuple((int(entry["step"]), str(entry["words"])) for entry in document["decisions"]),
        layers=tuple(layers),
        steps=tuple(steps),
    )
    if not 1 <= run.ranks_per_host <= run.ranks:
        raise ValueError(f"{run.ranks_per_host} ranks a host of {run.ranks}")
    if run.compressed and not run.measured:
        raise ValueError("compressed steps without their numbers")
    return run
