"""One job: a table that is scored in the background."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

UPLOADING, NEW, QUEUED, RUNNING = "uploading", "new", "queued", "running"
DONE, FAILED, CANCELLED = "done", "failed", "cancelled"
ENDED = (DONE, FAILED, CANCELLED)
DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass
class Job:
    """A job.

    Attributes:
        id: 32 hex digits.
        owner: Name of the key that made it, "" where none is asked for; no other key sees it.
        model: Name.
        version: Of the model.
        bundle: Folder.
        name: Of the input, as the client knows it.
        input: File or folder that is scored.
        is_upload: Whether the input came with the request, and goes with the job.
        result: File.
        options: Of `Batch`, beside those above.
        state: "uploading", "new" (not to be scored yet), "queued", "running", "done", "failed" or "cancelled".
        created: Seconds since 1970.
        started: Likewise, None before.
        ended: Likewise.
        rows: That were answered.
        share: Of the input that was scored.
        bad: Rows without an answer.
        error: Why it failed.
        notes: What is to be told.
        idempotency: Key of the client, by which it is done once; None where there is none.
        asked: What the client asked for, to be the same with the same key.
        secret: Lets whoever knows it read the result.
        deaths: How often its process died without a word since it last got on.
        output: Name of the result, of a job of Azure's clients.
    """

    id: str
    owner: str
    model: str
    version: str
    bundle: Path
    name: str
    input: Path
    is_upload: bool
    result: Path
    options: Mapping[str, Any]
    state: str
    created: float
    started: float | None = None
    ended: float | None = None
    rows: int = 0
    share: float = 0.0
    bad: int = 0
    error: str = ""
    notes: Sequence[str] = field(default_factory=list)
    idempotency: str | None = None
    asked: str = ""
    secret: str = ""
    deaths: int = 0
    output: str = ""

    @property
    def bad_rows(self) -> Path:
        """The side file."""
        return self.result.with_name(f"{self.result.name}.bad_rows.csv")
