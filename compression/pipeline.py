"""Stages that buckets pass through one behind the other, each in an ordered thread of its own.

No rank can hang on the order of collectives: a stage takes buckets in the order in which DDP made them ready, the same
on every rank, and each collective is the only one of its stage and process group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import torch
from torch import Tensor

TensorFuture = torch.futures.Future[Tensor]
Work = Callable[[], object]


class Promise:
    """A future whose errors reach `backward()` as errors.

    Args:
        device: Of the value; on a GPU who waits for the future waits for the stream that made the value.
    """

    def __init__(self, device: torch.device) -> None:
        self._inner: torch.futures.Future[Any] = torch.futures.Future(devices=[device] if device.type == "cuda" else [])
        # DDP reads the value in C++, where only an error raised in a callback is an error.
        self.future: TensorFuture = self._inner.then(_unwrap)

    def keep(self, value: Tensor) -> None:
        """Give the future its value."""
        self._inner.set_result(value)

    def fail(self, error: BaseException) -> None:
        """Have the future raise."""
        if not self._inner.done():
            self._inner.set_result(error)


def _unwrap(inner: torch.futures.Future[Any]) -> Tensor:
    value = inner.value()
    if isinstance(value, BaseException):
        raise value
    return cast(Tensor, value)


def ready(value: Tensor) -> TensorFuture:
    """A future that has its value."""
    future: TensorFuture = torch.futures.Future()
    future.set_result(value)
    return future


class Pipeline:
    """Threads, one a stage.

    Args:
        stages: Their names.
    """

    def __init__(self, stages: Sequence[str]) -> None:
        self._threads = [ThreadPoolExecutor(1, thread_name_prefix=f"1-bit {stage}") for stage in stages]
        self._streams: dict[torch.device, torch.cuda.Stream] = {}

    def aside(self, work: Sequence[Work], device: torch.device) -> list[Work]:
        """On a GPU the stages run on a stream of their own, after what the current one has been given so far."""
        if device.type != "cuda":
            return list(work)
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream, given = self._streams[device], torch.cuda.current_stream(device).record_event()

        def aside(act: Work) -> Work:
            def on_stream() -> None:
                with torch.cuda.stream(stream):
                    stream.wait_event(given)
                    act()

            return on_stream

        return [aside(act) for act in work]

    def submit(self, work: Sequence[Work], promises: Sequence[Promise]) -> None:
        """Pass through the stages; an error fails the promises and ends the passage.

        Args:
            work: What each stage does; what there is more of falls to the last stage.
            promises: Kept by the work itself.
        """
        self._threads[0].submit(self._pass, list(work), promises, 0)

    def _pass(self, work: list[Work], promises: Sequence[Promise], stage: int) -> None:
        last = stage == len(self._threads) - 1
        try:
            for act in work[stage:] if last else work[stage : stage + 1]:
                act()
        except BaseException as error:
            for promise in promises:
                promise.fail(error)
            return
        if not last:
            self._threads[stage + 1].submit(self._pass, work, promises, stage + 1)

    def drain(self) -> None:
        """Wait for what is under way."""
        for thread in self._threads:
            thread.submit(lambda: None).result()

    def close(self) -> None:
        """Wait for what is under way and end the threads."""
        self.drain()
        for thread in self._threads:
            thread.shutdown()
