"""The processes of the network bench: a rank each, in a namespace of its own, all methods taking turns in each.

A turn is two steps of one method: one that leads in, then, after all ranks have met, the one that is timed. With
delay=1 the timed step so carries the exchange that the step before it began, as it would in a long run; what it begins
itself ends before the next method's turn. The interface's bytes are those of both steps.
"""

from __future__ import annotations

import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.compression import namespaces
from benchmarks.compression.contestants import WARMUP, Contestant, batch
from benchmarks.compression.processes import CONTEXT, Failure, rank_processes, receive

TIMEOUT = 900.0  # seconds that ranks wait for one another
# glibc gives freed gradients back to the kernel and takes them anew page by page in the next step: in a virtual machine
# that is a tenth of a step, more on some steps than on others.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}


@dataclass(frozen=True)
class Turns:
    """One method on one rank.

    Attributes:
        seconds: Of each timed step.
        cpu: Seconds of processor time of all the rank's threads, a step; the kernel's work for the network in part.
        sent: Bytes that the interface sent a step.
        payload: Bytes computed, a step.
    """

    seconds: list[float]
    cpu: list[float]
    sent: list[float]
    payload: float


class Race:
    """The ranks, as the process that started them sees them.

    Args:
        pipes: To the ranks, in order.
    """

    def __init__(self, pipes: Sequence[Connection]) -> None:
        self.pipes = list(pipes)

    def shape(self, rate: str) -> None:
        """Set the rate of all links, in both directions."""
        namespaces.shape_ports(len(self.pipes), rate)
        self.ask("shape", rate)

    def goodput(self, seconds: float = 2.0) -> tuple[float, float]:
        """Bits a second from rank 0 to rank 1: alone, and the slower direction of both at once."""
        alone = self.ask("goodput", False, seconds)
        both = self.ask("goodput", True, seconds)
        return alone[1], min(both[:2])

    def run(self, rows: int, rounds: int, untimed: int = 1) -> list[dict[str, Turns]]:
        """Rounds in which each method has a turn, after some that do not count; what each rank measured."""
        self.ask("turns", rows, untimed)
        return self.ask("turns", rows, rounds)

    def ask(self, *order: Any) -> list[Any]:
        """Give all ranks an order and wait for their answers.

        Raises:
            RuntimeError: If a rank failed or died.
        """
        for pipe in self.pipes:
            pipe.send(order)
        answers: dict[int, Any] = {}
        while len(answers) < len(self.pipes):
            missing = [rank for rank in range(len(self.pipes)) if rank not in answers]
            ready = wait([self.pipes[rank] for rank in missing])
            answers |= {rank: receive(self.pipes[rank], rank) for rank in missing if self.pipes[rank] in ready}
        return [answers[rank] for rank in range(len(self.pipes))]


@contextmanager
def race(ranks: int, methods: Sequence[str], nice: int = 0) -> Iterator[Race]:
    """Ranks that have taken the first steps of each method, on an unshaped link; below 0 `nice` puts them first."""
    os.environ.update(KEEP_MEMORY)
    barrier = CONTEXT.Barrier(ranks)
    with (
        tempfile.TemporaryDirectory() as folder,
        rank_processes(ranks, _serve, list(methods), folder, nice, barrier) as pipes,
    ):
        for rank, pipe in enumerate(pipes):
            namespaces.plug_in(rank, receive(pipe, rank))
            pipe.send(None)
        for rank, pipe in enumerate(pipes):
            receive(pipe, rank)
        yield Race(pipes)


def _serve(
    rank: int, ranks: int, methods: list[str], folder: str, nice: int, barrier: Barrier, pipe: Connection
) -> None:
    namespaces.die_with_parent()
    os.setsid()  # Ctrl-C is the parent's matter
    _go_before_others(nice)
    try:
        namespaces.enter_own()
        pipe.send(os.getpid())
        pipe.recv()
        namespaces.configure(rank)
        contestants = _start(rank, ranks, methods, folder)
        pipe.send(None)
        while True:
            order, *arguments = pipe.recv()
            pipe.send(_ORDERS[order](rank, contestants, barrier, *arguments))
    except Exception:
        barrier.abort()
        pipe.send(Failure(traceback.format_exc()))


def _go_before_others(nice: int) -> None:
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    autogroup = Path("/proc/self/autogroup")  # the kernel weighs sessions first, and only then processes within one
    if autogroup.exists():
        autogroup.write_text(str(nice), encoding="ascii")


def _start(rank: int, ranks: int, methods: list[str], folder: str) -> dict[str, Contestant]:
    os.environ["GLOO_SOCKET_IFNAME"] = namespaces.INTERFACE
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks, timeout=timedelta(seconds=TIMEOUT)
    )
    return {method: _warmed_up(method, ranks, rank) for method in methods}


def _warmed_up(method: str, ranks: int, rank: int) -> Contestant:
    contestant = Contestant(method, ranks)
    x_BD, y_B = batch(8, rank)
    for _ in range(WARMUP):
        contestant.step(x_BD, y_B)
    contestant.drain()
    dist.barrier()
    return contestant


def _turns(rank: int, contestants: dict[str, Contestant], barrier: Barrier, rows: int, rounds: int) -> dict[str, Turns]:
    x_BD, y_B = batch(rows, rank)
    found = {name: Turns([], [], [], contestant.payload()) for name, contestant in contestants.items()}
    names = list(contestants)
    for i in range(rounds):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            contestant, before, cpu = contestants[name], namespaces.sent_bytes(), time.process_time()
            contestant.step(x_BD, y_B)
            barrier.wait(TIMEOUT)
            begin = time.perf_counter()
            contestant.step(x_BD, y_B)
            found[name].seconds.append(time.perf_counter() - begin)
            contestant.drain()
            found[name].cpu.append((time.process_time() - cpu) / 2)
            barrier.wait(TIMEOUT)
            found[name].sent.append((namespaces.sent_bytes() - before) / 2)
    return found


def _goodput(rank: int, _contestants: object, barrier: Barrier, both: bool, seconds: float) -> float:
    return namespaces.goodput(rank, both, seconds, lambda: _meet(barrier))


def _meet(barrier: Barrier) -> None:
    barrier.wait(TIMEOUT)


def _shape(rank: int, contestants: dict[str, Contestant], barrier: Barrier, rate: str) -> None:
    namespaces.shape_own(rate)
    barrier.wait(TIMEOUT)
    if "auto" in contestants:  # it decides in its first steps, so they belong on the link that it is measured on
        contestants["auto"].close()
        contestants["auto"] = _warmed_up("auto", barrier.parties, rank)


_ORDERS: dict[str, Callable[..., Any]] = {"turns": _turns, "goodput": _goodput, "shape": _shape}
