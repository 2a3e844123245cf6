"""A Python for the tests that has imported torch, Lightning and ludocast already.

`python -m ludocast train …` works 4 seconds to import and then 1 for a training as small as those of the tests. What
this one runs has a process of its own, forked from one that has imported: streams, folder, environment, exit code and
signals are as usual, but for what cannot be passed on: SIGKILL kills it a moment after the process that a test sees,
and limits (`ulimit`) do not hold for it. Some tests of each command begin a Python as users do.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


@functools.cache
def warm_python() -> str:
    """Path of the program, to be used as sys.executable is; its server starts now and ends with this process.

    Elsewhere than on Linux it is sys.executable itself: what macOS's own libraries have begun does not outlive a fork.
    """
    if sys.platform != "linux":
        return sys.executable
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "server.py"), str(folder / "socket")]
    server = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {HERE / "client.py"} {folder / "socket"} "$0" "$@"\n')
    program.chmod(0o755)
    return str(program)
