"""Jobs of a server: taken once, scored by processes of their own, gone on with after whatever ended the server."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import sys
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ludocast.datamodules.whole_files import sync_file
from ludocast.serve.batch.work import locked, work_folder
from ludocast.serve.http.message import RefusedError
from ludocast.serve.jobs.children import DiedError, Told, run_child
from ludocast.serve.jobs.job import CANCELLED, DISK_IS_FULL, DONE, ENDED, FAILED, QUEUED, RUNNING, UPLOADING, Job
from ludocast.serve.jobs.options import JobOptions
from ludocast.serve.jobs.store import Store

_OF_CSV = ("encoding", "delimiter")
MOST_DEATHS = 3  # of a job's process without getting on in between
_CLEAN_SECONDS = 60.0


class Jobs:
    """All jobs of one server.

    Args:
        options: Whose folder is made where there is none.

    Raises:
        ValueError: If another server has the folder, or it holds something else.
    """

    def __init__(self, options: JobOptions) -> None:
        assert options.jobs is not None
        self.options = options
        self._folder = options.jobs.absolute()
        self._files = self._folder / "files"
        self._files.mkdir(parents=True, exist_ok=True)
        self._lock = locked(self._folder)
        self.store = Store(self._folder / "jobs.sqlite")
        self._running: dict[str, asyncio.Task[Told]] = {}
        self._live: dict[str, Job] = {}
        self._changed = asyncio.Event()
        self._may_run = asyncio.Event()
        self._purging = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Go on with what an earlier server had not ended."""
        for job in self.store.restart():
            self._forget(job)
        known = self.store.ids()
        for folder in self._files.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)
        self._may_run.set()
        self._changed.set()
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self.options.job_processes)]
        self._tasks.append(asyncio.create_task(self._clean()))

    async def stop(self) -> None:
        """End the processes; the next server goes on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.store.close()
        self._lock.close()

    # What routes call

    def folder_of(self, job_id: str) -> Path:
        """Where a job's files are."""
        return self._files / job_id

    def new_id(self) -> str:
        """Of a job."""
        return uuid.uuid4().hex

    def take(self, job: Job) -> Job:
        """Take a job, or find the one that was taken with its key before.

        Raises:
            RefusedError: 409 while the other one is being uploaded, 422 if it is another job.
        """
        try:
            self.folder_of(job.id).mkdir()
            is_new = self.store.add(job)
        except (OSError, sqlite3.OperationalError) as error:
            shutil.rmtree(self.folder_of(job.id), ignore_errors=True)
            raise disk_is_full() from error
        if is_new:
            return job
        self.folder_of(job.id).rmdir()
        assert job.idempotency is not None
        earlier = self.store.by_key(job.idempotency, job.owner)
        if earlier is None or earlier.state == UPLOADING:
            raise RefusedError(409, "a job of this Idempotency-Key is being uploaded", {"Retry-After": "1"})
        if earlier.asked != job.asked:
            raise RefusedError(422, "another job was made with this Idempotency-Key; choose a new one")
        return earlier

    async def upload(self, job: Job, stream: AsyncIterator[bytes]) -> None:
        """Take the input of a job, and have it scored.

        Raises:
            RefusedError: 507 if the disk is full, 400 if there is nothing; then the job is gone.
        """
        try:
            with job.input.open("wb") as file:
                async for piece in stream:
                    file.write(piece)
                await asyncio.to_thread(sync_file, file)
            if job.input.stat().st_size == 0:
                raise RefusedError(400, "the body is empty; send a table")
        except BaseException as error:
            self._forget(job)
            if isinstance(error, OSError) and error.errno in DISK_IS_FULL:
                raise disk_is_full() from error
            raise
        self.begin(job)

    def begin(self, job: Job) -> None:
        """Have a job scored."""
        job.state, job.rows, job.share = QUEUED, 0, 0.0
        self.store.save(job)
        self._changed.set()

    def find(self, job_id: str, owner: str) -> Job:
        """A job, as it is now.

        Raises:
            RefusedError: 404.
        """
        job = self.find_any(job_id)
        if job is None or job.owner != owner:
            raise RefusedError(404, f'there is no job "{job_id[:40]}"; GET /jobs tells of all')
        return job

    def find_any(self, job_id: str) -> Job | None:
        """A job of whoever, for those who know its secret."""
        return self._live[job_id] if job_id in self._live else self.store.find(job_id)

    def of(self, owner: str) -> list[Job]:
        """All of an owner, the newest first."""
        return [self._live.get(job.id, job) for job in self.store.of(owner)]

    async def cancel(self, job: Job) -> None:
        """Stop a job; what it has answered goes."""
        await self._halt(job)
        if job.state not in ENDED:
            job.state, job.ended = CANCELLED, time.time()
            self.store.save(job)
        shutil.rmtree(work_folder(job.result), ignore_errors=True)

    async def remove(self, job: Job) -> None:
        """Stop a job, and leave nothing of it."""
        await self._halt(job)
        self._forget(job)

    async def purge(self, owner: str, column: str, value: str) -> Told:
        """Take a player's rows out of all uploads and results; jobs that are not done begin anew without them.

        Raises:
            RefusedError: 422 if a table cannot be read, 500 if the process died.
        """
        async with self._purging:
            return await self._purge(owner, column, value)

    async def _purge(self, owner: str, column: str, value: str) -> Told:
        jobs = [job for job in self.of(owner) if job.state != UPLOADING]
        self._may_run.clear()
        try:
            for job in jobs:
                await self._halt(job)
                shutil.rmtree(work_folder(job.result), ignore_errors=True)
            plain = ("utf-8", None)
            places = {place: plain for job in jobs for place in (job.result, job.bad_rows)}
            uploads = [job for job in jobs if job.is_upload]
            places |= {
                job.input: (job.options.get("encoding", plain[0]), job.options.get("delimiter")) for job in uploads
            }
            files = {str(place): how for place, how in places.items() if place.is_file()}
            task = {
                "purge": files, "column": column, "value": value, "names": {f"{self._files}/": ""},
                "megabytes": self.options.job_memory,
            }  # fmt: skip
            told = await run_child(task, lambda _: None)
            for job in uploads:  # as they are written now
                job.options = {name: value for name, value in job.options.items() if name not in _OF_CSV}
        except DiedError as error:
            raise RefusedError(500, "the purge did not come to its end; try again") from error
        finally:
            for job in jobs:
                if job.state in (QUEUED, RUNNING):
                    self.begin(job)
            self._may_run.set()
        if "error" in told:
            raise RefusedError(422, str(told["error"]))
        return {"jobs": len(jobs), "tables": len(files), **told["done"]}

    # Working

    async def _work(self) -> None:
        while True:
            await self._may_run.wait()
            job = self.store.next()
            if job is None or job.id in self._live:  # the latter: another is about to have it
                self._changed.clear()
                await self._changed.wait()
                continue
            job.state = RUNNING
            job.started = time.time() if job.started is None else job.started
            self._live[job.id] = job
            await self._save(job)
            task = asyncio.create_task(self._score(job))
            self._running[job.id] = task
            try:
                # Cancelled by `_halt`, the job is another's; cancelled with this server, it is the next server's.
                await asyncio.wait([task])
                with suppress(asyncio.CancelledError):
                    _end(job, task)
                await self._save(job)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                self._running.pop(job.id, None)
                self._live.pop(job.id, None)

    async def _score(self, job: Job) -> Told:
        names = {str(job.input): job.name, str(job.result): "the result", f"{self._files}/": ""}
        if self.options.job_files is not None:
            names[f"{self.options.job_files.absolute()}/"] = ""
        task = {
            "bundle": str(job.bundle), "input": str(job.input), "output": str(job.result), "options": job.options,
            "names": {**names, str(job.bundle): f"the bundle of {job.model}"}, "megabytes": self.options.job_memory,
        }  # fmt: skip

        def watch(told: Told) -> None:
            if told["rows"] > job.rows:
                job.deaths = 0
            job.rows, job.share, job.bad = max(told["rows"], job.rows), told["share"], told["bad"]

        return await run_child(task, watch)

    async def _save(self, job: Job) -> None:
        """Keep what has changed, as soon as there is room on the disk."""
        while True:
            try:
                self.store.save(job)
            except sqlite3.OperationalError as error:
                print(f"job {job.id} cannot be saved: {error}", file=sys.stderr)
                await asyncio.sleep(1)
            else:
                return

    async def _halt(self, job: Job) -> None:
        """End the process of a job."""
        task = self._running.get(job.id)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _forget(self, job: Job) -> None:
        self.store.remove(job)
        self._live.pop(job.id, None)
        shutil.rmtree(self.folder_of(job.id), ignore_errors=True)

    async def _clean(self) -> None:
        while True:
            try:
                for job in self.store.ended_before(time.time() - self.options.seconds):
                    self._forget(job)
            except sqlite3.OperationalError as error:
                print(f"jobs cannot be removed: {error}", file=sys.stderr)
            await asyncio.sleep(min(_CLEAN_SECONDS, self.options.seconds))


