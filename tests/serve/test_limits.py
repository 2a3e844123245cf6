"""What one request may hold, and what clients that are slow, half there or broken get, on real sockets."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ludocast.serve.codecs.limits import check_depth
from ludocast.serve.http.application import Application
from ludocast.serve.http.connections import Connections, Limits
from ludocast.serve.http.listen import Listener, open_socket, tls
from ludocast.serve.http.message import RefusedError, Request, Response
from ludocast.serve.http.router import Route, Router, direct

from tests.serve.http_server import read_some
from tests.serve.listening import ask, self_signed, served
from tests.serve.logistic import write_logistic

ROW = {"age": 30, "plan": "pro", "active": True, "last seen ": 1_700_086_400}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(write_logistic(tmp_path_factory.mktemp("limits") / "bundle")) as found:
        yield found


def _nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    "body", [_nested(16), b'{"a": "%s"}' % (b"[{" * 500), b'["\\"[[[[[[[[[[[[[[[[[[[[", {}]', b"[]" * 900]
)
def test_what_is_flat_passes(body: bytes) -> None:
    check_depth(body)


@pytest.mark.parametrize(
    "body", [_nested(17), _nested(1_000_000), b'["\\\\", %s]' % _nested(17), b"[" * 100_000, b'{"a":' * 20]
)
def test_what_is_deep_is_refused(body: bytes) -> None:
    with pytest.raises(RefusedError, match="more than 16 lists or objects"):
        check_depth(body)


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b'{"age": ' + _nested(900) + b"}", 400, "more than 16 lists"),
        (_nested(2_000), 400, "more than 16 lists"),
        ({**ROW, "age": _nested(5).decode()}, 422, 'column "age"'),
        ([ROW, {**ROW, **{f"c{i}": 0 for i in range(1_001)}}], 413, "row 2: 1,005 columns; send at most 1,004"),
        ({"columns": {f"c{i}": [0] for i in range(1_005)}}, 413, "1,005 columns"),
        ([ROW, ROW, {**ROW, "plan": "x" * 65_537}], 413, 'row 3, column "plan": a text of 65,537 characters'),
        ({"columns": {name: [cell, "x" * 65_537] for name, cell in ROW.items()}}, 413, 'row 2, column "age": a text'),
        ({**ROW, "x" * 1_001: 1}, 413, "row 1: a column's name has 1,001 characters"),
        ({"columns": {name: [cell] * 10_001 for name, cell in ROW.items()}}, 413, "at most 10,000"),
    ],
)
def test_too_much_is_refused_by_row_and_column(url: str, body: Any, status: int, sentence: str) -> None:
    found, answer = ask(url + "/predict", body)
    assert (found, sentence in answer["error"]) == (status, True), answer


@pytest.mark.parametrize(
    "number", ["1e308", "-1e308", "1e309", "9" * 400, "0." + "0" * 5000 + "1", "-0", "1" + "0" * 5000]
)
def test_numbers_of_any_size_have_an_answer(url: str, number: str) -> None:
    body = json.dumps({**ROW, "age": 0}).replace('"age": 0', f'"age": {number}').encode()
    status, answer = ask(url + "/predict", body)
    assert status in (200, 400), answer
    body = json.dumps({**ROW, "age": number}).encode()
    status, answer = ask(url + "/predict", body)
    assert status == 200, answer


FAST = Limits(head=2048, head_seconds=0.5, body_seconds=1.0, idle_seconds=1.5, write_seconds=0.5, linger_seconds=0.5)


@contextmanager
def _limited(limits: Limits, context: ssl.SSLContext | None = None) -> Iterator[tuple[str, int]]:
    """A server whose one route answers 4 MB."""

    def answer(request: Request) -> Response:
        return Response(200, b"x" * (4 << 20) if request.query.get("size") == "large" else b"ok")

    router = Router()
    router.add("POST", "/", Route(direct(answer)))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    listener = Listener(Connections(Application(router, clock=loop.time), limits), open_socket("127.0.0.1", 0), context)
    asyncio.run_coroutine_threadsafe(listener.start(), loop).result(20)
    try:
        yield listener._socket.getsockname()
    finally:
        asyncio.run_coroutine_threadsafe(listener.drain(5), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


def _drip(client: socket.socket, text: bytes, answers: list[bytes]) -> None:
    """A byte each 50 ms until the server has enough, then what it said."""
    for place in range(len(text)):
        try:
            client.sendall(text[place : place + 1])
        except OSError:
            break
        time.sleep(0.05)
    answers.append(read_some(client))


def test_slow_clients_are_told_and_closed_while_others_are_served() -> None:
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
    slow = {
        "head": b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 100,
        "body": b"{" * 1000,
    }
    answers: dict[str, list[bytes]] = {name: [] for name in slow}
    with _limited(FAST) as address:
        clients = {name: socket.create_connection(address, timeout=20) for name in slow}
        clients["body"].sendall(post)
        threads = [threading.Thread(target=_drip, args=(clients[name], slow[name], answers[name])) for name in slow]
        half = socket.create_connection(address, timeout=20)  # says nothing at all
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.settimeout(20)
        stuck.connect(address)
        stuck.sendall(b"POST /?size=large HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")  # and reads no answer
        for thread in threads:
            thread.start()
        for _ in range(20):
            with socket.create_connection(address, timeout=20) as good:
                good.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                assert read_some(good).endswith(b"\r\n\r\nok")
            time.sleep(0.02)
        for thread in threads:
            thread.join(30)
        assert answers["head"][0].startswith(b"HTTP/1.1 408 ")
        assert answers["body"][0].startswith(b"HTTP/1.1 408 ")
        assert b"did not arrive in time" in answers["body"][0]
        assert read_some(half) == b""
        time.sleep(1.5)
        assert len(read_some(stuck)) < 4 << 20  # closed in the middle
        for client in (*clients.values(), half, stuck):
            client.close()


def test_all_that_was_whole_is_answered_before_a_connection_ends() -> None:
    post = b"POST / HTTP/1.1\r\nHost: a\r\nX-Request-Id: %d\r\nContent-Length: 0\r\n\r\n"
    with _limited(FAST) as address:
        for end in (b"", b"POST / HT", b"nonsense\r\n\r\n", post[:-4] + b"9\r\n\r\nhalf"):
            with socket.create_connection(address, timeout=20) as client:
                client.sendall(b"".join(post % number for number in range(40)) + end)
                client.shutdown(socket.SHUT_WR)
                started = time.monotonic()
                found = read_some(client)
            assert re.findall(rb"X-Request-Id: (\d+)\r\n", found)[:40] == [b"%d" % number for number in range(40)]
            assert found.count(b"HTTP/1.1 200 OK") == 40
            assert time.monotonic() - started < 15


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
@pytest.mark.parametrize("begin", [b"", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_a_handshake_of_tls_that_does_not_end_is_closed(tmp_path: Path, begin: bytes) -> None:
    with (
        _limited(FAST, tls(*self_signed(tmp_path))) as address,
        socket.create_connection(address, timeout=20) as client,
    ):
        client.sendall(begin)
        assert b"HTTP" not in read_some(client)


def test_heads_and_bodies_beyond_limits_are_refused() -> None:
    def said(text: bytes) -> bytes:
        with socket.create_connection(address, timeout=20) as client:
            client.sendall(text)
            client.shutdown(socket.SHUT_WR)
            return read_some(client).partition(b"\r\n")[0]

    with _limited(FAST) as address:
        start = b"POST / HTTP/1.1\r\nHost: a\r\n"
        assert said(start + b"X: " + b"y" * 3000 + b"\r\n\r\n") == b"HTTP/1.1 431 Request Header Fields Too Large"
        assert said(start + b"".join(b"X%d:\r\n" % i for i in range(101)) + b"\r\n").startswith(b"HTTP/1.1 431")
        assert said(b"POST /" + b"y" * 3000 + b" HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 431")
        assert said(b"y" * 3000).startswith(b"HTTP/1.1 4")
        assert said(start + b"Content-Length: 99999999999\r\n\r\n").startswith(b"HTTP/1.1 413")
        for smuggled in (
            b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"Content-Length: -1\r\n\r\n",
            b"Content-Length: 1e3\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
            b"X\x00: y\r\n\r\n",
            b"X : y\r\n\r\n",
            b"X: a\nY: b\r\n\r\n",
        ):
            assert said(start + smuggled).startswith(b"HTTP/1.1 400"), smuggled
        assert said(start + b"Content-Length: 0\r\n\r\n") == b"HTTP/1.1 200 OK"
