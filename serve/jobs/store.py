"""The list of jobs, in SQLite: what is told to a client was on the disk before."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from ludocast.serve.jobs.job import ENDED, NEW, QUEUED, RUNNING, UPLOADING, Job

_FIELDS = [field.name for field in fields(Job)]
_PATHS = {"bundle", "input", "result"}
_DOCUMENTS = {"options", "notes"}
_KINDS = {"rows": "INTEGER", "bad": "INTEGER", "deaths": "INTEGER", "is_upload": "INTEGER", "created": "REAL"}
_KINDS |= {"started": "REAL", "ended": "REAL", "share": "REAL", "id": "TEXT PRIMARY KEY"}


class Store:
    """Jobs by id.

    Args:
        path: Of the data base; it is made where there is none.

    Raises:
        ValueError: If the file is no such data base.
    """

    def __init__(self, path: Path) -> None:
        self._base = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        columns = ", ".join(f"{name} {_KINDS.get(name, 'TEXT')}" for name in _FIELDS)
        try:
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.execute(f"CREATE TABLE IF NOT EXISTS jobs ({columns}, UNIQUE (owner, idempotency))")
            known = {row[1] for row in self._base.execute("PRAGMA table_info(jobs)")}
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{path} is no list of jobs: {error}") from error
        if known != set(_FIELDS):
            raise ValueError(f"{path} is of another ludocast; choose another --jobs")

    def add(self, job: Job) -> bool:
        """Take a job; False if its owner has one of the same key."""
        marks = ", ".join("?" for _ in _FIELDS)
        try:
            self._base.execute(f"INSERT INTO jobs ({', '.join(_FIELDS)}) VALUES ({marks})", _row(job))
        except sqlite3.IntegrityError:
            return False
        return True

    def save(self, job: Job) -> None:
        """Keep what has changed."""
        changes = ", ".join(f"{name} = ?" for name in _FIELDS)
        self._base.execute(f"UPDATE jobs SET {changes} WHERE id = ?", [*_row(job), job.id])

    def remove(self, job: Job) -> None:
        """Forget a job."""
        self._base.execute("DELETE FROM jobs WHERE id = ?", [job.id])

    def find(self, job_id: str) -> Job | None:
        """A job."""
        return self._one("id = ?", [job_id])

    def by_key(self, idempotency: str, owner: str) -> Job | None:
        """The job that was made with a key."""
        return self._one("idempotency = ? AND owner = ?", [idempotency, owner])

    def of(self, owner: str) -> list[Job]:
        """All of an owner, the newest first."""
        return self._all("owner = ? ORDER BY created DESC, id", [owner])

    def next(self) -> Job | None:
        """The one that waits the longest."""
        return self._one("state = ? ORDER BY created, id", [QUEUED])

    def ended_before(self, moment: float) -> list[Job]:
        """Those that ended, or were never begun, before a moment."""
        marks = ", ".join("?" for _ in ENDED)
        return self._all(
            f"(state IN ({marks}) AND ended < ?) OR (state = ? AND created < ?)", [*ENDED, moment, NEW, moment]
        )

    def restart(self) -> list[Job]:
        """Have those go on that were running when the server ended; those whose upload broke off, to be removed."""
        self._base.execute("UPDATE jobs SET state = ? WHERE state = ?", [QUEUED, RUNNING])
        return self._all("state = ?", [UPLOADING])

    def ids(self) -> set[str]:
        """Of all jobs."""
        return {row[0] for row in self._base.execute("SELECT id FROM jobs")}

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    def _one(self, where: str, values: Sequence[Any]) -> Job | None:
        found = self._all(f"{where} LIMIT 1", values)
        return found[0] if found else None

    def _all(self, where: str, values: Sequence[Any]) -> list[Job]:
        rows = self._base.execute(f"SELECT {', '.join(_FIELDS)} FROM jobs WHERE {where}", values)
        return [_job(row) for row in rows.fetchall()]


def _row(job: Job) -> list[Any]:
    values = {name: getattr(job, name) for name in _FIELDS}
    return [
        str(value) if name in _PATHS else json.dumps(value) if name in _DOCUMENTS else value
        for name, value in values.items()
    ]


def _job(row: Sequence[Any]) -> Job:
    values = dict(zip(_FIELDS, row, strict=True))
    for name in _PATHS:
        values[name] = Path(values[name])
    for name in _DOCUMENTS:
        values[name] = json.loads(values[name])
    values["is_upload"] = bool(values["is_upload"])
    return Job(**values)
