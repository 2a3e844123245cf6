"""The processes that train together: how many there are, which of them this one is, and what it says of a lost one.

A command learns both from whoever started it: torchrun, or Lightning, which starts the command again for `--devices`
above 1. All of them read the same data and train the same networks; the first alone prints, writes and does the rest.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ludocast.datamodules.errors import first_line

PATIENCE = 15.0  # seconds in which the launcher ends a process whose failure another one tells
_TORCHRUN = "TORCHELASTIC_RUN_ID"
_LIGHTNING = ("LOCAL_RANK", "NODE_RANK", "MASTER_PORT")  # what its launcher sets
_LOST = re.compile(
    r"connection (was )?(closed|reset|refused)|broken pipe|timed out|1-bit exchange failed|remote process exited", re.I
)


class NotFirstError(Exception):
    """This process has done its part of a training; the first goes on alone."""


@dataclass(frozen=True)
class Ranks:
    """Processes that train together.

    Attributes:
        rank: Which of them this one is, from 0.
        devices: Processes a host.
        nodes: Hosts.
    """

    rank: int = 0
    devices: int = 1
    nodes: int = 1

    @property
    def world(self) -> int:
        """Number of processes."""
        return self.devices * self.nodes

    @property
    def is_first(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0


def started_ranks(devices: int) -> Ranks:
    """The processes as torchrun started them, else as many on this host as `devices` says.

    Raises:
        ValueError: If `devices` and torchrun contradict one another.
    """
    env = os.environ
    if _TORCHRUN not in env:
        return Ranks(_local_rank() if devices > 1 else 0, devices)
    world, local, nodes = (int(env[name]) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"))
    if world != local * nodes:
        raise ValueError(f"torchrun started {world} processes on {nodes} hosts; give all hosts one --nproc_per_node")
    if devices not in (1, local):
        raise ValueError(f"torchrun started {local} processes a host, --devices says {devices}; leave --devices out")
    return Ranks(int(env["RANK"]), local, nodes)


def _local_rank() -> int:
    return int(os.environ["LOCAL_RANK"]) if all(name in os.environ for name in _LIGHTNING) else 0


def is_follower() -> bool:
    """Whether this process was started as another than the first."""
    return (int(os.environ["RANK"]) if _TORCHRUN in os.environ else _local_rank()) > 0


def follow(command: Callable[[], int]) -> int:
    """Run a command in silence, as the first process says all.

    What only this process found wrong it says late: where all find the same, the first has said it and the launcher
    ends this one meanwhile.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            try:
                code = command()
            except SystemExit as end:  # of the option parser, or of Lightning after Ctrl-C
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        time.sleep(PATIENCE)
        raise
    if code not in (0, 130):  # of Ctrl-C the launcher tells all of them
        time.sleep(PATIENCE)
        sys.stderr.write(said.getvalue())
    return code


@contextlib.contextmanager
def telling_of_lost_processes() -> Iterator[None]:
    """Turn the failure of a collective because another process is gone into one sentence.

    Raises:
        ConnectionError: In place of the collective's own error.
    """
    try:
        yield
    except RuntimeError as error:
        if _LOST.search(str(error)) is None:
            raise
        time.sleep(PATIENCE)  # the lost one may say why
        raise ConnectionError(
            "another process of this training has ended or cannot be reached; what it said is above, and --resume "
            f"goes on from the last checkpoint ({first_line(error)})"
        ) from error
