"""The process that scores a job, or purges files: told what to do by a line of JSON, it tells how far it is by lines.

It ends with the server that started it, however that ends, and what it has answered is gone on with by the next one.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ludocast.serve.batch.batch import Batch, Progress
from ludocast.serve.batch.run import run_batch
from ludocast.serve.jobs.job import DISK_IS_FULL
from ludocast.serve.jobs.purge import purge_files
from ludocast.serve.notes import sentences
from ludocast.serve.suggest_options import options_of_records
from ludocast.serve.tables.source import Reading

_TOLD_SECONDS = 0.2


def main() -> None:
    """Do what the first line of standard input says."""
    line = sys.stdin.readline()
    if not line:  # the server ended before it could say what to do
        return
    task = json.loads(line)
    threading.Thread(target=_end_with_server, daemon=True).start()
    if sys.platform != "win32":
        os.nice(10)  # requests come first
        _limit_memory(task["megabytes"] << 20)
    try:
        if "purge" in task:
            files = {
                Path(path): Reading(encoding, delimiter, leave_out=True)
                for path, (encoding, delimiter) in task["purge"].items()
            }
            _tell({"done": purge_files(files, task["column"], task["value"])})
        else:
            _score(task)
    except MemoryError:
        _tell({"error": "the table needs more memory than a job may take"})
    except (ValueError, OSError) as error:
        text = "the server's disk is full" if getattr(error, "errno", 0) in DISK_IS_FULL else str(error)
        for place, name in task["names"].items():  # no path of the host
            text = text.replace(place, name)
        _tell({"error": text})


def batch_of(bundle: Path, input: Path, output: Path, options: Mapping[str, Any]) -> Batch:  # noqa: A002
    """What a job has scored.

    Args:
        bundle: Folder.
        input: Table.
        output: Of the result.
        options: By the names of `ludocast score`.

    Raises:
        ValueError: If an option is unknown or does not fit.
    """
    own = dict(options)
    suggest = options_of_records([own.pop("suggest", {})])[0]
    # What is left of an earlier try is gone on with if nothing has changed.
    return Batch(bundle, input, output, suggest=suggest, overwrite=True, resume=True, **own)


def _score(task: Mapping[str, Any]) -> None:
    batch = batch_of(Path(task["bundle"]), Path(task["input"]), Path(task["output"]), task["options"])
    last = 0.0

    def watch(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _TOLD_SECONDS:
            last = now
            _tell({"rows": progress.rows, "share": progress.share, "bad": progress.bad})

    outcome = run_batch(batch, watch)
    _tell({"done": {"rows": outcome.rows, "bad": outcome.bad, "notes": sentences(outcome.notes)}})


def _tell(document: Mapping[str, Any]) -> None:
    print(json.dumps(document), flush=True)


def _limit_memory(size: int) -> None:
    """A small file may hold a table that is none: a Parquet page says "the same again" a billion times."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (size if most == resource.RLIM_INFINITY else min(size, most), most))


def _end_with_server() -> None:
    while sys.stdin.read(1):  # nothing is sent; at the end of the server it ends
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
