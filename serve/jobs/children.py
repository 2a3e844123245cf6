"""Processes that work for a server, and end with it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

Told = Mapping[str, Any]
_LONGEST_LINE = 64 << 20  # bytes; the last word has a sentence for each column that is not read, or was not as trained


class DiedError(Exception):
    """A process ended without a last word."""


async def run_child(task: Mapping[str, Any], watch: Callable[[Told], None]) -> Told:
    """Have a task done by a process of its own, which is killed if this call is cancelled.

    Args:
        task: For `ludocast.serve.jobs.worker`.
        watch: Is called with what it tells meanwhile.

    Returns:
        Its last word, with "done" or "error".

    Raises:
        DiedError: If there was none.
    """
    command = (sys.executable, "-m", "ludocast.serve.jobs.worker")
    pipe = asyncio.subprocess.PIPE
    # A session of its own: Ctrl-C is the server's.
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, start_new_session=True, limit=_LONGEST_LINE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        # Left open: its end is that of this server.
        process.stdin.write(json.dumps(task).encode() + b"\n")
        last: Told = {}
        while line := await process.stdout.readline():
            last = json.loads(line)
            if not {"done", "error"} & last.keys():
                watch(last)
        code = await process.wait()
        if not {"done", "error"} & last.keys():
            raise DiedError(f"exit status {code}")
        return last
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        process.stdin.close()