def _end(job: Job, task: asyncio.Task[Told]) -> None:
    if job.state != RUNNING:  # it was stopped meanwhile
        return
    try:
        told = task.result()
    except DiedError as error:
        job.deaths += 1
        job.state = QUEUED
        if job.deaths >= MOST_DEATHS:
            job.state, job.error = FAILED, f"the process that scored it died {job.deaths} times: {error}"
    except OSError as error:
        job.state, job.error = FAILED, f"no process could be started: {error.strerror}"
    except Exception as error:
        print(f"job {job.id}:", file=sys.stderr)
        traceback.print_exception(error)
        job.state, job.error = FAILED, "the server failed; its log tells why"
    else:
        if "error" in told:
            job.state, job.error = FAILED, str(told["error"])
        else:
            job.state, job.share = DONE, 1.0
            job.rows, job.bad, job.notes = told["done"]["rows"], told["done"]["bad"], told["done"]["notes"]
    job.ended = time.time() if job.state in ENDED else None


def state_of(job: Job, now: float) -> Mapping[str, Any]:
    """What a client is told."""
    left = None
    if job.state == RUNNING and job.started is not None and job.share > 0:
        left = round((now - job.started) * (1 - job.share) / job.share, 1)
    return {
        "id": job.id,
        "state": job.state,
        "model": job.model,
        "version": job.version,
        "input": job.name,
        "rows": job.rows,
        "share": round(job.share, 4),
        "seconds_left": left,
        "bad_rows": job.bad,
        "created": job.created,
        "started": job.started,
        "ended": job.ended,
        "error": job.error if job.error else None,
        "notes": list(job.notes),
        "result": f"/jobs/{job.id}/result" if job.state == DONE else None,
    }


def disk_is_full() -> RefusedError:
    """For a client whose table finds no room."""
    return RefusedError(507, "the server's disk is full; delete jobs that are done, or ask its keeper")
