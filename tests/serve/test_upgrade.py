"""Requests that offer another protocol, as Java's client does, are answered as if they had not."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from tests.serve.listening import served
from tests.serve.logistic import write_logistic

BODY = json.dumps({"age": 20, "plan": "pro", "active": True, "last seen ": 1_700_086_400}).encode()
OFFER = (
    b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n"
)
WHOLE = OFFER + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = OFFER + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n3\r\n   \r\n0\r\n\r\n" % (len(BODY), BODY)
EMPTY = OFFER.replace(b"POST /predict", b"GET /v2/health/live") + b"\r\n"
PLAIN = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    with served(write_logistic(tmp_path_factory.mktemp("upgrade") / "bundle")) as url:
        host, port = url.removeprefix("http://").split(":")
        yield host, int(port)


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_an_offer_is_not_taken_up(address: tuple[str, int], step: int) -> None:
    sent = WHOLE + CHUNKED + EMPTY + WHOLE + PLAIN
    with socket.create_connection(address, timeout=10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(sent), step):
            client.sendall(sent[start : start + step])
        found = b""
        while piece := client.recv(1 << 16):
            found += piece
    assert found.count(b"HTTP/1.1 200 OK") == 5
    assert found.count(b'"predictions":[{"label":"N"') == 3
