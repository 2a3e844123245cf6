"""One connection of HTTP/1.1: requests are read within limits and answered in order; httptools parses."""

from __future__ import annotations

import asyncio
import math
import sys
import traceback
from collections import deque
from functools import partial
from io import BufferedReader
from typing import cast

import httptools
from ludocast.serve.http.body_stream import BodyStream
from ludocast.serve.http.connections import Connections
from ludocast.serve.http.head import CLOSE, check_head, framing, origin_form, read_ending, too_large, write_head
from ludocast.serve.http.message import RefusedError, Request, Response
from ludocast.serve.http.router import LARGEST_BODY, Route
from ludocast.serve.http.sending import send_file

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_MOST_WAITING = 16  # requests of one connection that are read before the first is answered
_LARGE = 1 << 20  # bytes of a body behind which no further one is read before
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
        self._peer, self._scheme, self.has_come = "", "http", False
        self._parser = httptools.HttpRequestParser(self)
        self._last = False  # no further request is read
        self._is_new = True  # it has sent nothing yet
        self._has_eof = False  # it sends nothing more
        self._since = loop.time()
        self._holds: set[str] = set()  # why reading is paused
        self._may_write: asyncio.Event | None = None  # there while the client reads too slowly
        self._read_until = self._write_until = self._idle_until = self._end_until = math.inf
        # The request that is being read.
        self._reading: Request | None = None
        self._route: Route | RefusedError | None = None  # known once its headers are complete
        self._stream: BodyStream | None = None
        self._target, self._ending = b"", CLOSE
        self._expects = False  # the client sends the body only once it is told to
        self._head_bytes = self._unparsed_bytes = self._body_bytes = self._kept_bytes = 0
        self._pieces: list[bytes] = []
        # Those that wait for their turn, and the one that is being answered.
        self._waiting: deque[tuple[Route | RefusedError, Request, bytes]] = deque()
        self._answering: Request | None = None
        self._answer_ending = CLOSE
        self._sending: asyncio.Task[None] | None = None  # of a file

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Enter."""
        self._transport = cast(asyncio.Transport, transport)
        self.has_come = True
        name = transport.get_extra_info("peername")
        self._peer = str(name[0]) if isinstance(name, tuple) else ""
        self._scheme = "http" if transport.get_extra_info("sslcontext") is None else "https"
        self._all.open.add(self)
        self._rest()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Leave."""
        self._all.open.discard(self)
        self._forget_body()
        self._last = True
        self._waiting.clear()
        if self._may_write is not None:
            self._may_write.set()
        self._break_stream(RefusedError(400, "the client went away before its request was whole"))

    def data_received(self, data: bytes) -> None:
        """Parse."""
        while data and not self._last:
            has_begun = self._reading is not None and self._route is None
            try:
                self._parser.feed_data(data)
                if has_begun and self._reading is not None and self._route is None:
                    self._count_unparsed(len(data))
            except httptools.HttpParserUpgrade as upgrade:
                # Answered as if none had been offered; what follows is plain HTTP.
                self._parser = httptools.HttpRequestParser(self)
                if self._reading is not None:  # the parser took its body for the other protocol's
                    self._parser.feed_data(framing(self._reading))
                data = data[upgrade.args[0] :]
                continue
            except httptools.HttpParserCallbackError as error:
                found = error.__context__
                if not isinstance(found, RefusedError):
                    print("a request could not be admitted:", file=sys.stderr)
                    traceback.print_exception(found)
                    found = RefusedError(500, "the server failed; its log tells why")
                self._give_up(found)
            except httptools.HttpParserError as error:
                self._give_up(RefusedError(400, f"this is no HTTP/1.1 request: {error}"))
            except RefusedError as error:
                self._give_up(error)
            return

    def eof_received(self) -> bool:
        """The client sends no more, but may still read its answers."""
        self._break_stream(RefusedError(400, "the request ended before it was whole"))
        self._last = self._has_eof = True
        if self._stream is None:
            self._reading = None  # half a request
        wanted = self._answering is not None or bool(self._waiting)
        return wanted and self._transport.can_write_eof()

    def pause_writing(self) -> None:
        """The client reads slowly."""
        self._may_write = asyncio.Event()
        self._write_until = self._loop.time() + self._limits.write_seconds

    def resume_writing(self) -> None:
        """It has read on."""
        if self._may_write is not None:
            self._may_write.set()
            self._may_write = None
        self._rest()
        if self._answering is None:
            self._next()

    # What httptools calls

    def on_message_begin(self) -> None:
        """A request starts, maybe in the same data as the one before."""
        if self._reading is not None:  # of `framing`
            return
        self._is_new = False
        self._reading = Request("", "", {}, peer=self._peer, scheme=self._scheme)
        self._route, self._target, self._pieces, self._expects = None, b"", [], False
        self._head_bytes = self._unparsed_bytes = self._body_bytes = 0
        self._read_until = self._loop.time() + self._limits.head_seconds

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        if self._route is not None:  # of `framing`
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
        if self._route is not None:  # of `framing`
            return
        request.method = self._parser.get_method().decode("ascii")
        request.target = origin_form(self._target.decode("latin-1"))
        request.id = self._application.new_id(request.headers)
        request.arrived = self._loop.time()
        self._read_until = request.arrived + self._limits.body_seconds
        version = self._parser.get_http_version()
        self._ending = read_ending(version, request.headers.get("connection", "").lower())
        check_head(version, request)
        expects = version != "1.0" and request.headers.get("expect", "").lower() == "100-continue"
        try:
            self._route = route = self._application.admit(request)
        except RefusedError as error:
            if expects:  # its body does not come before it was told to
                raise
            self._route = error
            return
        if int(request.headers.get("content-length", "0")) > route.largest_body:
            raise too_large(route.largest_body)
        self._expects = expects
        if self._answering is None and not self._waiting:
            self._say_continue()
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
            raise too_large(largest)
        if self._stream is not None:
            self._read_until = self._loop.time() + self._limits.body_seconds
            self._stream.add(body)
        elif isinstance(route, Route):
            self._pieces.append(body)
            self._kept_bytes += len(body)
            self._all.body_bytes += len(body)
            if self._all.body_bytes > self._limits.all_bodies:
                raise RefusedError(503, "too much is being sent at once; try again in a moment", {"Retry-After": "1"})

    def on_message_complete(self) -> None:
        """The request is whole."""
        request, stream, pieces = self._reading, self._stream, self._pieces
        assert request is not None
        if self._parser.should_upgrade() and framing(request):
            return
        self._reading = self._stream = None
        self._expects = False
        self._forget_body()
        if stream is not None:
            stream.end()
            return
        request.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        request.arrived = self._loop.time()
        self._deliver(request)

    # What a server calls

    @property
    def deadline(self) -> float:
        """Until when what the connection waits for may come, of the event loop's clock."""
        if self._may_write is not None:
            return self._write_until
        if self._end_until < math.inf:
            return self._end_until
        if self._reading is not None and not self._holds:
            return self._read_until
        if self._answering is not None or self._waiting:
            return math.inf
        return self._idle_until

    def time_over(self) -> None:
        """The deadline has passed."""
        if self._may_write is not None or self._end_until < math.inf:
            self._transport.abort()
        elif self._reading is not None:
            self._give_up(RefusedError(408, "the request did not arrive in time; send it faster, or less of it"))
        else:
            self._transport.close()

    def drain(self) -> None:
        """Its next answer is its last; where nothing comes for a moment, there is none."""
        self._rest()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # Reading

    def _count_head(self, more: int) -> None:
        self._head_bytes += more
        self._unparsed_bytes = 0
        self._count_unparsed(0)

    def _count_unparsed(self, more: int) -> None:
        """Of a header that does not end the parser tells nothing."""
        self._unparsed_bytes += more
        if self._head_bytes + self._unparsed_bytes > self._limits.head:
            raise RefusedError(431, f"request line and headers of more than {self._limits.head >> 10} KB; send less")

    def _give_up(self, error: RefusedError) -> None:
        """Read no more; answer so, unless the request is with its handler already."""
        request, self._last = self._reading, True
        self._forget_body()
        if self._stream is not None:
            self._answer_ending = CLOSE
            self._break_stream(error)
            return
        if error.shaped is None and isinstance(self._route, Route):
            error.shaped = self._route.refuse(error)
        if request is None:
            request = Request("", "", {}, peer=self._peer)
        if not request.id:
            request.id, request.arrived = self._application.new_id(request.headers), self._loop.time()
        self._reading = None
        self._waiting.append((error, request, CLOSE))
        if self._answering is None:
            self._next()

    def _forget_body(self) -> None:
        self._all.body_bytes -= self._kept_bytes
        self._kept_bytes, self._pieces = 0, []

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
        else:
            self._read_until = self._loop.time() + self._limits.body_seconds  # it was the server that waited
            self._transport.resume_reading()

    def _say_continue(self) -> None:
        """Have the client send the body."""
        if self._expects:
            self._expects = False
            self._transport.write(_CONTINUE)

    # Answering

    def _deliver(self, request: Request) -> None:
        assert self._route is not None
        self._waiting.append((self._route, request, self._ending))
        if self._answering is None:
            self._next()
        elif len(self._waiting) >= _MOST_WAITING or len(request.body) > _LARGE:
            self._hold("requests", True)

    def _next(self) -> None:
        """Have the next request answered, if the client reads."""
        if not self._waiting or self._may_write is not None:
            return
        route, request, ending = self._waiting.popleft()
        if self._holds:
            self._hold("requests", False)
        self._answering, self._answer_ending = request, ending
        if request is self._reading:
            self._say_continue()
        answer = partial(self._answer, request)
        if isinstance(route, Route):
            self._application.handle(route, request, answer)
        else:
            answer(self._application.refuse(route, request))

    def _answer(self, request: Request, response: Response) -> None:
        if request is not self._answering or self._sending is not None or self._transport.is_closing():
            return  # a second answer, or nobody is there to read it
        if self._all.draining or request is self._reading:  # the latter: its handler wanted no more of the body
            self._answer_ending = CLOSE
        size, file = len(response.body), None
        if response.file is not None:
            file = response.file.open("rb")
            size = file.seek(0, 2)
            file.seek(0)
        head = write_head(request, response, size, self._all.date, self._answer_ending)
        if request.method == "HEAD" or response.status == 204:
            self._transport.write(head)
        elif file is None:
            self._transport.write(head + response.body)
        else:
            self._transport.write(head)
            self._sending = self._loop.create_task(self._send(file, size))
            return
        if file is not None:
            file.close()
        self._answered()

    async def _send(self, file: BufferedReader, size: int) -> None:
        await send_file(self._transport, file, size, lambda: self._may_write)
        self._sending = None
        self._answered()

    def _answered(self) -> None:
        self._answering = None
        if self._transport.is_closing():
            return
        if self._answer_ending is CLOSE:
            self._finish()
        elif self._waiting:
            # Not from here: each answer of many in one piece would call the next, ever deeper.
            self._loop.call_soon(self._next_if_free)
        elif self._reading is None:
            self._rest()
        else:
            self._say_continue()

    def _next_if_free(self) -> None:
        if self._answering is None:
            self._next()

    def _rest(self) -> None:
        """Where nothing is under way, wait for the next request."""
        if self._reading is not None or self._answering is not None or self._waiting:
            return
        if self._last:  # the client has sent its last one
            self._finish()
            return
        self._idle_until = self._loop.time() + (_DRAINED_SECONDS if self._all.draining else self._limits.idle_seconds)
        if self._all.draining and self._is_new:  # who has just connected is about to ask
            self._idle_until = max(self._idle_until, self._since + self._limits.head_seconds)

    def _finish(self) -> None:
        """That was the last answer. What the client still sends is read, or it would not get to see the answer."""
        self._waiting.clear()
        if self._holds:
            self._holds.clear()
            self._transport.resume_reading()
        self._last = True
        now = self._loop.time()
        if self._has_eof or not self._transport.can_write_eof():
            self._end_until = now + self._limits.write_seconds
            self._transport.close()
            return
        self._end_until = now + (_DRAINED_SECONDS if self._all.draining else self._limits.linger_seconds)
        self._transport.write_eof()
