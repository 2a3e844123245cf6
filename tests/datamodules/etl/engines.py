"""Real engines for the tests: a PostgreSQL server and a Spark session, started here and stopped again."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def _binaries() -> Path | None:
    """The folder of PostgreSQL's programs; Debian keeps them off the path, one folder a version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    program = shutil.which("initdb")
    return None if program is None else Path(program).resolve().parent


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a fresh server that listens on a socket alone."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="no driver of PostgreSQL: pip install 'ludocast[postgres]'")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # The server refuses to be started by root.
        user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        become = ["runuser", "-u", user, "--"] if os.geteuid() == 0 else []
        if become:
            try:
                shutil.chown(folder, user)
            except LookupError:
                pytest.skip("root has no user postgres to start a server as")
        data = folder / "data"
        run = [*become, str(binaries / "initdb"), "-D", str(data), "-A", "trust", "-U", "tester", "-E", "UTF8"]
        subprocess.run([*run, "--no-sync", "--locale=C"], check=True, capture_output=True, cwd=folder)
        options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_parallel_workers_per_gather=0"
        control = [*become, str(binaries / "pg_ctl"), "-D", str(data), "-w"]
        start = [*control, "-l", str(folder / "log.txt"), "-o", options, "start"]
        subprocess.run(start, check=True, capture_output=True, cwd=folder)
        try:
            yield f"postgres://tester@/postgres?host={folder}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd=folder)


def java() -> bool:
    """Whether Spark can run."""
    return shutil.which("java") is not None or "JAVA_HOME" in os.environ
