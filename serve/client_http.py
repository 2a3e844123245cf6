"""Requests of a client: over kept connections, within a deadline, tried again where that may help."""

from __future__ import annotations

import email.utils
import http.client
import json
import random
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_TRIED_AGAIN = frozenset({429, 502, 503, 504})
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0  # seconds; the most that is waited doubles from try to try
_KEPT = 32  # connections that are not in use


class ClientError(Exception):
    """A request without an answer; what it says is the server's sentence where there is one.

    Attributes:
        status: Of HTTP; 0 where no response came.
        request_id: Under which the server's log has it, "" where unknown.
    """

    def __init__(self, sentence: str, status: int = 0, request_id: str = "") -> None:
        super().__init__(sentence)
        self.status = status
        self.request_id = request_id


class InvalidRequestError(ClientError):
    """Rows that do not fit the model, or a model that is not there."""


class KeyRefusedError(ClientError):
    """No key, a wrong one, or one that is not good for this."""


class OverloadedError(ClientError):
    """The server had no time for it, after as many tries as were allowed."""


class ServerFailedError(ClientError):
    """The server failed."""


class UnreachableError(ClientError):
    """No server answered."""


class DeadlineError(ClientError, TimeoutError):
    """It took longer than it may."""


@dataclass(frozen=True)
class Reply:
    """A response.

    Attributes:
        body: Whole.
        headers: By name in small letters.
    """

    body: bytes
    headers: Mapping[str, str]


class Transport:
    """Speaks to one server; may be used from several threads at once.

    Args:
        url: Of the server, such as https://game.example:8080; a path in it stands before all others.
        key: That the server asks for.
        retries: Tries after the first one, of what found no server, or one that was too busy (429, 502, 503, 504).
        context: Of TLS.
    """

    def __init__(self, url: str, key: str | None, retries: int, context: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or parts.hostname is None or parts.query or parts.fragment:
            raise ValueError(f"expected the address of a server such as http://127.0.0.1:8080, got {url!r}")
        self._is_tls, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._retries = retries
        self._context = ssl.create_default_context() if context is None and self._is_tls else context
        self._kept: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._random = random.Random()

    def send(self, method: str, path: str, body: bytes | None, content_type: str, seconds: float) -> Reply:
        """Send a request until it is answered.

        Args:
            method: Of HTTP.
            path: Behind the server's address.
            body: Of the request.
            content_type: Of the body.
            seconds: That all tries may take together.

        Raises:
            ClientError: One of its kinds.
        """
        end, tries = time.monotonic() + seconds, 0
        while True:
            left = end - time.monotonic()
            if left <= 0:
                raise DeadlineError(f"no answer within {seconds:g} seconds")
            connection, is_kept = self._take()
            try:
                response, content = self._exchange(connection, method, path, body, content_type, left)
            except TimeoutError as error:
                connection.close()
                raise DeadlineError(f"no answer within {seconds:g} seconds") from error
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if is_kept:
                    continue  # the server closed it while nobody asked: a new one, at once
                failure: ClientError = UnreachableError(f"cannot reach {self._host}:{connection.port}: {error}")
                if isinstance(error, ssl.SSLCertVerificationError):
                    raise failure from error
                least = 0.0
            else:
                if response.status < 300:
                    return Reply(content, {name.lower(): value for name, value in response.getheaders()})
                failure = _error(response, content)
                if response.status not in _TRIED_AGAIN:
                    raise failure
                least = _seconds(response.headers.get("Retry-After"))
            tries += 1
            # Full jitter: clients that failed together do not come again together.
            wait = least + self._random.uniform(0, min(_LONGEST_WAIT, _FIRST_WAIT * 2.0**tries))
            if tries > self._retries or wait >= end - time.monotonic():
                raise failure
            time.sleep(wait)

    def close(self) -> None:
        """Close all connections that are not in use."""
        with self._lock:
            while self._kept:
                self._kept.pop().close()

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        content_type: str,
        left: float,
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection.timeout = left
        if connection.sock is not None:
            connection.sock.settimeout(left)
        headers = {**self._headers, "X-Deadline-Seconds": f"{max(left, 0.01):.3f}"}
        if body is not None:
            headers["Content-Type"] = content_type
        connection.request(method, self._prefix + path, body, headers)
        response = connection.getresponse()
        content = response.read()
        with self._lock:
            if not response.will_close and len(self._kept) < _KEPT:
                self._kept.append(connection)
                return response, content
        connection.close()
        return response, content

    def _take(self) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            if self._kept:
                return self._kept.pop(), True
        if self._is_tls:
            return http.client.HTTPSConnection(self._host, self._port, context=self._context), False
        return http.client.HTTPConnection(self._host, self._port), False


def _error(response: http.client.HTTPResponse, content: bytes) -> ClientError:
    try:
        sentence: Any = json.loads(content)["error"]
    except (ValueError, TypeError, KeyError):
        sentence = None
    if not isinstance(sentence, str):
        sentence = f"the server answered {response.status} {response.reason}"
    status = response.status
    kind: type[ClientError] = ServerFailedError if status >= 500 else InvalidRequestError
    if status in _TRIED_AGAIN:
        kind = OverloadedError
    elif status in (401, 403):
        kind = KeyRefusedError
    return kind(sentence, status, response.headers.get("X-Request-Id", ""))


def _seconds(retry_after: str | None) -> float:
    """Of a header Retry-After: seconds, or a date."""
    if retry_after is None:
        return 0.0
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return 0.0
