"""Requests by the hundred thousand that know a bundle's schema and break it, at a real server process.

    python benchmarks/serving_fuzz.py --bundle run/bundle --requests 100000 [--seed 1] [--connections 4]

Prints what was answered, how the server's memory went, and each sort of finding: a status of 500 or more, an answer to
another request, an error without row and column where one cell was wrong, no answer within 30 s.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from ludocast.serve.manifest import parse_manifest

from tests.serve.fuzzing import Fuzz, Tally, send_all

PART = 0.1  # of the requests, after which memory is looked at


def resident(pid: int) -> float:
    """Megabytes of a process in memory, of Linux."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--connections", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    manifest = parse_manifest((Path(asked.bundle) / "bundle.json").read_text(encoding="utf-8"))
    words = ["--bundle", asked.bundle, "--port", "0", "--access-log", "off", "--workers", str(asked.workers)]
    server = subprocess.Popen([sys.executable, "-m", "ludocast", "serve", *words], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    where = re.search(r"http://([\d.]+):(\d+)", server.stdout.readline())
    assert where is not None
    host, port = where.groups()
    tally, memory, failures = Tally(), [], []

    def send(requests: Fuzz, count: int) -> None:
        try:
            send_all((host, int(port)), iter(requests), count, tally)
        except BaseException as error:
            failures.append(error)

    sources = [Fuzz(manifest, asked.seed * 1000 + number) for number in range(asked.connections)]
    started = time.perf_counter()
    while tally.count < asked.requests and not failures:
        part = max(1, min(int(asked.requests * PART), asked.requests - tally.count) // len(sources))
        threads = [threading.Thread(target=send, args=(source, part)) for source in sources]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        memory.append(round(resident(server.pid), 1))
    seconds = time.perf_counter() - started
    ends_well = server.poll() is None
    server.send_signal(signal.SIGTERM)
    ends_well = server.wait(60) == 0 and ends_well
    print(f"{manifest.name} ({manifest.task}), seed {asked.seed}: {tally.count:,} requests in {seconds:.0f} s")
    by_kind: dict[str, Counter[int]] = {}
    for (kind, status), count in tally.answers.items():
        by_kind.setdefault(kind, Counter())[status] += count
    for kind, statuses in sorted(by_kind.items()):
        print(f"  {kind:<16}", ", ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items())))
    print(f"  memory after each tenth, MB: {memory}; the server {'ended well' if ends_well else 'DID NOT END WELL'}")
    for sort, (request, answer) in tally.findings.items():
        print(f"  FOUND: {sort}\n    {request[:2000]!r}\n    {answer[:600]!r}")
    for failure in failures:
        print(f"  FAILED: {json.dumps(repr(failure)[:3000])}")
    return 0 if ends_well and not tally.findings and not failures else 1


if __name__ == "__main__":
    sys.exit(main())
