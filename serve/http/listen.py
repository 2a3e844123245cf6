"""Listening: sockets, TLS, signals, and an end at which no request that was accepted is lost."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import gc
import signal
import socket
import ssl
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakSet

from ludocast.serve.http.connection import Connection
from ludocast.serve.http.connections import Connections

_BACKLOG = 4096
_SO_ATTACH_FILTER = 26  # of Linux; Python has no name for it
# A filter of the kernel ("classic BPF", four fields an instruction): a packet that opens a connection (SYN without
# ACK) is dropped, all others pass. Flags are byte 13 of a TCP header (RFC 9293, 3.1).
_DROP_NEW = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))
_HANDSHAKE_SECONDS = 0.2  # that handshakes under way are given to end


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ValueError: If the port is taken or not allowed, or the address is none of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise ValueError(f"--host {host}: {error.strerror}") from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ValueError(f"port {port} of {host} is taken; choose another with --port") from error
        raise ValueError(f"cannot listen on port {port} of {host}: {error.strerror}") from error
    return listener


def tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """Of a server, by files.

    Raises:
        ValueError: If they are no certificate and its key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(f"{certificate} and {key} are no certificate and its key: {reason}") from error
    return context


class Listener:
    """Serves the connections of one socket.

    Args:
        connections: That enter themselves.
        listener: Of `open_socket`.
        context: Of TLS; None speaks plainly.
    """

    def __init__(
        self, connections: Connections, listener: socket.socket, context: ssl.SSLContext | None = None
    ) -> None:
        self.connections = connections
        self._socket = listener
        self._context = context
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._coming: WeakSet[Connection] = WeakSet()

    async def start(self) -> None:
        """Accept from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, sock=self._socket, backlog=_BACKLOG, **self._tls())
        self._sweeping = loop.create_task(self._sweep())

    async def drain(self, seconds: float) -> bool:
        """Answer all that was accepted, then close; whether it was done in time.

        Accepted means that the client's handshake is done. New handshakes are dropped by the kernel, so that clients
        try again elsewhere, then the queue of those that are done is emptied, and each connection gets its answers.
        """
        assert self._server is not None
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        self.connections.drain()
        with self._socket.dup() as rest:
            if _refuse_new(self._socket):
                await asyncio.sleep(_HANDSHAKE_SECONDS)  # accepting goes on meanwhile
            self._server.close()
            await self._accept_rest(rest, loop)
        gc.collect()  # of handshakes of TLS that failed nothing is left to wait for
        while (self.connections.open or self._has_coming(until - seconds)) and loop.time() < until:
            await asyncio.sleep(0.05)
            self.connections.sweep(loop.time())
        in_time = not self.connections.open
        for connection in list(self.connections.open):
            connection.abort()
        if self._sweeping is not None:
            self._sweeping.cancel()
        return in_time

    async def _accept_rest(self, rest: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        """Empty the queue, in which those are that came while the event loop was busy: closing would reset them."""
        rest.setblocking(False)
        taken = []
        while True:
            try:
                accepted, _ = rest.accept()
            except ConnectionAbortedError:
                continue
            except OSError:  # there is none
                break
            accepted.setblocking(False)
            taken.append(loop.connect_accepted_socket(self._connection, accepted, **self._tls()))
        await asyncio.gather(*taken, return_exceptions=True)  # a handshake of TLS may fail

    def _connection(self) -> Connection:
        connection = Connection(self.connections, asyncio.get_running_loop())
        self._coming.add(connection)
        return connection

    def _has_coming(self, since: float) -> bool:
        """Whether a connection that was accepted has not entered yet, for lack of a turn or a handshake of TLS."""
        if asyncio.get_running_loop().time() > since + self.connections.limits.head_seconds:
            return False
        return any(not connection.has_come for connection in self._coming)

    def _tls(self) -> dict[str, Any]:
        if self._context is None:
            return {}
        return {"ssl": self._context, "ssl_handshake_timeout": self.connections.limits.head_seconds}

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self.connections.sweep(loop.time())
            await asyncio.sleep(1)


async def until_signal(stopped: Callable[[], None] | None = None) -> None:
    """Wait for Ctrl-C or SIGTERM."""
    event = asyncio.Event()

    def stop() -> None:
        if stopped is not None:
            stopped()
        event.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
    await event.wait()


def raise_file_limit() -> None:
    """Have as many connections as the system allows this process at most, not as many as it usually gets."""
    if sys.platform != "win32":
        import resource

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        with contextlib.suppress(ValueError, OSError):  # macOS has another limit below
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _refuse_new(listener: socket.socket) -> bool:
    """Have the kernel drop packets that open connections; False where it cannot."""
    if sys.platform != "linux":
        return False
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in _DROP_NEW))
    try:
        listener.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(_DROP_NEW), ctypes.addressof(code))
        )
    except OSError:
        return False
    return True
