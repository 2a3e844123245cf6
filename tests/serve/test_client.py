"""The client against real servers: batches, tables, one that restarts, one that is too busy, none at all."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from ludocast.serve.client import AsyncClient, Client
from ludocast.serve.client_http import (
    DeadlineError,
    InvalidRequestError,
    KeyRefusedError,
    OverloadedError,
    UnreachableError,
)
from ludocast.serve.http.listen import open_socket
from ludocast.serve.safety.guard import KeyGuard
from ludocast.serve.scorer import Scorer

from ludocast.__main__ import main
from tests.serve.listening import ROOT, served
from tests.serve.logistic import write_logistic, write_softmax
from tests.serve.made_shop import IDS, write_shop

ROWS: list[dict[str, Any]] = [
    {"age": 10 + k % 50, "plan": ("basic", "pro", None)[k % 3], "active": k % 2 == 0, "last seen ": 1_700_000_000 + k}
    for k in range(50)
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_logistic(tmp_path_factory.mktemp("client") / "bundle")


@pytest.fixture(scope="module")
def url(bundle: Path) -> Iterator[str]:
    with served(bundle, write_softmax(bundle.parent / "three"), write_shop(bundle.parent / "shop")) as found:
        yield found


@pytest.fixture(scope="module")
def wanted(bundle: Path) -> list[float]:
    return [float(p) for p in Scorer.load(bundle).predict(ROWS).probabilities[:, 1]]


def test_records_and_their_order(url: str, wanted: list[float]) -> None:
    with Client(url, rows=7) as client:
        answer = client.predict(ROWS)
        assert [one["probability"] for one in answer.predictions] == wanted
        assert answer.model == "demo"
        assert answer.warnings == ()
        assert client.predict(ROWS[3]).predictions == answer.predictions[3:4]
        assert [model["name"] for model in client.models()] == ["demo", "three", "shop"]
        assert client.is_ready()
        warned = client.predict([{**row, "colour": 1} for row in ROWS])
        assert warned.warnings == ('ignored what the model does not read: column "colour"',)
    assert Client(url, model="three").predict({"age": None}).predictions[0]["probability"] == pytest.approx(1 / 3)


def test_frames_come_back_as_they_are(url: str, wanted: list[float]) -> None:
    client = Client(url, rows=20)
    table = pa.Table.from_pylist(ROWS)
    assert client.predict(table).predictions["scored_probability"].to_pylist() == wanted
    frame = pd.DataFrame(ROWS, index=[f"p{k}" for k in range(50)])
    found = client.predict(frame).predictions
    assert found.index.tolist() == frame.index.tolist()
    assert found["scored_probability"].tolist() == wanted
    items = Client(url, model="shop").predict(pd.DataFrame({"history": [IDS[:2].tolist(), []], "k": 2})).predictions
    assert [len(row) for row in items["scored_items"]] == [2, 2]


def test_polars_frames(url: str, wanted: list[float]) -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    found = Client(url).predict(polars.DataFrame(ROWS)).predictions
    assert isinstance(found, polars.DataFrame)
    assert found["scored_probability"].to_list() == wanted


def test_wrong_rows_have_their_number(url: str) -> None:
    rows = [*ROWS[:20], {**ROWS[20], "age": "old"}, *ROWS[21:]]
    for data in (rows, pa.Table.from_pylist([{**row, "age": str(row["age"])} for row in rows])):
        with pytest.raises(InvalidRequestError, match=r'^row 21, column "age": expected a number') as caught:
            Client(url, rows=8).predict(data)
        assert caught.value.status == 422
        assert caught.value.request_id
    with pytest.raises(InvalidRequestError, match='there is no model "nobody"'):
        Client(url, model="nobody").predict(ROWS)


def test_asyncio(url: str, wanted: list[float]) -> None:
    async def ask() -> list[Any]:
        async with AsyncClient(url, calls=4, rows=30) as client:
            assert await client.is_ready()
            return await asyncio.gather(*(client.predict(ROWS[k]) for k in range(50)), client.predict(ROWS))

    *singles, whole = asyncio.run(ask())
    assert [one.predictions[0]["probability"] for one in singles] == wanted
    assert [one["probability"] for one in whole.predictions] == wanted


def test_a_busy_server_is_asked_again_when_it_says(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = tmp_path / "keys.json"
    assert main(["keys", "add", "game", "--keys", str(keys), "--rate", "4/s"]) == 0
    key = capsys.readouterr().out.strip()
    with served(bundle, guard=KeyGuard(keys)) as url:
        client = Client(url, key)
        assert key not in repr(client)
        start = time.monotonic()
        assert [len(client.predict(row).predictions) for row in ROWS[:5]] == [1] * 5
        assert time.monotonic() - start >= 1  # Retry-After of the fifth
        impatient = Client(url, key, retries=0)
        with pytest.raises(OverloadedError, match="4/s") as caught:
            _ = [impatient.predict(row) for row in ROWS[:6]]
        assert caught.value.status == 429
        with pytest.raises(OverloadedError, match="4/s"):  # it says when, and that is too late
            _ = [client.predict(row, deadline=0.5) for row in ROWS[:6]]
        with pytest.raises(KeyRefusedError, match="asks for a key"):
            Client(url).predict(ROWS)
        with pytest.raises(KeyRefusedError, match="knows no such key"):
            Client(url, "wrong").predict(ROWS)


def test_nothing_is_lost_while_the_server_restarts(bundle: Path, wanted: list[float]) -> None:
    with open_socket("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ludocast", "serve", "--bundle", str(bundle), "--port", str(port)]

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert "listens" in process.stdout.readline()
        return process

    process = start()
    client = Client(f"http://127.0.0.1:{port}", retries=20, deadline=60)
    found: list[list[float]] = [[], [], []]
    is_over = threading.Event()

    def call(number: int) -> None:
        while not is_over.is_set():
            found[number].append(client.predict(ROWS[number]).predictions[0]["probability"])

    threads = [threading.Thread(target=call, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    process = start()
    before = [len(one) for one in found]
    time.sleep(0.5)
    is_over.set()
    for thread in threads:
        thread.join(60)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    for number, answers in enumerate(found):
        assert len(answers) > before[number] > 0
        assert set(answers) == {wanted[number]}


def test_no_server_and_no_time(bundle: Path) -> None:
    with open_socket("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    client = Client(f"http://127.0.0.1:{port}", retries=2)
    with pytest.raises(UnreachableError, match="cannot reach"):
        client.predict(ROWS)
    assert not client.is_ready()
    with open_socket("127.0.0.1", 0) as silent:
        silent.listen()
        with pytest.raises(DeadlineError, match=r"0\.2 seconds"):
            Client(f"http://127.0.0.1:{silent.getsockname()[1]}").predict(ROWS, deadline=0.2)
    with pytest.raises(ValueError, match="expected the address"):
        Client("127.0.0.1:8080")
