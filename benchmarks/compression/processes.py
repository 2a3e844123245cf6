"""The ranks of a bench: processes that wait for orders, a pipe to each."""

from __future__ import annotations

import multiprocessing as mp
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

CONTEXT = mp.get_context("spawn")


@dataclass(frozen=True)
class Failure:
    """What a rank answers in place of a result: its traceback."""

    text: str


@contextmanager
def rank_processes(ranks: int, serve: Callable[..., None], *arguments: Any) -> Iterator[list[Connection]]:
    """Processes that run `serve(rank, ranks, *arguments, pipe)`; they end with the block."""
    processes, pipes = [], []
    try:
        for rank in range(ranks):
            here, there = CONTEXT.Pipe()
            process = CONTEXT.Process(target=serve, args=(rank, ranks, *arguments, there), daemon=True)
            process.start()
            there.close()
            processes.append(process)
            pipes.append(here)
        yield pipes
    finally:
        for process in processes:
            process.kill()
            process.join()


def receive(pipe: Connection, rank: int) -> Any:
    """A rank's answer.

    Raises:
        RuntimeError: If it failed or died.
    """
    try:
        answer = pipe.recv()
    except EOFError:
        raise RuntimeError(f"rank {rank} died; is there memory enough for all models?") from None
    if isinstance(answer, Failure):
        raise RuntimeError(f"rank {rank} failed:\n{answer.text}")
    return answer
