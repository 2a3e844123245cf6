"""Requests that wait are scored as one batch; a lonely one waits for nobody."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ludocast.serve.calls import LATE, Answer, Backend, Call

FEW_BYTES = 1 << 16  # a body up to here shares a batch with others; a larger one is a batch of its own
MOST_CALLS = 256  # of a batch
MOST_BYTES = 1 << 20  # of a batch's bodies, reached by its last one: connections are looked at between batches
_WATCH_SECONDS = 1.0
Reply = Callable[[Answer], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    call: Call
    reply: Reply
    deadline: float


class Batcher:
    """Takes calls as they come and gives them to a backend in batches.

    No timer makes a batch: it is what came while the event loop looked at its connections once, or while the backend
    was busy.

    Args:
        backend: That scores.
        most_waiting: Calls that may wait; one more is refused.
        most_bytes: Of their bodies.
    """

    def __init__(self, backend: Backend, most_waiting: int = 4096, most_bytes: int = 256 << 20) -> None:
        self._backend = backend
        self._most_waiting, self._most_bytes = most_waiting, most_bytes
        self._small: deque[_Waiting] = deque()
        self._large: deque[_Waiting] = deque()
        self._bytes = 0
        self._scheduled = self._watched = False
        backend.on_room = self._schedule
        self.on_batch: Callable[[int], None] | None = None  # is told how many calls a batch has

    @property
    def waiting(self) -> int:
        """Calls that no backend has yet."""
        return len(self._small) + len(self._large)

    def submit(self, call: Call, reply: Reply, deadline: float) -> None:
        """Have a call answered.

        Args:
            call: That is to be scored.
            reply: Is called once, in the event loop's thread.
            deadline: Of the event loop's clock; a call that still waits then is not scored any more.
        """
        if self.waiting >= self._most_waiting or (self._bytes and self._bytes + len(call.body) > self._most_bytes):
            reply(Answer(429, error="too many requests wait; try again in a moment", headers={"Retry-After": "1"}))
            return
        self._bytes += len(call.body)
        lane = self._small if len(call.body) <= FEW_BYTES else self._large
        lane.append(_Waiting(call, reply, deadline))
        self._schedule()
        if not self._watched:
            self._watched = True
            asyncio.get_running_loop().call_later(_WATCH_SECONDS, self._watch)

    def _watch(self) -> None:
        """Refuse calls whose deadline passes while the backend has no room."""
        self._watched = bool(self.waiting)
        if not self._watched:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        loop.call_later(_WATCH_SECONDS, self._watch)
        for lane in (self._small, self._large):
            late = [one for one in lane if one.deadline < now]
            if late:
                in_time = [one for one in lane if one.deadline >= now]
                lane.clear()
                lane.extend(in_time)
                self._bytes -= sum(len(one.call.body) for one in late)
                self._refuse_late(late)

    def _schedule(self) -> None:
        if not self._scheduled and self.waiting:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """One batch of each lane; connections are looked at before the next."""
        self._scheduled = False
        if self._large and self._backend.has_room(is_large=True):
            self._run([self._large.popleft()], is_large=True)
            self._schedule()
        if self._small and self._backend.has_room(is_large=False):
            self._run(self._next_batch(), is_large=False)
            self._schedule()

    def _next_batch(self) -> Sequence[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._small and len(batch) < MOST_CALLS and size < MOST_BYTES:
            one = self._small.popleft()
            size += len(one.call.body)
            batch.append(one)
        return batch

    def _run(self, batch: Sequence[_Waiting], is_large: bool) -> None:
        self._bytes -= sum(len(one.call.body) for one in batch)
        now = asyncio.get_running_loop().time()
        late = [one for one in batch if one.deadline < now]
        if late:
            batch = [one for one in batch if one.deadline >= now]
            self._refuse_late(late)
        if batch:
            if self.on_batch is not None:
                self.on_batch(len(batch))
            self._backend.run([one.call for one in batch], is_large, partial(self._done, batch))

    def _done(self, batch: Sequence[_Waiting], answers: Sequence[Answer]) -> None:
        for one, answer in zip(batch, answers, strict=True):
            try:
                one.reply(answer)
            except Exception as error:  # those behind it get theirs all the same
                traceback.print_exception(error, file=sys.stderr)
        self._schedule()

    def _refuse_late(self, late: Sequence[_Waiting]) -> None:
        self._done(late, [LATE] * len(late))
