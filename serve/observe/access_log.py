"""The access log: a line of JSON for each answer, written by a thread: no request waits for a disc or a pipe."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
from ludocast.serve.http.message import Request, Response
from ludocast.serve.options import Observing

_EACH_SECONDS = 0.2
_MOST_WAITING = 100_000  # lines; where nobody reads them, more are counted and dropped
_MOST_WITH_VALUES = 4_000  # the same, of lines that hold bodies
_SHOWN_BYTES = 16 << 10  # of a body, where bodies are logged
_STDERR = 2


class AccessLog:
    """Notes answers, and writes them five times a second.

    A line has neither query nor body, so nothing that a client said of a player; with `log_values` it has both bodies.
    What a client chooses is escaped (JSON) or checked before (its X-Request-Id), so that no text can begin a line.

    Args:
        path: File that lines are added to, opened anew for each write, so that it may be moved away; None is stderr.
        log_values: Whether lines hold the bodies, up to 16 KB of each.

    Raises:
        OSError: If the file cannot be written.
    """

    def __init__(self, path: Path | None = None, log_values: bool = False) -> None:
        self._path = path
        self._log_values = log_values
        self._most_waiting = _MOST_WITH_VALUES if log_values else _MOST_WAITING
        self._waiting: deque[tuple[Any, ...]] = deque()
        self._dropped = self._written = 0
        self._second, self._second_text = -1, ""
        self._write(b"")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self._thread.start()

    def __call__(self, request: Request, response: Response, seconds: float) -> None:
        """See `Observer`."""
        if len(self._waiting) >= self._most_waiting:
            self._dropped += 1
            return
        size = len(response.body) if response.file is None else response.file.stat().st_size
        values = (request.body[:_SHOWN_BYTES], response.body[:_SHOWN_BYTES]) if self._log_values else None
        self._waiting.append(
            (time.time(), request.id, request.key, request.method, request.route, response.status, response.rows,
             request.model, request.version, seconds, len(request.body), size, values)
        )  # fmt: skip

    def close(self) -> None:
        """Write what waits; a pipe of which nobody reads anything for a second is given up."""
        self._ended.set()
        before = -1
        while self._thread.is_alive() and self._written != before:
            before = self._written
            self._thread.join(1.0)

    def _run(self) -> None:
        while not self._ended.wait(_EACH_SECONDS):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        dropped, self._dropped = self._dropped, 0
        if dropped:
            waiting.append((time.time(), dropped))
        try:
            for start in range(0, len(waiting), 1000):
                self._write(b"".join(self._lines(waiting[start : start + 1000])))
                self._written += 1
        except OSError as error:  # a full disc stops the log, not the server
            print(f"the access log cannot be written: {error.strerror}", file=sys.stderr)

    def _lines(self, waiting: Iterable[tuple[Any, ...]]) -> Iterable[bytes]:
        for line in waiting:
            if len(line) == 2:
                yield orjson.dumps(
                    {"time": self._time(line[0]), "lines_dropped": line[1]}, option=orjson.OPT_APPEND_NEWLINE
                )
                continue
            at, number, key, method, route, status, rows, model, version, seconds, got, sent, values = line
            document = {
                "time": self._time(at),
                "id": number,
                "key": key,
                "method": method,
                "route": route,
                "status": status,
                "rows": rows,
                "model": model,
                "version": version,
                "ms": round(seconds * 1000, 3),
                "bytes_in": got,
                "bytes_out": sent,
            }
            if values is not None:
                document["request"], document["response"] = (value.decode("utf-8", "replace") for value in values)
            try:
                yield orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)
            except TypeError:  # half a surrogate pair, such as in a model's name
                yield json.dumps(document).encode() + b"\n"

    def _time(self, at: float) -> str:
        second = int(at)
        if second != self._second:
            self._second, self._second_text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._second_text}.{int((at - second) * 1000):03d}Z"

    def _write(self, data: bytes) -> None:
        number = _STDERR
        if self._path is not None:
            number = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        try:
            while data:
                data = data[os.write(number, data) :]
        finally:
            if self._path is not None:
                os.close(number)


def open_log(observing: Observing) -> AccessLog | None:
    """The log that is asked for; None for none."""
    where = observing.access_log
    if where == "off":
        return None
    return AccessLog(None if where == "stderr" else Path(where), observing.log_values)
