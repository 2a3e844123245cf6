"""A network of namespaces with real bandwidth limits: a bridge, a veth pair a rank, `tc tbf` in both directions.

The namespaces have no name: each belongs to a process and goes when the process goes, with its interfaces and its
shaping, even after `kill -9`. Nothing is left to clean up, and the machine's own network is never touched.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

INTERFACE = "eth0"  # of a rank, in its namespace
UNSHAPED = "unshaped"
PORT = 29_123
_CLONE_NEWNET = 0x40000000  # linux/sched.h
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
_UNITS = {"k": 1e3, "m": 1e6, "g": 1e9}


def why_not() -> str | None:
    """What is missing here, as a sentence; None if nothing is."""
    missing = [tool for tool in ("ip", "tc") if shutil.which(tool, path=_PATH) is None]
    if missing:
        return f"this bench needs {' and '.join(missing)} of iproute2 (Debian: apt-get install iproute2)"
    if os.geteuid() != 0:
        return "this bench makes network namespaces, which takes root"
    return None


def bits_a_second(rate: str) -> float | None:
    """Of a rate as tc writes it, such as 100mbit; None if unshaped.

    Raises:
        ValueError: If it is no such rate.
    """
    if rate == UNSHAPED:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg])bit", rate)
    if found is None:
        raise ValueError(f'a link is "{UNSHAPED}" or a rate such as 100mbit or 1gbit, got "{rate}"')
    return float(found[1]) * _UNITS[found[2]]


def burst_bytes(bits: float) -> int:
    """What tbf lets through at once: 0.1 ms' worth, so that every message is longer by far.

    80 kB or more: below that tbf cuts TCP's segments of 64 kB into frames, and the cores that compute are busy with it.
    """
    return max(81_920, min(131_072, int(bits / 8 * 1e-4)))


def enter_own() -> None:
    """Move this process into a new network namespace; before it starts any thread that uses the network.

    Raises:
        OSError: If the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"no network namespace: {os.strerror(ctypes.get_errno())}")
    _run("ip", "link", "set", "lo", "up")


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def make_bridge() -> None:
    """In this process's namespace."""
    _run("ip", "link", "add", "bridge", "type", "bridge")
    _run("ip", "link", "set", "bridge", "addrgenmode", "none", "up")


def plug_in(rank: int, process: int) -> None:
    """Join a rank's namespace, that of its process, to the bridge."""
    _run("ip", "link", "add", _port(rank), "type", "veth", "peer", "name", INTERFACE, "netns", str(process))
    _run("ip", "link", "set", _port(rank), "master", "bridge", "addrgenmode", "none", "up")


def configure(rank: int) -> None:
    """Give a rank its address, in its namespace; no IPv6, whose chatter would be counted."""
    _run("ip", "link", "set", INTERFACE, "addrgenmode", "none", "up")
    _run("ip", "addr", "add", f"{address(rank)}/24", "dev", INTERFACE)


def shape_ports(ranks: int, rate: str) -> None:
    """Shape what flows to the ranks, at the bridge."""
    for rank in range(ranks):
        _shape(_port(rank), rate)


def shape_own(rate: str) -> None:
    """Shape what flows from a rank, in its namespace."""
    _shape(INTERFACE, rate)


def address(rank: int) -> str:
    """Of a rank."""
    return f"10.77.0.{rank + 1}"


def sent_bytes() -> int:
    """Bytes that this rank's interface has sent since it exists, with all headers.

    From /proc/net/dev: the same counters as in /sys/class/net, which shows the namespace that mounted it.
    """
    for line in Path("/proc/net/dev").read_text(encoding="utf-8").splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == INTERFACE:
            return int(counters.split()[8])
    raise RuntimeError(f"this process has no {INTERFACE}")


def goodput(rank: int, both: bool, seconds: float, meet: Callable[[], None]) -> float:
    """Bits a second that one TCP connection carries from rank 0 to rank 1, and back at the same time if `both`.

    Every rank calls it; each returns what came in, 0 where nothing was meant to.

    Args:
        rank: This rank.
        both: Also a connection from rank 1 to rank 0.
        seconds: How long to send; the first quarter, in which TCP finds its speed, is not counted.
        meet: Waits for all ranks.
    """
    receives = rank == 1 or (both and rank == 0)
    sends = rank == 0 or (both and rank == 1)
    came: list[float] = []
    with socket.create_server((address(rank), PORT)) as server:
        meet()
        thread = threading.Thread(target=lambda: came.append(_receive(server, seconds / 4)))
        if receives:
            thread.start()
        if sends:
            _send(address(1 - rank), seconds)
        if receives:
            thread.join()
        meet()
    return came[0] if came else 0.0


def _send(to: str, seconds: float) -> None:
    block = bytes(1 << 18)
    with socket.create_connection((to, PORT)) as connection:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            connection.sendall(block)


def _receive(server: socket.socket, skip: float) -> float:
    connection, _ = server.accept()
    place, total, begin = bytearray(1 << 20), 0, 0.0
    start = now = time.perf_counter()
    with connection:
        while (size := connection.recv_into(place)) > 0:
            now = time.perf_counter()
            if begin == 0.0:
                begin = now if now - start > skip else 0.0
            else:
                total += size
    return 8 * total / (now - begin) if now > begin > 0 else 0.0


def _shape(interface: str, rate: str) -> None:
    bits = bits_a_second(rate)
    if bits is None:
        if "tbf" in _run("tc", "qdisc", "show", "dev", interface):
            _run("tc", "qdisc", "del", "dev", interface, "root")
        return
    _run("tc", "qdisc", "replace", "dev", interface, "root", "tbf", "rate", rate,
         "burst", str(burst_bytes(bits)), "latency", "50ms")  # fmt: skip


def _port(rank: int) -> str:
    return f"rank{rank}"


def _run(tool: str, *arguments: str) -> str:
    found = shutil.which(tool, path=_PATH)
    assert found is not None
    done = subprocess.run([found, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{tool} {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
