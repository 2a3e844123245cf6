"""One connection of HTTP/1.1: requests are read within limits and answered in order; httptools parses."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from http import HTTPStatus
from pathlib import Path
from typing import cast

import httptools
from ludocast.serve.http.body_stream import BodyStream
from ludocast.serve.http.connections import Connections
from ludocast.serve.http.message import RefusedError, Request, Response
from ludocast.serve.http.router import LARGEST_BODY, Route

_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_FILE_PIECE = 1 << 18  # bytes read at once of a file that is sent
_MOST_WAITING = 16  # requests of one connection that are read before the first is answered
_DRAINED_SECONDS = 1.0  # that a silent connection is still listened to once the server drains


class Connection(asyncio.Protocol):
    """Reads requests of one client and writes their answers.

    Args:
        connections: Of the server, where it enters itself.
        loop: That it runs in.
    """

    def __init__(self, connections: Connections, loop: asyncio.AbstractEventLoop) -> None:
        self._all = connections
        self._limits = connections.limits
        self._application = connections.application
        self._loop = loop
        self._transport = cast(asyncio.Transport, None)  # until connection_made
        self._peer = ""
        self._parser = httptools.HttpRequestParser(self)
        self.deadline = math.inf
        self._last = False  # no further request is read
        self._holds: set[str] = set()  # why reading is paused
        self._may_write: asyncio.Event | None = None  # there while the client reads too slowly
        # The request that is being read.
        self._reading: Request | None = None
        self._route: Route | RefusedError | None = None  # known once its headers are complete
        self._stream: BodyStream | None = None
        self._target, self._keeps = b"", False
        self._head_bytes = self._body_bytes = 0
        self._pieces: list[bytes] = []
        # Those that wait for their turn, and the one that is being answered.
        self._waiting: deque[tuple[Route | RefusedError, Request, bool]] = deque()
        self._answering: Request | None = None
        self._answering_keeps = False

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Enter."""
        self._transport = cast(asyncio.Transport, transport)
        name = transport.get_extra_info("peername")
        self._peer = str(name[0]) if isinstance(name, tuple) else ""
        self._all.open.add(self)
        self._rest()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Leave."""
        self._all.open.discard(self)
        self._last = True
        self._waiting.clear()
        if self._may_write is not None:
            self._may_write.set()
        self._break_stream(RefusedError(400, "the client went away before its request was whole"))

    def data_received(self, data: bytes) -> None:
        """Parse."""
        while data and not self._last:
            if self._reading is None:
                self._begin()
            try:
                self._parser.feed_data(data)
                if self._reading is not None and self._route is None:
                    self._count_head(len(data))  # of a header that does not end httptools tells nothing
            except httptools.HttpParserUpgrade as upgrade:
                # Answered as if none had been offered; what follows is plain HTTP.
                self._parser = httptools.HttpRequestParser(self)
                if self._reading is not None:  # the parser took its body for the other protocol's
                    self._parser.feed_data(_framing(self._reading))
                data = data[upgrade.args[0] :]
                continue
            except httptools.HttpParserCallbackError as error:
                if not isinstance(error.__context__, RefusedError):
                    raise
                self._give_up(error.__context__)
            except httptools.HttpParserError as error:
                self._give_up(RefusedError(400, f"this is no HTTP/1.1 request: {error}"))
            except RefusedError as error:
                self._give_up(error)
            return

    def eof_received(self) -> bool:
        """The client sends no more, but may still read its answers."""
        self._break_stream(RefusedError(400, "the request ended before it was whole"))
        wanted = self._answering is not None or bool(self._waiting)
        self._last = True
        if self._stream is None:
            self._reading = None  # half a request
        return wanted and self._transport.can_write_eof()

    def pause_writing(self) -> None:
        """The client reads slowly."""
        self._may_write = asyncio.Event()
        self.deadline = self._loop.time() + self._limits.write_seconds

    def resume_writing(self) -> None:
        """It has read on."""
        if self._may_write is not None:
            self._may_write.set()
            self._may_write = None
        if self._answering is None:
            self._next()

    # What httptools calls

    def on_message_begin(self) -> None:
        """A request starts, maybe in the same data as the one before."""
        if self._reading is None:
            self._begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        if self._route is not None:  # of `_framing`
            return
        self._target += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; those behind a chunked body are dropped."""
        assert self._reading is not None
        if self._route is not None:
            return
        headers = self._reading.headers
        self._count_head(len(name) + len(value) + 4)
        if len(headers) >= self._limits.headers:
            raise RefusedError(431, f"more than {self._limits.headers} headers; send fewer")
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        """Whether the request is admitted is known before its body is read."""
        request = self._reading
        assert request is not None
        if self._route is not None:  # of `_framing`
            return
        request.method = self._parser.get_method().decode("ascii")
        request.target = self._target.decode("latin-1")
        request.id = self._application.new_id(request.headers)
        request.arrived = self._loop.time()
        self.deadline = request.arrived + self._limits.body_seconds
        version, wish = self._parser.get_http_version(), request.headers.get("connection", "").lower()
        self._keeps = "keep-alive" in wish if version == "1.0" else "close" not in wish
        if version == "1.1" and "host" not in request.headers:
            raise RefusedError(400, "a request of HTTP/1.1 has a Host header")
        try:
            self._route = route = self._application.admit(request)
        except RefusedError as error:
            self._route = error
            return
        if int(request.headers.get("content-length", "0")) > route.largest_body:
            raise _too_large(route.largest_body)
        if request.headers.get("expect", "").lower() == "100-continue" and self._answering is None:
            self._transport.write(_CONTINUE)
        if route.streams:
            self._stream = BodyStream(lambda hold: self._hold("stream", hold))
            request.stream = self._stream.pieces()
            self._deliver(request)

    def on_body(self, body: bytes) -> None:
        """A piece of the body; of a request that is refused it is thrown away."""
        self._body_bytes += len(body)
        route = self._route
        largest = route.largest_body if isinstance(route, Route) else LARGEST_BODY
        if self._body_bytes > largest:
            raise _too_large(largest)
        if self._stream is not None:
            self.deadline = self._loop.time() + self._limits.body_seconds
            self._stream.add(body)
        elif isinstance(route, Route):
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        request, stream, pieces = self._reading, self._stream, self._pieces
        assert request is not None
        if self._parser.should_upgrade() and _framing(request):
            return
        self._reading = self._stream = None
        self.deadline = math.inf
        if stream is not None:
            stream.end()
            return
        request.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        request.arrived = self._loop.time()
        self._deliver(request)

    # What a server calls

    def time_over(self) -> None:
        """The deadline has passed."""
        if self._last or self._may_write is not None:
            self._transport.abort()
        elif self._reading is not None:
            self._give_up(RefusedError(408, "the request did not arrive in time; send it faster, or less of it"))
        else:
            self._transport.close()

    def drain(self) -> None:
        """Its next answer is its last; where nothing comes for a moment, there is none."""
        if self._reading is None and self._answering is None:
            self.deadline = self._loop.time() + _DRAINED_SECONDS

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # Reading

    def _begin(self) -> None:
        self._reading = Request("", "", {}, peer=self._peer)
        self._route, self._target, self._pieces = None, b"", []
        self._head_bytes = self._body_bytes = 0
        self.deadline = self._loop.time() + self._limits.head_seconds

    def _count_head(self, more: int) -> None:
        self._head_bytes += more
        if self._head_bytes > self._limits.head:
            raise RefusedError(431, f"request line and headers of more than {self._limits.head >> 10} KB; send less")

    def _give_up(self, error: RefusedError) -> None:
        """Read no more; answer so, unless the request is with its handler already."""
        request, self._last = self._reading, True
        self._keeps = False
        if self._stream is not None:
            self._answering_keeps = False
            self._break_stream(error)
            return
        if request is None:
            request = Request("", "", {}, peer=self._peer)
        if not request.id:
            request.id, request.arrived = self._application.new_id(request.headers), self._loop.time()
        self._reading = None
        self._waiting.append((error, request, False))
        if self._answering is None:
            self._next()

    def _break_stream(self, error: RefusedError) -> None:
        if self._stream is not None:
            self._stream.end(error)

    def _hold(self, why: str, hold: bool) -> None:
        """Stop reading while there is one reason or more."""
        before = bool(self._holds)
        (self._holds.add if hold else self._holds.discard)(why)
        if self._transport.is_closing() or bool(self._holds) == before:
            return
        if hold:
            self._transport.pause_reading()
            self.deadline = math.inf  # it is the server that waits
        else:
            self._transport.resume_reading()

    # Answering

    def _deliver(self, request: Request) -> None:
        assert self._route is not None
        self._waiting.append((self._route, request, self._keeps))
        if len(self._waiting) >= _MOST_WAITING:
            self._hold("requests", True)
        if self._answering is None:
            self._next()

    def _next(self) -> None:
        """Have the next request answered, if the client reads."""
        if not self._waiting or self._may_write is not None:
            return
        route, request, keeps = self._waiting.popleft()
        if self._holds:
            self._hold("requests", False)
        self._answering, self._answering_keeps = request, keeps
        if isinstance(route, Route):
            self._application.handle(route, request, self._answer)
        else:
            self._answer(self._application.refuse(route, request))

    def _answer(self, response: Response) -> None:
        request = self._answering
        if request is None or self._transport.is_closing():
            return
        if self._all.draining or request is self._reading:  # the latter: its handler wanted no more of the body
            self._answering_keeps = False
        size = len(response.body) if response.file is None else response.file.stat().st_size
        head = _head(request, response, size, self._all.date, self._answering_keeps)
        if request.method == "HEAD":
            self._transport.write(head)
        elif response.file is None:
            self._transport.write(head + response.body)
        else:
            self._transport.write(head)
            self._sending = self._loop.create_task(self._send(response.file, size))
            return
        self._answered()

    async def _send(self, path: Path, size: int) -> None:
        with path.open("rb") as file:
            while size > 0 and not self._transport.is_closing():
                piece = file.read(min(size, _FILE_PIECE))
                if not piece:  # it became shorter: the client sees that its end is not there
                    self._transport.abort()
                    return
                size -= len(piece)
                self._transport.write(piece)
                if self._may_write is not None:
                    await self._may_write.wait()
        self._answered()

    def _answered(self) -> None:
        self._answering = None
        if self._transport.is_closing():
            return
        if not self._answering_keeps:
            self._finish()
        elif self._waiting:
            # Not from here: each answer of many in one piece would call the next, ever deeper.
            self._loop.call_soon(self._next_if_free)
        elif self._reading is None:
            self._rest()

    def _next_if_free(self) -> None:
        if self._answering is None:
            self._next()

    def _rest(self) -> None:
        """Wait for the next request."""
        if self._last:  # the client has sent its last one
            self._transport.close()
        seconds = _DRAINED_SECONDS if self._all.draining else self._limits.idle_seconds
        self.deadline = self._loop.time() + seconds

    def _finish(self) -> None:
        """That was the last answer. What the client still sends is read, or it would not get to see the answer."""
        self._waiting.clear()
        self._holds.clear()
        unread = self._last or self._reading is not None
        self._last = True
        if not unread or not self._transport.can_write_eof():
            self._transport.close()
            return
        self._transport.resume_reading()
        self._transport.write_eof()
        self.deadline = self._loop.time() + self._limits.linger_seconds


def _head(request: Request, response: Response, size: int, date: bytes, keeps: bool) -> bytes:
    text = f"Content-Type: {response.content_type}\r\nContent-Length: {size}\r\nX-Request-Id: {request.id}\r\n"
    if response.headers:
        text += "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
    return (
        _STATUS[response.status] + date + text.encode("latin-1") + (b"\r\n" if keeps else b"Connection: close\r\n\r\n")
    )


def _framing(request: Request) -> bytes:
    """The head of a request with the same body and no offer of another protocol; b"" where there is no body."""
    names = [name for name in ("content-length", "transfer-encoding") if request.headers.get(name, "0") != "0"]
    lines = "".join(f"{name}: {request.headers[name]}\r\n" for name in names)
    return f"POST / HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode("latin-1") if names else b""


def _too_large(largest: int) -> RefusedError:
    return RefusedError(413, f"the body is larger than {largest >> 20} MB; send fewer records")
