"""One worker process, as the server sees it: what it was given, what it has answered, whether it lives."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ludocast.serve.backends.frames import Frames, Header, pack, pack_calls, unpack_answers, unpack_inputs
from ludocast.serve.calls import Answer, Call
from ludocast.serve.manifest import Manifest, parse_manifest
from ludocast.serve.observe.inputs import InputCounts

_LOAD_SECONDS = 300.0
_END_SECONDS = 5.0  # that a worker has to end in once its socket is closed


@dataclass(frozen=True)
class WorkerOptions:
    """Of each worker.

    Attributes:
        threads: Of onnxruntime.
        device: "cpu" or "cuda".
    """

    threads: int = 1
    device: str = "cpu"


class WorkerEndedError(Exception):
    """The worker ended before it had loaded a bundle."""


class WorkerLink(asyncio.Protocol):
    """Starts a process and speaks with it; is used once.

    Args:
        options: Of the process.
        on_ended: Is called once, when the process is gone.
    """

    def __init__(self, options: WorkerOptions, on_ended: Callable[[WorkerLink], None]) -> None:
        self._options = options
        self._on_ended = on_ended
        self._frames = Frames()
        self._process: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.Transport | None = None
        self._loads: dict[str, asyncio.Future[Manifest]] = {}
        self._inputs: deque[asyncio.Future[InputCounts]] = deque()
        self._answered: Callable[[Sequence[Answer]], None] | None = None
        self.is_ready = False  # set by who has given it all bundles
        self.is_alive = False
        self.keys: set[str] = set()  # of the bundles that it has
        self.kill_after = float("inf")  # of the event loop's clock

    @property
    def is_free(self) -> bool:
        """Whether a batch would be scored at once."""
        return self.is_ready and self.is_alive and self._answered is None and not self._loads

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Of the process, once it has ended; the negative number of a signal."""
        return None if self._process is None else self._process.returncode

    async def start(self) -> None:
        """Start the process; it may be spoken to before it is up."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            words = [str(self._options.threads), self._options.device]
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ludocast.serve.backends.worker", *words],
                stdin=theirs.fileno(),
                start_new_session=True,
            )
        loop = asyncio.get_running_loop()
        self.is_alive = True
        self._transport, _ = await loop.create_unix_connection(lambda: self, sock=ours)

    async def load(self, key: str, bundle: Path) -> Manifest:
        """Have it load a bundle, with its checks.

        Raises:
            ValueError: As `Backend.load`.
            WorkerEndedError: If it ended meanwhile.
        """
        if not self.is_alive:
            raise WorkerEndedError
        loop = asyncio.get_running_loop()
        loaded: asyncio.Future[Manifest] = loop.create_future()
        self._loads[key] = loaded
        self.kill_after = max(loop.time() + _LOAD_SECONDS, self.kill_after if self._answered is not None else 0.0)
        self._send(pack({"key": key, "bundle": str(bundle)}))
        return await loaded

    def unload(self, key: str) -> None:
        """Have it forget a bundle."""
        self.keys.discard(key)
        if self.is_alive:
            self._send(pack({"key": key}))

    async def take_inputs(self) -> InputCounts:
        """See `Backend.take_inputs`; nothing if it ends meanwhile."""
        if not self.is_alive:
            return {}
        told: asyncio.Future[InputCounts] = asyncio.get_running_loop().create_future()
        self._inputs.append(told)
        self._send(pack({"take": "inputs"}))
        return await told

    def score(self, calls: Sequence[Call], kill_after: float, answered: Callable[[Sequence[Answer]], None]) -> None:
        """Give it a batch; it has to be free."""
        self._answered = answered
        self.kill_after = kill_after
        self._send(pack_calls(calls))

    def kill(self) -> None:
        """End it at once; it is given nothing any more, though its end is told a moment later."""
        self.is_alive = self.is_ready = False
        if self._process is not None:
            self._process.kill()

    async def close(self) -> None:
        """End it, and wait until it is gone."""
        if self._transport is not None:
            self._transport.close()
        if self._process is None:
            return
        try:
            await asyncio.to_thread(self._process.wait, _END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)

    # What asyncio calls

    def data_received(self, data: bytes) -> None:
        """Answers, and bundles that were loaded."""
        for header, payload in self._frames.feed(data):
            if "answers" in header:
                answered, self._answered = self._answered, None
                assert answered is not None
                self.kill_after = float("inf")
                answered(unpack_answers(header, payload))
            elif "loaded" in header:
                self._loaded(header)
            elif "inputs" in header:
                self._tell(unpack_inputs(header))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The process has ended, or is made to."""
        self.is_alive = self.is_ready = False
        for loaded in self._loads.values():
            if not loaded.done():
                loaded.set_exception(WorkerEndedError())
        self._loads.clear()
        while self._inputs:
            self._tell({})
        self._on_ended(self)

    def _tell(self, counts: InputCounts) -> None:
        told = self._inputs.popleft()
        if not told.done():  # somebody waits for it still
            told.set_result(counts)

    def _loaded(self, header: Header) -> None:
        loaded = self._loads.pop(header["loaded"])
        if not self._loads and self._answered is None:
            self.kill_after = float("inf")
        if "refused" not in header:
            self.keys.add(header["loaded"])
        if loaded.done():  # nobody waits for it any more
            return
        if "refused" in header:
            loaded.set_exception(ValueError(header["refused"]))
        else:
            loaded.set_result(parse_manifest(header["manifest"]))

    def _send(self, frame: bytes) -> None:
        assert self._transport is not None
        self._transport.write(frame)
