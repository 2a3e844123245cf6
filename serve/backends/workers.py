"""Scoring in processes of their own: one that dies takes no request with it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ludocast.serve.backends.worker_link import WorkerEndedError, WorkerLink, WorkerOptions
from ludocast.serve.calls import LATE, Answer, Call, Done
from ludocast.serve.manifest import Manifest
from ludocast.serve.observe.inputs import InputCounts, add_counts

MOST_CRASHES = 3  # of workers over one call, or one bundle
MOST_KILLS = 10  # the same, of workers that were killed: as memory ran out, or by somebody who had no call in mind
_BACK_OFF = (0.0, 0.1, 0.5, 2.0)  # seconds before a worker is started again, by how many ended before they were ready
_KILLED = "scoring this request ended the process that did it, and so it was each time it was tried again"


@dataclass(eq=False)
class _Batch:
    """What `run` was given."""

    calls: Sequence[Call]
    is_large: bool
    done: Done
    until: float
    answers: dict[int, Answer] = field(default_factory=dict)


@dataclass(eq=False)
class _Part:
    """Calls of a batch that are scored together: all of them, or one that is tried again alone."""

    batch: _Batch
    numbers: Sequence[int]
    crashes: int = 0
    kills: int = 0


class WorkersBackend:
    """Keeps workers alive and gives each one batch at a time.

    What a worker had when it died is scored again, each call alone: so a call that ends its worker is told from those
    that came with it.

    Args:
        count: Of workers.
        options: Of each.
        deadline: Seconds within which a batch is scored.
        grace: Seconds beyond it, until the worker that has the batch is taken for hung.
    """

    def __init__(self, count: int, options: WorkerOptions, deadline: float, grace: float = 5.0) -> None:
        self._options = options
        self._deadline, self._grace = deadline, grace
        self._links = [WorkerLink(options, self._ended) for _ in range(count)]
        self._fruitless = [0] * count  # of each place: workers in a row that ended before they were ready
        self._bundles: dict[str, tuple[Path, Manifest]] = {}
        self._under_way: dict[WorkerLink, _Part] = {}
        self._again: deque[_Part] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_started = self._is_closing = False
        self.on_room: Callable[[], None] | None = None

    @property
    def pids(self) -> list[int]:
        """Of the workers that score."""
        return [link.pid for link in self._links if link.is_ready]

    @property
    def busy(self) -> set[int]:
        """Of those of them that have a batch."""
        return {link.pid for link in self._under_way}

    async def load(self, key: str, bundle: Path) -> Manifest:
        """See `Backend.load`; one worker tries it before the others load it, in turn where calls wait for them."""
        if not self._is_started:
            self._is_started = True
            await asyncio.gather(*(link.start() for link in self._links))
            for link in self._links:
                link.is_ready = True
            self._keep(self._watch())
        manifest = await self._try(key, bundle)
        is_first = not self._bundles
        self._bundles[key] = (bundle, manifest)
        others = [self._give(link, key) for link in self._links if link.is_ready and key not in link.keys]
        if is_first:
            await asyncio.gather(*others)
        else:
            for other in others:
                await other
        return manifest

    async def unload(self, key: str) -> None:
        """See `Backend.unload`."""
        del self._bundles[key]
        for link in self._links:
            link.unload(key)

    def has_room(self, is_large: bool) -> bool:
        """See `Backend.has_room`."""
        return not self._again and self._free(is_large) is not None

    def run(self, calls: Sequence[Call], is_large: bool, done: Done) -> None:
        """See `Backend.run`."""
        until = asyncio.get_running_loop().time() + self._deadline
        self._again.append(_Part(_Batch(calls, is_large, done, until), range(len(calls))))
        self._dispatch()

    async def take_inputs(self) -> InputCounts:
        """See `Backend.take_inputs`; what a worker has counted since is lost if it dies."""
        found: InputCounts = {}
        for counts in await asyncio.gather(*(link.take_inputs() for link in self._links if link.is_ready)):
            add_counts(found, counts)
        return found

    async def close(self) -> None:
        """See `Backend.close`."""
        self._is_closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(link.close() for link in self._links))

    # Bundles

    async def _try(self, key: str, bundle: Path) -> Manifest:
        """Have one worker load a bundle that may be anything."""
        for _ in range(MOST_CRASHES):
            while not (ready := [link for link in self._links if link.is_ready]):
                await asyncio.sleep(0.05)
            # The one that calls wait for least.
            link = min(ready, key=lambda one: one in self._under_way)
            try:
                return await link.load(key, bundle)
            except WorkerEndedError:
                continue
        raise ValueError(f"bundle {bundle}: loading it ends the process that does it; export the model again")

    async def _give(self, link: WorkerLink, key: str) -> None:
        """Have a worker load a bundle that another found right."""
        bundle, manifest = self._bundles[key]
        try:
            is_same = await link.load(key, bundle) == manifest
        except WorkerEndedError:  # the one after it loads all bundles
            return
        except ValueError as error:
            is_same = False
            print(error, file=sys.stderr)
        if not is_same:
            print(f"bundle {bundle} was changed while it is served; load it as a new version", file=sys.stderr)
            link.kill()

    # Batches

    def _free(self, is_large: bool) -> WorkerLink | None:
        if is_large:
            large = sum(part.batch.is_large for part in self._under_way.values())
            if large >= max(1, len(self._links) - 1):  # small ones are not to wait for large ones
                return None
        return next((link for link in self._links if link.is_free), None)

    def _dispatch(self) -> None:
        """Give what waits to workers that are free."""
        while self._again:
            part = self._again[0]
            link = self._free(part.batch.is_large)
            if link is None:
                return
            self._again.popleft()
            self._under_way[link] = part
            calls = part.batch.calls
            asked = calls if len(part.numbers) == len(calls) else [calls[number] for number in part.numbers]
            link.score(asked, part.batch.until + self._grace, partial(self._answered, link))
        if self.on_room is not None and self._free(is_large=False) is not None:
            self.on_room()

    def _answered(self, link: WorkerLink, answers: Sequence[Answer]) -> None:
        self._finish(self._under_way.pop(link), answers)
        self._dispatch()

    def _finish(self, part: _Part, answers: Sequence[Answer]) -> None:
        batch = part.batch
        batch.answers.update(zip(part.numbers, answers, strict=True))
        if len(batch.answers) == len(batch.calls):
            batch.done([batch.answers[number] for number in range(len(batch.calls))])

    def _refuse(self, part: _Part, status: int, sentence: str) -> None:
        self._finish(part, [Answer(status, error=sentence)] * len(part.numbers))

    # Life and death

    def _ended(self, link: WorkerLink) -> None:
        """A worker is gone: its batch is scored again, and another takes its place."""
        part = self._under_way.pop(link, None)
        if self._is_closing:
            if part is not None:
                self._refuse(part, 503, "the server stops; ask again")
            return
        self._keep(self._replace(link, part))

    def _try_again(self, part: _Part, was_killed: bool) -> None:
        """Have calls scored again, each alone, whose worker ended."""
        crashes, kills = part.crashes + (not was_killed), part.kills + was_killed
        if asyncio.get_running_loop().time() >= part.batch.until:
            self._refuse(part, LATE.status, LATE.error)
        elif crashes >= MOST_CRASHES or kills >= MOST_KILLS:
            print(f"a request was given up after {crashes + kills} workers ended over it", file=sys.stderr)
            self._refuse(part, 500, _KILLED)
        else:
            self._again.extendleft(_Part(part.batch, (number,), crashes, kills) for number in reversed(part.numbers))
            self._dispatch()

    async def _replace(self, old: WorkerLink, part: _Part | None) -> None:
        """Start a worker in the place of one that ended; what it had is scored again at once."""
        await old.close()
        place = self._links.index(old)
        print(f"worker {old.pid} ended with {old.exit_code}; another is started", file=sys.stderr)
        if part is not None:
            self._try_again(part, old.exit_code == -signal.SIGKILL)
        link = await self._start(place)
        # Bundles may come and go while it loads.
        while missing := [key for key in self._bundles if key not in link.keys]:
            await self._give(link, missing[0])
            if not link.is_alive:
                return
        if link.is_alive:
            link.is_ready = True
            self._fruitless[place] = 0
            self._dispatch()

    async def _start(self, place: int) -> WorkerLink:
        """A process in a place, sooner or later."""
        while True:
            await asyncio.sleep(_BACK_OFF[min(self._fruitless[place], len(_BACK_OFF) - 1)])
            self._fruitless[place] += 1
            link = self._links[place] = WorkerLink(self._options, self._ended)
            try:
                await link.start()
            except OSError as error:  # no memory, or too many files or processes
                print(f"a worker could not be started: {error}", file=sys.stderr)
                continue
            return link

    async def _watch(self) -> None:
        """Kill workers that hang, and refuse what waits too long for one."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1)
            now = loop.time()
            for link in self._links:
                if link.is_alive and link.kill_after < now:
                    print(f"worker {link.pid} hangs and is killed", file=sys.stderr)
                    link.kill()
            late = [part for part in self._again if part.batch.until < now]
            for part in late:
                self._again.remove(part)
                self._refuse(part, LATE.status, LATE.error)

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
