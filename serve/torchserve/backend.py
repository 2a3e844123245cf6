"""Scoring in TorchServe's workers: batches go there as one request each, and again where a worker or Java died."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ludocast.serve.backends.frames import Frames, pack_calls, unpack_answers, unpack_inputs
from ludocast.serve.bundle import read_manifest
from ludocast.serve.calls import LATE, Answer, Call, Done
from ludocast.serve.manifest import Manifest
from ludocast.serve.observe.inputs import InputCounts, add_counts
from ludocast.serve.taker import ManifestError
from ludocast.serve.torchserve.archive import MISSING, write_archive
from ludocast.serve.torchserve.launch import TOKENS, TorchServe, start_torchserve
from ludocast.serve.torchserve.ludocast_handler import FRAME

try:
    import aiohttp
except ModuleNotFoundError as error:
    raise ValueError(MISSING) from error

_LARGEST = 64 << 20  # bytes of a frame: a body of 16 MB, and what its rows' answers may need
_START_SECONDS = 60.0  # in which Java answers
_LOAD_SECONDS = 120  # in which a worker loads a bundle; TorchServe itself would wait for minutes
_PAUSE = 0.05  # seconds before a batch is sent again


class TorchServeBackend:
    """See `Backend`.

    Args:
        workers: Processes that score.
        deadline: Seconds within which a batch is answered, or given up.
    """

    def __init__(self, workers: int = 1, deadline: float = 30.0) -> None:
        self.on_room: Callable[[], None] | None = None
        self._workers, self._deadline = workers, deadline
        self._inputs: InputCounts = {}
        self._loaded: dict[str, tuple[Path, Manifest]] = {}
        self._torchserve: TorchServe | None = None
        self._tokens: Mapping[str, str] = {}  # of TorchServe, by what they are for
        self._session: aiohttp.ClientSession | None = None
        self._starting = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None

    async def load(self, key: str, bundle: Path) -> Manifest:
        """See `Backend.load`."""
        try:
            manifest = read_manifest(bundle)
        except ManifestError as error:
            raise ValueError(f"bundle {bundle}: {error}") from error
        async with self._starting:
            if self._torchserve is None:
                await self._start()
            await self._register(key, bundle, manifest)
        self._loaded[key] = (bundle, manifest)
        return manifest

    async def unload(self, key: str) -> None:
        """See `Backend.unload`."""
        self._loaded.pop(key, None)
        async with self._starting:
            await self._manage("DELETE", f"/models/{_name(key)}")

    def has_room(self, is_large: bool) -> bool:  # noqa: ARG002
        """See `Backend.has_room`."""
        # One batch a worker: what comes meanwhile becomes the next one, and a few large ones cost less than many small.
        return len(self._tasks) < self._workers

    def run(self, calls: Sequence[Call], is_large: bool, done: Done) -> None:  # noqa: ARG002
        """See `Backend.run`."""
        task = asyncio.get_running_loop().create_task(self._score(calls, done))
        self._tasks.add(task)

    async def take_inputs(self) -> InputCounts:
        """See `Backend.take_inputs`; a worker tells what it has counted once a second, with its answers."""
        inputs, self._inputs = self._inputs, {}
        return inputs

    async def close(self) -> None:
        """See `Backend.close`."""
        for task in (self._keeper, *self._tasks):
            if task is not None:
                task.cancel()
        if self._session is not None:
            await self._session.close()
        if self._torchserve is not None:
            await asyncio.to_thread(self._torchserve.stop)

    async def _score(self, calls: Sequence[Call], done: Done) -> None:
        answers: dict[int, Answer] = {}
        try:
            for key in dict.fromkeys(call.model for call in calls):
                places = [place for place, call in enumerate(calls) if call.model == key]
                answers |= zip(places, await self._send(key, [calls[place] for place in places]), strict=True)
        except Exception as error:  # an answer that is none; whoever asked gets one all the same
            traceback.print_exception(error, file=sys.stderr)
            failed = Answer(500, error="the server failed to score this request; its log tells why")
            answers = {place: answers.get(place, failed) for place in range(len(calls))}
        finally:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.discard(task)
        done([answers[place] for place in range(len(calls))])

    async def _send(self, key: str, calls: Sequence[Call]) -> list[Answer]:
        """Answers of one model; a batch that was lost with its worker is sent again: scoring twice changes nothing."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._deadline
        frame = pack_calls([Call(_name(key), call.codec, call.body, call.options) for call in calls])
        while True:
            assert self._torchserve is not None
            assert self._session is not None
            try:
                async with self._session.post(
                    f"{self._torchserve.inference}/predictions/{_name(key)}",
                    data=frame,
                    headers={"Content-Type": FRAME, **self._token("inference")},
                    timeout=aiohttp.ClientTimeout(total=max(until - loop.time(), 0.01)),
                ) as answer:
                    body = await answer.read()
                    if answer.status == 200:
                        ((header, payload),) = Frames().feed(body)
                        add_counts(self._inputs, unpack_inputs(header))
                        return unpack_answers(header, payload)
            except (aiohttp.ClientError, TimeoutError):
                pass
            if loop.time() + _PAUSE >= until:
                return [LATE] * len(calls)
            await asyncio.sleep(_PAUSE)

    async def _start(self) -> None:
        """Start TorchServe and wait until it answers."""
        torchserve = self._torchserve = await asyncio.to_thread(start_torchserve, _LARGEST)
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        loop = asyncio.get_running_loop()
        until = loop.time() + _START_SECONDS
        while not await self._answers(torchserve):
            if torchserve.process.poll() is not None or loop.time() > until:
                raise ValueError(f"TorchServe did not start: {torchserve.said()}")
            await asyncio.sleep(0.1)
        if self._keeper is None:
            self._keeper = loop.create_task(self._keep())

    async def _answers(self, torchserve: TorchServe) -> bool:
        assert self._session is not None
        self._tokens = torchserve.tokens()
        try:
            async with self._session.get(f"{torchserve.inference}/ping", headers=self._token("inference")) as answer:
                return answer.status == 200 and len(self._tokens) == len(TOKENS)
        except aiohttp.ClientError:
            return False

    async def _register(self, key: str, bundle: Path, manifest: Manifest) -> None:
        assert self._torchserve is not None
        config = (
            f"minWorkers: {self._workers}\nmaxWorkers: {self._workers}\nbatchSize: 1\nmaxBatchDelay: 2\n"
            f"responseTimeout: {_LOAD_SECONDS}\nstartupTimeout: {_LOAD_SECONDS}\n"
        )
        store = self._torchserve.folder / "store"
        path = await asyncio.to_thread(write_archive, bundle, manifest, _name(key), store, config)
        query = f"url={path.name}&model_name={_name(key)}&initial_workers={self._workers}&synchronous=true"
        status, text = await self._manage("POST", f"/models?{query}")
        if status != 200:
            raise ValueError(f"bundle {bundle}: TorchServe could not load it: {text[:300]} {self._torchserve.said()}")

    async def _manage(self, method: str, path: str) -> tuple[int, str]:
        assert self._torchserve is not None
        assert self._session is not None
        async with self._session.request(
            method, self._torchserve.management + path, headers=self._token("management"),
            timeout=aiohttp.ClientTimeout(total=_LOAD_SECONDS),
        ) as answer:  # fmt: skip
            return answer.status, await answer.text()

    def _token(self, kind: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._tokens[kind]}"} if kind in self._tokens else {}

    async def _keep(self) -> None:
        """Start TorchServe again where Java has died; batches under way are sent again once it answers."""
        while True:
            await asyncio.sleep(0.2)
            if self._torchserve is None or self._torchserve.process.poll() is None:
                continue
            print("TorchServe has ended; it is started again", file=sys.stderr)
            async with self._starting:
                self._torchserve.stop()
                try:
                    await self._start()
                    for key, (bundle, manifest) in list(self._loaded.items()):
                        await self._register(key, bundle, manifest)
                except (ValueError, OSError, aiohttp.ClientError) as error:
                    print(f"TorchServe does not start: {error}", file=sys.stderr)
                    self._torchserve.stop()  # one that is up without its models would never be started again
                    await asyncio.sleep(1)


def _name(key: str) -> str:
    """Of a model in TorchServe."""
    return f"m{key}"
