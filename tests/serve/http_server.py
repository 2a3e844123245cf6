"""A server of a few routes that behave in all ways that handlers can, for tests of HTTP itself."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext

import uvloop
from ludocast.serve.http.application import Application
from ludocast.serve.http.connections import Connections, Limits
from ludocast.serve.http.listen import Listener, open_socket
from ludocast.serve.http.message import RefusedError, Request, Response
from ludocast.serve.http.router import Route, Router, awaited, direct

USUAL = Limits(head=4096, head_seconds=5, body_seconds=5, idle_seconds=5, write_seconds=5, linger_seconds=1)


@dataclass
class Running:
    """A server that listens.

    Attributes:
        address: Where.
        listener: To be drained.
        loop: That it runs in.
        seen: "METHOD target" of all requests whose handlers were called, with the bytes of the body.
    """

    address: tuple[str, int]
    listener: Listener
    loop: asyncio.AbstractEventLoop
    seen: list[tuple[str, bytes]]

    def drain(self, seconds: float = 10) -> bool:
        """From another thread."""
        return asyncio.run_coroutine_threadsafe(self.listener.drain(seconds), self.loop).result(30)

    def connect(self) -> socket.socket:
        """A client's socket."""
        client = socket.create_connection(self.address, timeout=20)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def say(self, *pieces: bytes) -> bytes:
        """What comes back, to the end, once the client has sent all and reads on."""
        with self.connect() as client:
            for piece in pieces:
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)
            return read_all(client)


@contextmanager
def running(
    folder: Path, limits: Limits = USUAL, context: SSLContext | None = None, drains: bool = True
) -> Iterator[Running]:
    """A server in a thread, in the event loop that servers have."""
    seen: list[tuple[str, bytes]] = []
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    connections = Connections(Application(_router(folder, seen), clock=loop.time), limits)
    listening = open_socket("127.0.0.1", 0)
    listener = Listener(connections, listening, context)
    address = listening.getsockname()
    asyncio.run_coroutine_threadsafe(listener.start(), loop).result(20)
    server = Running(address, listener, loop, seen)
    try:
        yield server
    finally:
        if drains:
            server.drain()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


def read_all(client: socket.socket) -> bytes:
    """All that comes until the server closes."""
    found = b""
    while piece := client.recv(1 << 16):
        found += piece
    return found


def read_some(client: socket.socket) -> bytes:
    """All that comes until the server closes, or resets."""
    found = b""
    try:
        while piece := client.recv(1 << 16):
            found += piece
    except ConnectionResetError:
        pass
    return found


def read_until(client: socket.socket, end: bytes) -> bytes:
    """All that comes until it ends so."""
    found = b""
    while not found.endswith(end):
        piece = client.recv(1 << 16)
        assert piece, found
        found += piece
    return found


def get(target: str, *lines: str, version: str = "1.1", method: str = "GET") -> bytes:
    """A request without a body."""
    return "\r\n".join((f"{method} {target} HTTP/{version}", "Host: a", *lines, "", "")).encode()


def post(target: str, body: bytes, *lines: str) -> bytes:
    """A request with one."""
    return get(target, f"Content-Length: {len(body)}", *lines, method="POST") + body


def bodies(text: bytes) -> list[bytes]:
    """Of all answers in a text, by their Content-Length."""
    found = []
    while text:
        head, _, text = text.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 100 "):
            continue
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        assert len(text) >= size
        found.append(text[:size])
        text = text[size:]
    return found


def _router(folder: Path, seen: list[tuple[str, bytes]]) -> Router:
    def echo(request: Request) -> Response:
        seen.append((f"{request.method} {request.target}", request.body))
        return Response(200, request.body if request.method == "POST" else request.target.encode())

    def fail(request: Request) -> Response:
        raise RuntimeError("the handler is broken")

    async def slow(request: Request) -> Response:
        await asyncio.sleep(float(request.query["seconds"]))
        return echo(request)

    async def count(request: Request) -> Response:
        assert request.stream is not None
        size = 0
        if "early" in request.query:
            raise RefusedError(403, "not this one")
        async for piece in request.stream:
            size += len(piece)
            await asyncio.sleep(0)
        return Response(200, str(size).encode())

    async def stall(request: Request) -> Response:
        assert request.stream is not None
        await asyncio.sleep(0.5)  # while the client is held
        return Response(200, str(sum([len(piece) async for piece in request.stream])).encode())

    def send(request: Request) -> Response:
        return Response(200, file=folder / request.names["name"], content_type="text/plain")

    def empty(request: Request) -> Response:
        return Response(204)

    def odd(request: Request) -> Response:
        return Response(200, b"ok", headers={"X-Odd": "a\r\nSet-Cookie: b\n요금"})

    router = Router()
    for method in ("GET", "POST"):
        router.add(method, "/echo", Route(direct(echo)))
        router.add(method, "/slow", Route(awaited(slow)))
    router.add("POST", "/small", Route(direct(echo), largest_body=1000))
    router.add("GET", "/fail", Route(direct(fail)))
    router.add("GET", "/file/{name}", Route(direct(send)))
    router.add("POST", "/count", Route(awaited(count), streams=True, largest_body=64 << 20))
    router.add("POST", "/stall", Route(awaited(stall), streams=True, largest_body=64 << 20))
    router.add("DELETE", "/echo", Route(direct(empty)))
    router.add("GET", "/odd", Route(direct(odd)))
    return router
