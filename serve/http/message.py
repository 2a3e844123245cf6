"""A request and its response, as handlers see them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson

JSON = "application/json"


class RefusedError(Exception):
    """A request that gets no answer but a sentence.

    Args:
        status: Of HTTP, 4xx or 503.
        sentence: What was wanted, what came, what to do.
        headers: Beside the usual ones, such as Retry-After.

    Attributes:
        shaped: The response, where the route that refused has a shape of its own for errors.
    """

    shaped: Response | None = None

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers: Mapping[str, str] = headers if headers is not None else {}


@dataclass(slots=True)
class Request:
    """What a client sent.

    Attributes:
        method: In capitals.
        target: Path and query as sent, percent-encoded.
        headers: By name in small letters; of a name sent twice both values, joined by a comma.
        body: Whole; b"" where `stream` gives it piece by piece.
        peer: Address of the client, "" where unknown.
        id: Of the request, in the access log and in the answer's X-Request-Id.
        arrived: When it was whole (of a streamed one: its headers), seconds of the event loop's clock.
        names: What the route's pattern found in the path.
        route: Pattern of the route, for counters and the log, "" where there is none.
        model: Name of the model that is asked, once that is known, for counters and the log.
        version: Of the model.
        key: Name of the key that the request came with, "" where none is asked for.
        stream: Pieces of the body, where the route asked for them.
        scheme: "http", or "https" where it came by TLS.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""
    peer: str = ""
    id: str = ""
    arrived: float = 0.0
    names: Mapping[str, str] = field(default_factory=dict)
    route: str = ""
    model: str = ""
    version: str = ""
    key: str = ""
    stream: AsyncIterator[bytes] | None = None
    scheme: str = "http"

    @property
    def path(self) -> str:
        """Without the query, decoded."""
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> dict[str, str]:
        """Parameters behind the question mark; of one that is there twice the last value."""
        found = parse_qs(self.target.partition("?")[2], keep_blank_values=True, max_num_fields=100)
        return {name: values[-1] for name, values in found.items()}

    @property
    def content_type(self) -> str:
        """Without parameters, in small letters; "" where none was sent."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(slots=True)
class Response:
    """What the client gets.

    Attributes:
        status: Of HTTP.
        body: Whole; b"" where `file` is sent.
        content_type: Of the body.
        headers: Beside Content-Type, Content-Length, Connection and X-Request-Id.
        file: Whose content is the body.
        rows: How many rows were predicted, for counters and the log.
    """

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None
    rows: int = 0


Reply = Callable[[Response | Exception], None]
"""Is called once, at once or later, in the event loop's thread; of an exception the route makes a response."""

Handler = Callable[[Request, Reply], None]
"""Answers by `reply`, or raises before it has."""


def json_response(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A document as JSON."""
    return Response(status, orjson.dumps(document), headers=headers if headers is not None else {})


def error_response(error: RefusedError) -> Response:
    """The sentence as {"error": …}."""
    return json_response({"error": str(error)}, error.status, error.headers)
