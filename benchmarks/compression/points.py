"""Measured points of the network bench, in a file that several runs write into: a method in a setting each."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from ludocast.compression.quantise import Message, Steps, decode, quantise
from ludocast.compression.rows import Rows
from ludocast.datamodules.whole_files import write_whole

FORMAT = 1


@dataclass(frozen=True)
class Kernel:
    """The quantiser on one thread of this machine, when nothing else of ours runs.

    Attributes:
        name: Which kernel.
        quantise_ns: Nanoseconds an element.
        decode_ns: The same.
        call_us: Microseconds of a call that has a row of 16 elements.
    """

    name: str
    quantise_ns: float
    decode_ns: float
    call_us: float


@dataclass(frozen=True)
class Point:
    """One method in one setting.

    Attributes:
        ranks: N, a process each, all on one machine, each with a link of its own.
        cores: Of that machine.
        link: As tc was told, or unshaped.
        goodput: Bits a second of one TCP connection.
        both_ways: The same while another one flows back.
        batch: Rows a rank.
        method: A key of `contestants.METHODS`.
        parameters: Of the model.
        steps: Timed.
        median: Seconds a step.
        best: The same.
        cpu: Processor seconds a step and rank.
        sent: Bytes a step that a rank's interface sent.
        payload: The same, computed.
        nice: Of the ranks.
        load: Of the machine at the end, mean of a minute.
        kernel: The quantiser's.
    """

    ranks: int
    cores: int
    link: str
    goodput: float
    both_ways: float
    batch: int
    method: str
    parameters: int
    steps: int
    median: float
    best: float
    cpu: float
    sent: float
    payload: float
    nice: int
    load: float
    kernel: Kernel

    @property
    def key(self) -> tuple[object, ...]:
        """A later point of the same key takes this one's place."""
        return self.parameters, self.ranks, self.link, self.batch, self.method


def read(path: Path) -> list[Point]:
    """The points of a file.

    Raises:
        ValueError: If it is no such file.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise ValueError(f"format {FORMAT} is read here, it has {document['format']}")
        return [_point(one) for one in document["points"]]
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no file of measured points, as network.py --json writes it: {error}") from None


def _point(one: dict[str, Any]) -> Point:
    missing = {field.name for field in fields(Point)} ^ set(one)
    if missing:
        raise ValueError(f"a point lacks, or has beyond what is known: {', '.join(sorted(missing))}")
    return Point(**{**one, "kernel": Kernel(**one["kernel"])})


def add(path: Path, points: Iterable[Point]) -> None:
    """Write points into a file, in place of those of the same key there; whole or not at all, one writer at a time."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        merged = {point.key: point for point in [*(read(path) if path.exists() else []), *points]}
        document = {"format": FORMAT, "points": [asdict(point) for point in merged.values()]}
        write_whole(path, json.dumps(document, indent=1).encode())
    finally:
        os.close(folder)


def measure_kernel(name: str, elements: int = 6 << 20) -> Kernel:
    """Best of seven over a bucket of DDP's usual 25 MiB, on one thread."""
    coded, decoded = _coding(Rows.of_parameters([(elements // 2048, 2048)], [0]), repeat=1)
    calls = _coding(Rows.of_parameters([(1, 16)], [0]), repeat=200)
    return Kernel(name, coded / elements * 1e9, decoded / elements * 1e9, sum(calls) / 2 * 1e6)


def _coding(rows: Rows, repeat: int) -> tuple[float, float]:
    """Seconds of quantise and of decode."""
    generator = torch.Generator().manual_seed(0)
    g, e = (torch.randn(rows.elements, generator=generator) * 1e-3 for _ in range(2))
    following, message, steps = torch.zeros_like(e), Message(rows), Steps(rows)
    quantise(g, e, following, rows, message, steps)  # the first time takes longer
    steps.commit()
    return (
        _seconds(lambda: quantise(g, e, following, rows, message, steps), repeat),
        _seconds(lambda: decode(message, rows, following, steps=steps, learning=True), repeat),
    )


def _seconds(function: Callable[[], object], repeat: int) -> float:
    times = []
    for _ in range(7):
        begin = time.perf_counter()
        for _ in range(repeat):
            function()
        times.append((time.perf_counter() - begin) / repeat)
    return min(times)  # other work only ever adds
