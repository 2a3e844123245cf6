"""Real worker processes: killed, hung, given bundles that are none; every call is answered once and rightly."""

from __future__ import annotations

import asyncio
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from ludocast.serve.backends.choose import choose_backend
from ludocast.serve.backends.local import LocalBackend
from ludocast.serve.backends.worker_link import WorkerOptions
from ludocast.serve.backends.workers import WorkersBackend
from ludocast.serve.batcher import Batcher
from ludocast.serve.calls import Answer, Call
from ludocast.serve.device import CUDA
from ludocast.serve.options import Scoring

from tests.serve.listening import ROOT, ask
from tests.serve.spinning import ENDLESS, write_spinning

if sys.platform == "win32":
    pytest.skip("workers need Linux or macOS", allow_module_level=True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_spinning(tmp_path_factory.mktemp("workers") / "bundle")


@asynccontextmanager
async def working(bundle: Path, deadline: float = 30.0, grace: float = 5.0) -> AsyncIterator[WorkersBackend]:
    backend = WorkersBackend(2, WorkerOptions(), deadline, grace)
    try:
        await backend.load("a", bundle)
        yield backend
    finally:
        await backend.close()


def scored(backend: WorkersBackend, records: Sequence[object], is_large: bool = False) -> asyncio.Future[list[Answer]]:
    found: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
    calls = [Call("a", "records", json.dumps(record).encode()) for record in records]
    backend.run(calls, is_large, lambda answers: found.set_result(list(answers)))  # a second call would raise
    return found


def probability(answer: Answer) -> float:
    assert answer.status == 200, answer
    return float(json.loads(answer.body)["predictions"][0]["probability"])


def of(x: float) -> object:
    return pytest.approx(1 / (1 + math.exp(-x)), abs=1e-6)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


async def until(true: object) -> None:
    assert callable(true)
    for _ in range(600):
        if true():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come to be")


def test_a_killed_worker_loses_nothing(bundle: Path) -> None:
    async def scenario() -> None:
        async with working(bundle) as backend:
            before = backend.pids
            assert len(set(before)) == 2
            both = [scored(backend, [{"x": x, "turns": 300_000}, {"x": -x, "turns": 0}]) for x in (1, 2)]
            assert not backend.has_room(is_large=False)
            await asyncio.sleep(0.1)  # both are at it
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            for x, found in zip((1, 2), both, strict=True):
                answers = await asyncio.wait_for(found, 30)
                assert [probability(answer) for answer in answers] == [of(x), of(-x)]
            await until(lambda: len(backend.pids) == 2)
            assert not set(before) & set(backend.pids)
            assert backend.has_room(is_large=False)

    asyncio.run(scenario())


def test_a_call_that_ends_its_worker_again_and_again_is_given_up_alone(bundle: Path) -> None:
    async def scenario() -> None:
        async with working(bundle) as backend:
            bad = scored(backend, [{"x": 1, "turns": 0}, {"x": 2, "turns": ENDLESS}, {"x": 3, "turns": 0}])
            killed = 0
            while not bad.done():
                spinning = next((pid for pid in backend.pids if pid in backend.busy), None)
                if spinning is None:
                    await asyncio.sleep(0.02)
                    continue
                await asyncio.sleep(0.3)  # calls that end by themselves have ended
                if spinning in backend.busy:
                    os.kill(spinning, signal.SIGSEGV)
                    killed += 1
                    await until(lambda pid=spinning: pid not in backend.busy)
                # Others go on meanwhile.
                if backend.has_room(is_large=False):
                    answers = await asyncio.wait_for(scored(backend, [{"x": -1, "turns": 0}]), 30)
                    assert probability(answers[0]) == of(-1)
            assert killed == 3
            first, second, third = bad.result()
            assert (probability(first), probability(third)) == (of(1), of(3))
            assert second.status == 500
            assert "ended the process" in second.error

    asyncio.run(scenario())


def test_a_worker_that_hangs_is_replaced(bundle: Path) -> None:
    async def scenario() -> None:
        async with working(bundle, deadline=1.0, grace=0.5) as backend:
            hung = scored(backend, [{"x": 1, "turns": ENDLESS}])
            answer = (await asyncio.wait_for(hung, 30))[0]
            assert answer.status == 503
            assert "deadline" in answer.error
            await until(lambda: len(backend.pids) == 2 and not backend.busy)
            assert probability((await scored(backend, [{"x": 1, "turns": 0}]))[0]) == of(1)

    asyncio.run(scenario())


def test_large_calls_leave_a_worker_to_small_ones(bundle: Path) -> None:
    async def scenario() -> None:
        async with working(bundle) as backend:
            large = scored(backend, [[{"x": x, "turns": 200_000} for x in (1, 2)]], is_large=True)
            assert not backend.has_room(is_large=True)
            assert backend.has_room(is_large=False)
            assert probability((await scored(backend, [{"x": 1, "turns": 0}]))[0]) == of(1)
            assert not large.done()
            found = json.loads((await large)[0].body)["predictions"]
            assert [entry["probability"] for entry in found] == [of(1), of(2)]
            assert backend.has_room(is_large=True)

    asyncio.run(scenario())


def test_a_call_for_which_no_worker_is_free_is_refused_at_its_deadline(bundle: Path) -> None:
    async def scenario() -> None:
        async with working(bundle) as backend:
            batcher, loop = Batcher(backend), asyncio.get_running_loop()
            for _ in range(2):
                scored(backend, [{"x": 1, "turns": 2_000_000}])  # seconds
            late: asyncio.Future[Answer] = loop.create_future()
            in_time: asyncio.Future[Answer] = loop.create_future()
            call = Call("a", "records", b'{"x": 1, "turns": 0}')
            batcher.submit(call, late.set_result, loop.time() + 0.2)
            batcher.submit(call, in_time.set_result, loop.time() + 30)
            assert (await asyncio.wait_for(late, 10)).status == 503
            assert batcher.waiting == 1
            assert probability(await asyncio.wait_for(in_time, 30)) == of(1)
            assert batcher.waiting == 0

    asyncio.run(scenario())


def test_a_batch_ends_where_its_bodies_reach_a_megabyte(bundle: Path) -> None:
    async def scenario() -> None:
        backend = LocalBackend()
        await backend.load("a", bundle)
        batcher, loop = Batcher(backend), asyncio.get_running_loop()
        sizes: list[int] = []
        batcher.on_batch = sizes.append
        answers: list[asyncio.Future[Answer]] = [loop.create_future() for _ in range(301)]
        for number, answer in enumerate(answers):
            padding = 60_000 if number < 40 else 0  # 17 of these are less than a megabyte, 18 are more
            body = b'{"x": 1, "turns": 0}' + b" " * padding
            batcher.submit(Call("a", "records", body), answer.set_result, loop.time() + 30)
        found = await asyncio.wait_for(asyncio.gather(*answers), 30)
        assert [probability(answer) for answer in found] == [of(1)] * 301
        assert sizes == [18, 18, 4 + 252, 9]  # 4 large ones first; 256 calls at most
        await backend.close()

    asyncio.run(scenario())


def test_bundles_are_verified_by_a_worker_and_may_come_and_go(bundle: Path, tmp_path: Path) -> None:
    broken = write_spinning(tmp_path / "broken")
    (broken / "model.onnx").write_bytes((broken / "model.onnx").read_bytes()[:-1])
    changed = write_spinning(tmp_path / "changed", version="2")

    async def scenario() -> None:
        async with working(bundle) as backend:
            with pytest.raises(ValueError, match=r"model\.onnx is damaged"):
                await backend.load("b", broken)
            assert (await backend.load("c", changed)).version == "2"
            await backend.unload("c")
            manifest = await backend.load("d", changed)
            assert manifest.name == "spinning"
            # A worker that is started again would answer by another model than the others do.
            shutil.rmtree(changed)
            write_spinning(changed, version="3")
            os.kill(backend.pids[0], signal.SIGKILL)
            await until(lambda: len(backend.pids) == 1)
            for _ in range(30):
                await asyncio.sleep(0.05)
                assert len(backend.pids) == 1
                assert probability((await scored(backend, [{"x": 1, "turns": 0}]))[0]) == of(1)

    asyncio.run(scenario())


def test_workers_end_with_a_server_that_is_killed_and_not_by_a_terminal(bundle: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "ludocast", "serve", "--bundle", str(bundle), "--workers", "2", "--port", "0"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[4]
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
        if not children.exists():
            pytest.skip("no /proc")
        workers = [int(word) for word in children.read_text().split()]
        assert len(workers) == 2
        for pid in workers:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        assert ask(url + "/predict", {"x": 0, "turns": 0})[1]["predictions"][0]["probability"] == 0.5
        assert all(map(is_alive, workers))
    finally:
        server.kill()
        server.wait()
    until_when = time.monotonic() + 20
    while any(map(is_alive, workers)):
        assert time.monotonic() < until_when
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"workers": 0}, "--workers and --threads are 1 or more, got 0 and 1"),
        ({"device": "gpu"}, 'expected cpu or cuda, got "gpu"'),
        ({"device": "cuda"}, "install onnxruntime-gpu, or take --device cpu"),
    ],
)
def test_options_that_cannot_be_are_one_sentence(options: dict[str, Any], sentence: str) -> None:
    if options == {"device": "cuda"} and CUDA in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(ValueError, match=sentence):
        choose_backend(Scoring(**options))
