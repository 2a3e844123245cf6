"""Servers for tests, and a client that they do not know."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ludocast.serve.http.application import Guard
from ludocast.serve.http.listen import open_socket
from ludocast.serve.jobs.options import NO_JOBS, JobOptions
from ludocast.serve.observe.access_log import AccessLog
from ludocast.serve.server import Server
from ludocast.serve.trials import NO_TRIALS, Trials

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def listening(*bundles: str | Path, options: tuple[str, ...] = (), command: str = "serve") -> Iterator[str]:
    """Where a server process of its own listens; it has to end well."""
    words = [word for bundle in bundles for word in ("--bundle", str(bundle))]
    process = subprocess.Popen(
        [sys.executable, "-m", "ludocast", command, *words, "--port", "0", *options],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    found = re.search(r"https?://\S+", process.stdout.readline())
    assert found is not None
    try:
        yield found[0]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@contextmanager
def served(
    *bundles: str | Path,
    guard: Guard | None = None,
    log: AccessLog | None = None,
    jobs: JobOptions = NO_JOBS,
    trials: Trials = NO_TRIALS,
) -> Iterator[str]:
    """Where a server listens that runs in a thread of this process, which is quicker there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = Server(open_socket("127.0.0.1", 0), guard=guard, log=log, jobs=jobs, trials=trials)
    try:
        asyncio.run_coroutine_threadsafe(server.start([Path(one) for one in bundles]), loop).result(60)
        yield server.url
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Files of a certificate for 127.0.0.1 and of its key, made by openssl."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def ask(
    url: str, body: Any = None, method: str | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    """Status and JSON document of an answer."""
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=dict(headers) if headers else {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
