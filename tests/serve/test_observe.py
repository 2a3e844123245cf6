"""Metrics, drift counters and the access log, against plain counts of what was sent."""

from __future__ import annotations

import http.client
import json
import math
import os
import random
import socket
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ludocast.serve.answering import Answering
from ludocast.serve.calls import Call
from ludocast.serve.http.message import Request, Response
from ludocast.serve.manifest import Input
from ludocast.serve.observe import access_log
from ludocast.serve.observe.access_log import AccessLog
from ludocast.serve.observe.metrics import Histogram
from prometheus_client.parser import text_string_to_metric_families

from tests.serve.listening import ask, listening, served
from tests.serve.logistic import ORIGIN, Term, write_logistic

GAME = (0.1, 9.7)  # no float32, as training ranges are
TERMS = (
    Term(Input("age", "x0", "number", None, GAME), weight=0.1),
    Term(Input("plan", "x1", "category", ("basic", "pro")), values={"basic": -1.0, "pro": 1.0}),
    Term(Input("seen", "x2", "timestamp", None, (ORIGIN, ORIGIN + 864_000)), weight=0.5),
    Term(Input("active", "x3", "boolean", ("true", "false")), values={"true": -2.0}),
)
CELLS: dict[str, list[Any]] = {
    "age": [0.1, 9.7, 5, 0.0999, 9.71, -3, None, "NA", 1e300, "4.5"],
    "plan": ["basic", "pro", "요금", "x", None, "", 3],
    "seen": [ORIGIN, ORIGIN + 1, ORIGIN + 864_001, 0, None, "2023-11-15", "1999-01-01"],
    "active": [True, False, None, "TRUE", 1, 0],
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_logistic(tmp_path_factory.mktemp("observed") / "bundle", terms=TERMS)


def _drawn(count: int, seed: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    return [{name: draw.choice(cells) for name, cells in CELLS.items()} for _ in range(count)]


def _counted(rows: list[dict[str, Any]]) -> dict[str, list[int]]:
    """Values, missing, unknown, outside of each column, cell by cell."""
    missing: dict[str, set[Any]] = {"age": {None, "NA", 1e300}, "plan": {None, ""}, "seen": {None}, "active": {None}}
    unknown: dict[str, set[Any]] = {"plan": {"요금", "x", 3}}
    outside: dict[str, set[Any]] = {"age": {0.0999, 9.71, -3}, "seen": {ORIGIN + 864_001, 0, "1999-01-01"}}
    return {
        name: [
            len(rows),
            *(sum(row[name] in of.get(name, set()) for row in rows) for of in (missing, unknown, outside)),
        ]
        for name in CELLS
    }


@pytest.mark.parametrize("sizes", [[1] * 300, [7, 1, 200, 1, 1, 24, 25, 1500], [3000]])
def test_inputs_are_counted_exactly(bundle: Path, sizes: list[int]) -> None:
    answering = Answering()
    manifest = answering.load("1", bundle)
    rows = _drawn(sum(sizes), seed=5)
    left = list(rows)
    calls = []
    for size in sizes:
        part, left = left[:size], left[size:]
        calls.append(Call("1", "records", json.dumps(part).encode()))
    refused = Call("1", "records", json.dumps([{**rows[0], "age": "abc"}]).encode())
    with ThreadPoolExecutor(4) as threads:  # as several threads may
        answers = [*threads.map(lambda call: answering.answer([call])[0], calls[::2]), *answering.answer(calls[1::2])]
    assert {answer.status for answer in answers} == {200}
    assert answering.answer([refused, calls[0]])[0].status == 422
    rows += rows[: sizes[0]]
    wanted = {("demo", manifest.version, name): counts for name, counts in _counted(rows).items()}
    assert answering.take_inputs() == wanted
    assert answering.take_inputs() == {}


def test_counts_of_a_bundle_that_is_unloaded_are_kept(bundle: Path) -> None:
    answering = Answering()
    answering.load("1", bundle)
    answering.load("2", bundle)
    rows = _drawn(3, seed=1)
    body = json.dumps(rows).encode()
    assert [one.status for one in answering.answer([Call("1", "records", body), Call("2", "records", body)])] == [
        200
    ] * 2
    answering.unload("1")
    assert [counts[0] for counts in answering.take_inputs().values()] == [6] * 4


def _metrics(url: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    with urllib.request.urlopen(url + "/metrics", timeout=20) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = answer.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_equal_a_plain_count(bundle: Path) -> None:
    rows = _drawn(40, seed=2)
    bodies: list[Any] = [*rows[:10], rows[10:], *rows[:4], [], [1]]
    with served(bundle) as url:
        with ThreadPoolExecutor(4) as threads:
            statuses = list(threads.map(lambda body: ask(url + "/predict", body)[0], bodies))
        assert ask(url + "/no/such/" + "x" * 50)[0] == 404
        assert ask(url + "/models/demo/predict", rows[0])[0] == 200
        assert ask(url + "/models/other/predict", rows[0])[0] == 404
        found = _metrics(url)
    assert Counter(statuses) == {200: 15, 422: 2}

    def requests(route: str, status: int, model: str) -> float:
        return found["ludocast_requests_total", (("model", model), ("route", route), ("status", str(status)))]

    assert requests("/predict", 200, "demo") == 15
    assert requests("/predict", 422, "demo") == 2
    assert requests("", 404, "") == 1
    assert requests("/models/{name}/predict", 200, "demo") == 1
    assert requests("/models/{name}/predict", 404, "") == 1
    route = ("route", "/predict")
    assert found["ludocast_request_seconds_count", (route,)] == 17
    assert found["ludocast_request_seconds_bucket", (("le", "+Inf"), route)] == 17
    assert 0 < found["ludocast_request_seconds_sum", (route,)] < 17
    version = next(dict(labels)["version"] for name, labels in found if name == "ludocast_rows_total")
    assert found["ludocast_rows_total", (("model", "demo"), ("version", version))] == 10 + 30 + 4 + 1
    assert found["ludocast_batch_calls_sum", ()] == 18  # all that reached the scorer
    assert found["ludocast_queue_calls", ()] == 0
    assert found["process_resident_memory_bytes", ()] > 1e7
    for column, counts in _counted([*rows, *rows[:4], rows[0]]).items():
        labels = (("column", column), ("model", "demo"), ("version", version))
        for what, count in zip(("values", "missing", "unknown", "outside"), counts, strict=True):
            assert found[f"ludocast_input_{what}_total", labels] == count


def test_counts_of_workers_are_summed(bundle: Path) -> None:
    rows = _drawn(60, seed=3)
    with listening(bundle, options=("--workers", "2", "--access-log", "off")) as url:
        with ThreadPoolExecutor(4) as threads:
            assert set(threads.map(lambda row: ask(url + "/predict", row)[0], rows[:30])) == {200}
        first = _metrics(url)
        assert ask(url + "/predict", rows[30:])[0] == 200
        second = _metrics(url)
    for found, sent in ((first, rows[:30]), (second, rows)):
        for column, counts in _counted(sent).items():
            for what, count in zip(("values", "missing", "unknown", "outside"), counts, strict=True):
                name = f"ludocast_input_{what}_total"
                assert [n for (of, labels), n in found.items() if of == name and ("column", column) in labels] == [
                    count
                ]


def test_buckets_hold_what_is_up_to_their_bound() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 3.0):
        histogram.add(value)
    assert [(labels.get("le"), value) for _, labels, value in histogram.samples({})] == [
        ("1", 2), ("2", 4), ("+Inf", 5), (None, 8.0), (None, 5),
    ]  # fmt: skip


def test_labels_are_escaped(tmp_path: Path) -> None:
    name = 'a"b\\c\nd'
    with served(write_logistic(tmp_path / "bundle", name=name, terms=TERMS)) as url:
        assert ask(url + "/predict", _drawn(1, seed=0))[0] == 200
        assert any(dict(labels).get("model") == name for _, labels in _metrics(url))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AccessLog]:
    log = AccessLog(tmp_path / "log.jsonl")
    yield log
    log.close()


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_line_a_request_and_no_value_of_a_player(bundle: Path, tmp_path: Path, log: AccessLog) -> None:
    row = {**_drawn(1, seed=0)[0], "plan": "a secret plan"}
    with served(bundle, log=log) as url:
        assert ask(url + "/predict?player=secret-1", [row, row], headers={"X-Request-Id": "mine-1"})[0] == 200
        assert ask(url + "/models/demo/predict", {**row, "age": "secret-2"})[0] == 422
        assert ask(url + "/secret-3")[0] == 404
        (tmp_path / "log.jsonl").rename(tmp_path / "log.1")  # as logrotate does, before or after the first write
        assert ask(url + "/v2/health/live")[0] == 200
    parts = [path for path in (tmp_path / "log.1", tmp_path / "log.jsonl") if path.exists()]
    lines = [line for part in parts for line in _lines(part)]
    assert not any("secret" in part.read_text() for part in parts)
    kept = ("method", "route", "status", "rows", "model", "key")
    assert [[line[name] for name in kept] for line in lines] == [
        ["POST", "/predict", 200, 2, "demo", ""],
        ["POST", "/models/{name}/predict", 422, 0, "demo", ""],
        ["GET", "", 404, 0, "", ""],
        ["GET", "/v2/health/live", 200, 0, "", ""],
    ]
    first = lines[0]
    assert first["id"] == "mine-1"
    assert first["bytes_in"] == len(json.dumps([row, row]))
    assert 0 < first["ms"] < 10_000
    assert first["version"]
    assert len({line["id"] for line in lines}) == 4
    assert first["time"] <= lines[1]["time"]


def test_values_are_logged_when_asked_for(bundle: Path, tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "log.jsonl", log_values=True)
    row = _drawn(1, seed=0)[0]
    with served(bundle, log=log) as url:
        assert ask(url + "/predict", row)[0] == 200
        assert ask(url + "/predict", b"\xff\x00")[0] == 400
    first, second = _lines(tmp_path / "log.jsonl")
    assert json.loads(first["request"]) == row
    assert json.loads(first["response"])["model"] == "demo"
    assert second["request"] == "\ufffd\x00"


def test_nothing_that_a_client_sends_begins_a_line(bundle: Path, tmp_path: Path, log: AccessLog) -> None:
    evil = '{"status":200}'
    with served(bundle, log=log) as url:
        host, port = url.removeprefix("http://").split(":")
        for target, headers in [
            (f"/%0a{evil}", {}),
            (f"/predict?%0d%0a{evil}", {"X-Request-Id": f"a\t{evil}"}),
            ("/predict", {"X-Request-Id": "a" * 65}),
            ("/models/%0A%22%7D%0A/predict", {"X-Request-Id": "ä"}),
            ("/predict", {"User-Agent": f"\x85{evil}", "Authorization": f"Bearer {evil}"}),
        ]:
            connection = http.client.HTTPConnection(host, int(port), timeout=20)
            connection.request("POST", target, b"{}", headers)
            answer = connection.getresponse()
            assert answer.status in (404, 422)
            assert "\n" not in answer.headers["X-Request-Id"]
            connection.close()
        for raw in (
            b"GET /\x0b\r\n\r\n",
            b"P\xff / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: b\nc: d\r\n\r\n",
        ):
            with socket.create_connection((host, int(port)), timeout=20) as raw_socket:
                raw_socket.sendall(raw)
                raw_socket.shutdown(socket.SHUT_WR)
                while raw_socket.recv(1 << 16):
                    pass
    lines = _lines(tmp_path / "log.jsonl")
    assert len(lines) == 8
    assert all(set(line) == set(lines[0]) for line in lines)
    assert not any("status" in line["id"] for line in lines)


def test_a_pipe_that_nobody_reads_stops_no_server(bundle: Path, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, True)
    log = AccessLog(Path(f"/dev/fd/{writer}"))
    try:
        with served(bundle, log=log) as url:
            for _ in range(700):  # 250 bytes each: more than a pipe holds
                assert ask(url + "/v2/health/live")[0] == 200
    finally:
        os.close(reader)
        os.close(writer)


def test_lines_that_nobody_writes_are_counted(tmp_path: Path, log: AccessLog) -> None:
    started = threading.active_count()
    for _ in range(access_log._MOST_WAITING + 5):
        log(Request("GET", "/", {}), Response(200), 0.001)
    log.close()
    assert threading.active_count() < started
    lines = _lines(tmp_path / "log.jsonl")
    told = sum(line.get("lines_dropped", 0) for line in lines)
    assert sum("status" in line for line in lines) + told == access_log._MOST_WAITING + 5
    assert math.isclose(lines[0]["ms"], 1)
