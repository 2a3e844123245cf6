"""Requests that know a bundle's schema and break it, and a client that checks what each gets; for tests and benchmarks.

The client is raw sockets with pipelining: it knows nothing of the server's own parser.
"""

from __future__ import annotations

import json
import random
import re
import socket
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from ludocast.serve.manifest import Input, Manifest

PIPELINED = 16
_SECONDS = 30.0  # after which an answer that did not come is a hang
_TEXTS = (
    "", " ", "x", "NaN", "null", "-1", "1e999", "0x10", "1_000", "²", "１２", "true", "TRUE", "2026-01-31", "2026-13-45",
    "9999-12-31T23:59:59Z", "0000-01-01", "\x00", "\n\r", "a\x1b[31m", "\u202eabc", "é" * 50, "e\u0301", "\U0001f480" * 9,
    "\ufeff", "ￂ", "İ", "'; DROP TABLE players; --", "{{7*7}}", "../../etc/passwd", "%s%n", "x" * 5000,
)  # fmt: skip
_SURROGATES = ("\ud800", "\udfff\ud800")  # no Unicode text; orjson reads none
_NUMBERS = (
    0, -0.0, 1, -1, 0.1, 1e-320, 1e38, 3.4028235e38, 3.5e38, 1e308, -1e308, 2**31, 2**53 + 1, 2**63, 2**64, 10**30, -(10**18),
)  # fmt: skip
_ODD: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"a": 1}, [1, "a", None], [[[[[[1]]]]]])
_WRONG = {
    "number": ("abc", "1_000", "--1", [1], {"a": 1}, "12 apples"),
    "timestamp": ("yesterday", True, "2026-13-45", [1], {"a": 1}),
    "category": ([1], {"a": 1}, ["x", "y"]),
    "boolean": ("maybe", 7, 0.5, "yes please", [True]),
}
_BODIES = (
    b"", b" ", b"null", b"[]", b"{}", b"[[]]", b"0", b'"', b"{", b"[{}", b"[1,2", b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"NaN", b"[NaN]",
    b"{]", b'{"a":1,}', b'{"a":1}{"a":2}', b"[" * 2000, b'{"a":' * 700, b"[" * 15 + b"]" * 15, b'{"columns": {}}', b'{"columns": []}',
    b'{"columns": {"a": 1}}', b'{"columns": {"a": [1], "b": []}}', b'{"events": []}', b'{"events": [{}]}', b'{"events": 1}',
    b'[{"events": [{"time": 1}]}, {}]', b'{"events": [{"time": "x"}]}', b'{"events": [{"time": 1e400}]}', b"\x00" * 64, b"ARROW1\x00\x00",
    b'{"inputs": []}', b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}', b'{"Inputs": {}}',
    b'{"Inputs": {"input1": {"ColumnNames": ["a"], "Values": [["1"], []]}}, "GlobalParameters": {}}',
)  # fmt: skip
_TYPES = (
    "application/json", "text/plain", "", "application/x-ndjson", "application/jsonl", "application/vnd.apache.arrow.stream",
    "application/vnd.apache.arrow.file", "multipart/form-data", "application/json; charset=utf-16", "é", "a/b;" * 50,
)  # fmt: skip
_HEADERS = (
    "X-Deadline-Seconds: 0", "X-Deadline-Seconds: -1", "X-Deadline-Seconds: nan", "X-Deadline-Seconds: abc", "X-Deadline-Seconds: 1e400",
    "X-Deadline-Seconds: 20", "Authorization: Bearer x", "Authorization: \x7f", "Accept-Encoding: gzip", "Content-Encoding: gzip",
    "Origin: http://127.0.0.1", "Sec-Fetch-Site: none", "X-Forwarded-For: 1.2.3.4", "Inference-Header-Content-Length: 5",
    "Inference-Header-Content-Length: x", "Upgrade: h2c", "Expect: 200-ok", "Cookie: " + "a=b; " * 200, "Connection: keep-alive",
    "Range: bytes=0-1", "Te: trailers", "X-Empty:",
)  # fmt: skip
# What ends a connection: no HTTP, or HTTP that could be read in two ways.
_BROKEN = (
    b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", b"\r\n\r\n\r\nnonsense\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", b"POST /predict HTTP/1.1\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 6000 + b"\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX\x00: b\r\n\r\n",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sent:
    """A request, and what is known of its answer.

    Attributes:
        data: As it is sent.
        kind: For the summary.
        id: That the answer has to bear; "" where it cannot.
        status: Wanted; None for any below 500.
        words: That its sentence has to have.
        rows: Of a request that fits: how many predictions are due.
        ends: Whether the server may close the connection after it.
    """

    data: bytes
    kind: str
    id: str = ""
    status: int | None = None
    words: tuple[str, ...] = ()
    rows: int = 0
    ends: bool = False


class Fuzz:
    """Makes requests for one model.

    Args:
        manifest: Of its bundle; its check rows are what fits.
        seed: Of all draws.
    """

    def __init__(self, manifest: Manifest, seed: int) -> None:
        self._draw = random.Random(seed)
        self._manifest = manifest
        self._rows = [dict(row) for row in manifest.check_rows.rows]
        optional = {item.column for item in manifest.attributes}
        self._inputs = [item for item in manifest.inputs if item.column not in optional]
        self._number = 0
        name = quote(manifest.name, safe="")
        self._targets = (
            "/predict", f"/models/{name}/predict", f"/v2/models/{name}/infer", f"/workspaces/w/services/{name}/execute?api-version=2.0",
        )  # fmt: skip
        self._others = (
            "/", "/openapi.json", "/metrics", "/v2", "/v2/health/ready", f"/v2/models/{name}", f"/v2/models/{name}/ready", "/models",
            f"/models/{name}", "/nothing", "/predict/", "//predict", "/%2e%2e/%2e%2e/etc/passwd", "/../../etc/passwd", "/models/%00/predict",
            "/models/%FF/predict", "/predict?a=%ZZ&" + "b" * 500, "/predict#x", "*", "/models//predict", "/" + "a/" * 200,
        )  # fmt: skip

    def __iter__(self) -> Iterator[Sent]:
        """Without an end."""
        kinds = (
            self._fitting,
            self._one_wrong,
            self._absent,
            self._mixed,
            self._mixed,
            self._bytes,
            self._body,
            self._route,
            self._headers,
            self._other_protocol,
        )
        while True:
            yield (
                self._pick(kinds)() if self._draw.random() > 0.002 else Sent(self._pick(_BROKEN), "broken", ends=True)
            )

    # Kinds

    def _fitting(self) -> Sent:
        rows = [dict(self._pick(self._rows)) for _ in range(self._size())]
        if self._draw.random() < 0.2:
            rows = [{"an unknown column": self._pick(_ODD), **row} for row in rows]
        return self._post(json.dumps(rows if len(rows) > 1 else rows[0]), "fits", status=200, rows=len(rows))

    def _one_wrong(self) -> Sent:
        rows = [dict(self._pick(self._rows)) for _ in range(self._size())]
        place, item = self._draw.randrange(len(rows)), self._pick(self._inputs)
        rows[place][item.column] = self._wrong(item, rows[place][item.column])
        return self._post(json.dumps(rows), "one wrong cell", status=422, words=_where(place, item.column))

    def _absent(self) -> Sent:
        rows = [dict(self._pick(self._rows)) for _ in range(self._size())]
        place, item = self._draw.randrange(len(rows)), self._pick(self._inputs)
        cell = rows[place].pop(item.column)
        if self._draw.random() < 0.5:
            rows[place][item.column.upper() + " "] = cell
        return self._post(json.dumps(rows), "absent column", status=422, words=_where(place, item.column))

    def _mixed(self) -> Sent:
        rows: list[Any] = [dict(self._pick(self._rows)) for _ in range(self._size())]
        for row in rows:
            for _ in range(self._pick((1, 1, 3, 10))):
                row[self._pick(self._inputs).column if self._draw.random() < 0.8 else self._text()] = self._cell()
            if self._draw.random() < 0.2:
                option = self._pick(("k", "exclude_owned", "exclude", "only", "category", "diversity", "events", "at"))
                row[option] = self._cell()
        if self._draw.random() < 0.1:
            rows.append(self._cell())
        document: Any = rows
        if self._draw.random() < 0.2 and all(isinstance(row, dict) for row in rows):
            columns = {item.column: [row.get(item.column) for row in rows] for item in self._inputs}
            if self._draw.random() < 0.3:
                self._pick(list(columns.values())).append(None)
            document = {"columns": columns}
        return self._post(json.dumps(document, ensure_ascii=self._draw.random() < 0.9), "mixed cells")

    def _bytes(self) -> Sent:
        body = bytearray(json.dumps([self._pick(self._rows)]).encode())
        for _ in range(self._pick((1, 2, 8))):
            place = self._draw.randrange(len(body))
            match self._draw.randrange(4):
                case 0:
                    body[place] = self._draw.randrange(256)
                case 1:
                    del body[place : place + self._draw.randrange(1, 20)]
                case 2:
                    body[place:place] = self._pick(
                        (b"[", b"{", b'"', b"\\", b"\\ud800", b"1e9999", b"\x00", b"\xf0\x9f")
                    )
                case _:
                    body[place:place] = body[:place]
            body = body[:20_000] or bytearray(b"x")
        return self._post(bytes(body), "broken bytes")

    def _body(self) -> Sent:
        target = self._pick(self._targets)
        return self._post(self._pick(_BODIES), "odd body", target, types=_TYPES)

    def _other_protocol(self) -> Sent:
        """A table as Arrow, tensors, or as Azure ML Studio (classic) has it, with a cell or a byte changed."""
        rows = [dict(self._pick(self._rows)) for _ in range(self._size())]
        if self._draw.random() < 0.5:
            self._pick(rows)[self._pick(self._inputs).column] = self._cell()
        names = [item.column for item in self._inputs]
        match self._draw.randrange(3):
            case 0:
                target, kind, data = "/predict", _TYPES[5], self._arrow(rows, names)
            case 1:
                target, kind = self._targets[2], _TYPES[0]
                tensors = [
                    {
                        "name": name,
                        "shape": [len(rows), *self._pick(([], [1], [2], [-1]))]
                        if self._draw.random() < 0.2
                        else [len(rows)],
                        "datatype": self._pick(("BYTES", "BYTES", "FP32", "FP64", "INT64", "BOOL", "x")),
                        "data": [row[name] for row in rows],
                    }
                    for name in names
                ]
                data = json.dumps({"inputs": tensors}).encode("utf-8", "surrogatepass")
            case _:
                target, kind = self._targets[3], _TYPES[0]
                table: Any = {"ColumnNames": names, "Values": [[row[name] for name in names] for row in rows]}
                table = table if self._draw.random() < 0.5 else rows
                document = {"Inputs": {"input1": table}, "GlobalParameters": {}}
                data = json.dumps(document).encode("utf-8", "surrogatepass")
        if self._draw.random() < 0.3:
            place = self._draw.randrange(len(data))
            data = data[:place] + bytes([self._draw.randrange(256)]) + data[place + self._draw.randrange(2) :]
        return self._post(data, "other protocols", target, types=(kind,))

    def _arrow(self, rows: list[dict[str, Any]], names: list[str]) -> bytes:
        columns = {}
        for name in names:
            cells = [row[name] for row in rows]
            try:
                columns[name] = pa.array(cells)
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeError):
                columns[name] = pa.array([json.dumps(cell) for cell in cells])
        sink = pa.BufferOutputStream()
        table = pa.table(columns)
        options = pa.ipc.IpcWriteOptions(compression=self._pick((None, "lz4", "zstd")))
        with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())

    def _route(self) -> Sent:
        method = self._pick(("GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"))
        body = b"" if method in ("GET", "HEAD") else self._pick(_BODIES)
        return self._request(method, self._pick((*self._others, *self._targets)), body, "routes")

    def _headers(self) -> Sent:
        body = json.dumps(self._pick(self._rows)).encode()
        chosen = self._draw.sample(_HEADERS, self._draw.randrange(1, 4))
        if self._draw.random() < 0.2:
            chunks = [body[:7], body[7:]]
            chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in chunks) + b"0\r\n\r\n"
            return self._request("POST", "/predict", chunked, "odd headers", ["Transfer-Encoding: chunked", *chosen])
        return self._request("POST", self._pick(self._targets), body, "odd headers", chosen)

    # Parts

    def _pick(self, things: Sequence[Any]) -> Any:
        return things[int(self._draw.random() * len(things))]  # quicker than `choice`

    def _size(self) -> int:
        return int(self._pick((1, 1, 1, 2, 3, 5, 30)))

    def _text(self) -> str:
        return str(self._pick(_TEXTS if self._draw.random() < 0.95 else _SURROGATES))

    def _cell(self) -> Any:
        match self._draw.randrange(5):
            case 0:
                return self._text()
            case 1:
                return self._pick(_NUMBERS)
            case 2:
                return self._pick(_ODD)
            case 3:
                return [self._pick((self._text(), self._pick(_NUMBERS), None)) for _ in range(self._draw.randrange(6))]
            case _:
                return self._pick(self._rows)[self._pick(self._inputs).column]

    def _wrong(self, item: Input, cell: Any) -> Any:
        wrong = self._pick(_WRONG[item.kind])
        if item.form == "cell":
            return wrong
        if not isinstance(cell, list) or not cell or self._draw.random() < 0.3:
            return self._pick((7, {"a": 1}, True))
        return [*cell[:-1], wrong]

    def _post(
        self, body: str | bytes, kind: str, target: str = "/predict", *, types: tuple[str, ...] = _TYPES[:3],
        status: int | None = None, words: tuple[str, ...] = (), rows: int = 0,
    ) -> Sent:  # fmt: skip
        data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
        sent = self._request("POST", target, data, kind, [f"Content-Type: {self._pick(types)}"])
        return Sent(sent.data, kind, sent.id, status, words, rows)

    def _request(self, method: str, target: str, body: bytes, kind: str, headers: Iterable[str] = ()) -> Sent:
        self._number += 1
        number = f"f{self._number}"
        lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", f"X-Request-Id: {number}", *headers]
        if not any(line.startswith("Transfer") for line in lines):
            lines.append(f"Content-Length: {len(body)}")
        return Sent("\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body, kind, number)


def _where(place: int, column: str) -> tuple[str, ...]:
    return f"row {place + 1}", f'column "{column}"'


@dataclass
class Tally:
    """What was answered.

    Attributes:
        answers: By kind and status.
        findings: What should not be, the first of each sort: sort, request, answer.
    """

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    findings: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Requests that were answered."""
        return sum(self.answers.values())

    def check(self, sent: Sent, status: int, head: bytes, body: bytes) -> None:
        """Count an answer, and note what is wrong with it."""
        self.answers[sent.kind, status] += 1
        wrong = self._wrong(sent, status, head, body)
        if wrong:
            self.findings.setdefault(f"{wrong} ({sent.kind})", (sent.data, head + b"\r\n\r\n" + body))

    def _wrong(self, sent: Sent, status: int, head: bytes, body: bytes) -> str:
        if status >= 500:
            return f"status {status}"
        if sent.status is not None and status != sent.status:
            return f"status {status}, not {sent.status}"
        if sent.id and f"X-Request-Id: {sent.id}\r\n".encode() not in head + b"\r\n":
            return "an answer to another request"
        if status >= 400 and body:  # none to HEAD
            text = json.loads(body)
            sentence = text["error"] if isinstance(text["error"], str) else json.dumps(text["error"])
            if not all(word.replace('"', '\\"') in sentence or word in sentence for word in sent.words):
                return "without row and column"
            if any(word in sentence for word in ("Traceback", 'File "', "/site-packages", "/home/", "object at 0x")):
                return "the host's insides"
        if sent.rows and len(json.loads(body)["predictions"]) != sent.rows:
            return "another number of predictions"
        return ""


def send_all(address: tuple[str, int], requests: Iterator[Sent], count: int, tally: Tally) -> None:
    """Send requests by pipelines; each answer is checked.

    What follows a request whose answer closes the connection is sent again, over another one.

    Raises:
        TimeoutError: If the server hangs.
        AssertionError: If a connection ends without an answer that was due.
    """
    client: socket.socket | None = None
    left: deque[Sent] = deque()
    while count > 0 or left:
        while count > 0 and len(left) < PIPELINED and not (left and left[-1].ends):
            left.append(next(requests))
            count -= 1
        batch = list(left)
        if client is None:
            client = socket.create_connection(address, timeout=_SECONDS)
        try:
            client.sendall(b"".join(sent.data for sent in batch))
            if batch[-1].ends:
                client.shutdown(socket.SHUT_WR)
        except ConnectionError:  # closed while this was sent; what was answered can be read
            pass
        keeps = _read(client, left, tally)
        if not keeps:
            client.close()
            client = None
    if client is not None:
        client.close()


def _read(client: socket.socket, left: deque[Sent], tally: Tally) -> bool:
    """Take the requests that are answered off; whether the connection goes on."""
    held = b""
    while left:
        sent = left[0]
        while b"\r\n\r\n" not in held:
            piece = _piece(client)
            if not piece:
                assert sent.ends, f"no answer to {[one.data[:500] for one in left]}"
                tally.answers[sent.kind, 0] += 1
                left.popleft()
                return False
            held += piece
        head, _, held = held.partition(b"\r\n\r\n")
        size = 0 if sent.data.startswith(b"HEAD ") else int(re.search(rb"(?i)\ncontent-length: (\d+)", head)[1])  # type: ignore[index]
        while len(held) < size:
            piece = _piece(client)
            assert piece, f"half an answer to {sent.data[:500]!r}"
            held += piece
        body, held = held[:size], held[size:]
        left.popleft()
        tally.check(sent, int(head[9:12]), head, body)
        if sent.ends or b"\r\nconnection: close" in head.lower():
            assert not held, "more answers after the last"
            return False
    assert not held, "more answers than requests"
    return True


def _piece(client: socket.socket) -> bytes:
    try:
        return client.recv(1 << 18)
    except ConnectionResetError:
        return b""
