"""Ten thousand connections that say nothing, and what they cost."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.serve.listening import ROOT, ask
from tests.serve.logistic import write_logistic

COUNT = 10_000
MOST_KB = 16  # of the server's memory, a connection


def _resident(pid: int) -> int:
    """KB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, and addresses 127.0.0.2 and so on")
def test_ten_thousand_idle_connections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most < COUNT + 500:
        pytest.skip(f"this process may open {most} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    bundle = write_logistic(tmp_path / "bundle")
    server = subprocess.Popen(
        [sys.executable, "-m", "ludocast", "serve", "--bundle", str(bundle), "--port", "0"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    clients: list[socket.socket] = []
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[4]
        row = {"age": 30, "plan": "pro", "active": True, "last seen ": None}
        wanted = ask(url + "/predict", row)
        before = _resident(server.pid)
        begun = time.monotonic()
        port = int(url.rpartition(":")[2])
        clients += (socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(COUNT))
        asked = time.monotonic()
        assert ask(url + "/predict", row) == wanted
        answered = time.monotonic()
        assert len(list(Path(f"/proc/{server.pid}/fd").iterdir())) > COUNT
        each = (_resident(server.pid) - before) / COUNT
        with capsys.disabled():
            print(
                f"\n{COUNT:,} idle connections, made in {asked - begun:.1f} s: {each:.1f} KB each, server {before / 1024:.0f}"
                f" MB before; a request among them in {1000 * (answered - asked):.1f} ms"
            )
        assert each < MOST_KB
    finally:
        for client in clients:
            client.close()
        server.terminate()
        assert server.wait(30) == 0
