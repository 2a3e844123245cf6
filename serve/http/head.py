"""Heads of requests and answers: what is refused of the former, what the latter say."""

from __future__ import annotations

import re
from http import HTTPStatus

from ludocast.serve.http.message import RefusedError, Request, Response

# How the head of an answer ends: the connection stays, it stays although HTTP/1.0 would close it, it closes.
KEEP, KEEP_OLD, CLOSE = b"\r\n", b"Connection: keep-alive\r\n\r\n", b"Connection: close\r\n\r\n"
_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_LINE_ENDS = re.compile(r"[\r\n]+")


def write_head(request: Request, response: Response, size: int, date: bytes, ending: bytes) -> bytes:
    """Of an answer.

    Args:
        request: That it is to.
        response: That is sent.
        size: Bytes of its body.
        date: The line of this second.
        ending: CLOSE, KEEP or KEEP_OLD.
    """
    text = f"X-Request-Id: {request.id}\r\n"
    if response.status != 204:
        text += f"Content-Type: {response.content_type}\r\nContent-Length: {size}\r\n"
    if response.headers:
        text += "".join(f"{name}: {_LINE_ENDS.sub(' ', value)}\r\n" for name, value in response.headers.items())
    return _STATUS[response.status] + date + text.encode("latin-1", "replace") + ending


def read_ending(version: str, wish: str) -> bytes:
    """How the answer to a request ends."""
    if version == "1.0":
        return KEEP_OLD if "keep-alive" in wish else CLOSE
    return CLOSE if "close" in wish else KEEP


def check_head(version: str, request: Request) -> None:
    """Refuse what could be read in two ways.

    Raises:
        RefusedError: 400, 501, 505.
    """
    host = request.headers.get("host")
    if version not in ("1.0", "1.1"):
        raise RefusedError(505, f"this server speaks HTTP/1.1, not {version}")
    if (host is None and version == "1.1") or (host is not None and "," in host):
        raise RefusedError(400, "a request of HTTP/1.1 has one Host header")
    coding = request.headers.get("transfer-encoding", "chunked")
    if coding.lower() != "chunked":
        raise RefusedError(501, f"Transfer-Encoding: expected chunked, got {coding[:40]}")


def origin_form(target: str) -> str:
    """A target without scheme and host, which proxies send (RFC 9112, 3.2.2)."""
    if target.startswith("/") or "://" not in target:
        return target
    path = target.partition("://")[2].partition("/")[2]
    return "/" + path


def framing(request: Request) -> bytes:
    """The head of a request with the same body and no offer of another protocol; b"" where there is no body."""
    names = [name for name in ("content-length", "transfer-encoding") if request.headers.get(name, "0") != "0"]
    lines = "".join(f"{name}: {request.headers[name]}\r\n" for name in names)
    return f"POST / HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode("latin-1") if names else b""


def too_large(largest: int) -> RefusedError:
    """A body of more bytes than a route takes."""
    size = f"{largest >> 20} MB" if largest >= 1 << 20 else f"{largest >> 10} KB"
    return RefusedError(413, f"the body is larger than {size}; send fewer records")
