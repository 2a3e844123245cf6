"""Scoring in the server's own process: no copy of a request, no other process to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ludocast.serve.answering import Answering
from ludocast.serve.calls import Answer, Call, Done
from ludocast.serve.manifest import Manifest
from ludocast.serve.observe.inputs import InputCounts


class LocalBackend:
    """Scores small batches in the event loop, which a thread would only slow down, and large ones in a thread.

    Args:
        threads: That onnxruntime may use for one batch.
        device: "cpu" or "cuda".
    """

    def __init__(self, threads: int = 1, device: str = "cpu") -> None:
        self._answering = Answering(threads, device)
        self.on_room: Callable[[], None] | None = None
        self._thread = ThreadPoolExecutor(1, "scoring")
        self._has_large = False

    async def load(self, key: str, bundle: Path) -> Manifest:
        """See `Backend.load`."""
        return await asyncio.to_thread(self._answering.load, key, bundle)

    async def unload(self, key: str) -> None:
        """See `Backend.unload`."""
        self._answering.unload(key)

    def has_room(self, is_large: bool) -> bool:
        """See `Backend.has_room`."""
        return not (is_large and self._has_large)

    def run(self, calls: Sequence[Call], is_large: bool, done: Done) -> None:
        """See `Backend.run`."""
        if not is_large:
            done(self._answering.answer(calls))
            return
        self._has_large = True
        loop = asyncio.get_running_loop()

        def finished(future: Future[list[Answer]]) -> None:
            loop.call_soon_threadsafe(self._finish, future, done)

        self._thread.submit(self._answering.answer, calls).add_done_callback(finished)

    async def take_inputs(self) -> InputCounts:
        """See `Backend.take_inputs`."""
        return self._answering.take_inputs()

    async def close(self) -> None:
        """See `Backend.close`."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _finish(self, future: Future[list[Answer]], done: Done) -> None:
        self._has_large = False
        done(future.result())
