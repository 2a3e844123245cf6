"""Whether a server ever loses a request: workers killed, the server stopped, models exchanged, all under load.

Every answer is compared with the scorer's, and carries the id of its request, so that one that came twice or to another
request would be seen. A request is lost if it was sent over a connection that was made, and was not answered rightly.

    python benchmarks/serving_loss.py kills --bundle run/bundle --count 1000
    python benchmarks/serving_loss.py torchserve-kills --bundle run/bundle --count 200
    python benchmarks/serving_loss.py drains --bundle run/bundle --count 200
    python benchmarks/serving_loss.py reloads --bundle runs/a/bundle --other runs/b/bundle --count 200 [--workers 2]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from ludocast.serve.answers import answer_records
from ludocast.serve.check_rows import check_rows
from ludocast.serve.scorer import Scorer

ROWS = 20  # of a request
CONNECT_SECONDS = 5.0  # after which a connection that the kernel does not answer is given up
ANSWER_SECONDS = 60.0


class Questions:
    """Requests, and what the scorer answers to each, by the model's version.

    Args:
        bundles: Of one schema.
    """

    def __init__(self, bundles: Sequence[Path]) -> None:
        scorers = [Scorer.load(bundle) for bundle in bundles]
        manifest = scorers[0].manifest
        rows = [dict(row) for row in check_rows(manifest.inputs, manifest.sequence)]
        draw = random.Random(1)
        self.told: Counter[str] = Counter()  # answers by version
        self.bodies: list[bytes] = []
        self._answers: list[dict[str, Any]] = []
        for _ in range(50):
            asked = draw.choices(rows, k=ROWS)
            self.bodies.append(orjson.dumps(asked))
            # Through JSON and back, as a client sees them.
            self._answers.append(
                {
                    one.manifest.version: orjson.loads(orjson.dumps(answer_records(one.manifest, one.predict(asked))))
                    for one in scorers
                }
            )

    def is_right(self, number: int, body: bytes) -> bool:
        """Whether an answer is that of the version that it names."""
        answer = orjson.loads(body)
        wanted = self._answers[number].get(answer.get("version"))
        found = answer.get("predictions")
        self.told[answer.get("version")] += 1
        return wanted is not None and len(found) == ROWS and all(map(_is_near, found, wanted))


def _is_near(found: Any, wanted: Any) -> bool:
    """Equal, but for the last digits of numbers, which depend on how many rows share a run."""
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(_is_near(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, float):
        return abs(found - wanted) < 1e-6
    return bool(found == wanted)


@dataclass
class Tally:
    """What became of the requests."""

    answered: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0  # seconds

    def __str__(self) -> str:
        lost = sum(self.failures.values())
        told = f"{self.answered:,} requests answered rightly, {lost} lost, longest wait {self.longest:.2f} s"
        return told + "".join(f"\n  {count} x {what}" for what, count in self.failures.most_common())


class Client:
    """Asks one question after the other.

    Args:
        port: Of the server.
        questions: That are asked.
        tally: Of all clients.
        keeps: Whether a connection is used again.
    """

    def __init__(self, port: int, questions: Questions, tally: Tally, keeps: bool) -> None:
        self._port, self._questions, self._tally, self._keeps = port, questions, tally, keeps
        self._draw = random.Random(id(self))
        self.stopped = False

    async def run(self) -> None:
        """Until stopped, or until nobody listens any more."""
        while not self.stopped:
            try:
                reader, writer = await asyncio.wait_for(
                    asyncio.open_connection("127.0.0.1", self._port), CONNECT_SECONDS
                )
            except (TimeoutError, OSError):
                return  # not accepted, so nothing is lost
            try:
                while await self._ask(reader, writer) and self._keeps and not self.stopped:
                    pass
            finally:
                writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection may be used again."""
        number = self._draw.randrange(len(self._questions.bodies))
        body = self._questions.bodies[number]
        name = f"{self._draw.getrandbits(64):x}"
        begun = time.monotonic()
        head = (
            f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-Id: {name}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            writer.write(head.encode() + body)
            text = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ANSWER_SECONDS)
            size = re.search(rb"\r\nContent-Length: (\d+)\r\n", text)
            assert size is not None
            answer = await asyncio.wait_for(reader.readexactly(int(size[1])), ANSWER_SECONDS)
        except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            self._tally.failures[f"no answer: {type(error).__name__}"] += 1
            return False
        self._tally.longest = max(self._tally.longest, time.monotonic() - begun)
        if not text.startswith(b"HTTP/1.1 200 "):
            self._tally.failures[f"{text[9:12].decode()}: {answer[:100].decode()}"] += 1
        elif f"\r\nX-Request-Id: {name}\r\n".encode() not in text:
            self._tally.failures["the answer to another request"] += 1
        elif not self._questions.is_right(number, answer):
            self._tally.failures["a wrong answer"] += 1
        else:
            self._tally.answered += 1
        return b"\r\nConnection: close\r\n" not in text


class Load:
    """Clients that keep asking, half of them over new connections."""

    def __init__(self, port: int, questions: Questions, tally: Tally, count: int) -> None:
        self._clients = [Client(port, questions, tally, keeps=number % 2 == 0) for number in range(count)]
        self._tasks = [asyncio.create_task(client.run()) for client in self._clients]

    async def stop(self) -> None:
        """Have each get its last answer."""
        for client in self._clients:
            client.stopped = True
        await asyncio.gather(*self._tasks)


class Served:
    """A server process."""

    def __init__(self, bundle: Path, *options: str) -> None:
        words = ["serve", "--bundle", str(bundle), "--port", "0", "--access-log", "off", *options]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ludocast", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.port = int(line.split()[4].rpartition(":")[2])

    async def stop(self) -> tuple[int, str]:
        """Its exit code, and what it told."""
        self.process.send_signal(signal.SIGTERM)
        told = await asyncio.to_thread(self.process.communicate)
        return self.process.returncode, told[1]


def _workers(server: int) -> list[int]:
    """Workers that have loaded their bundles."""
    children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    pages = {}
    for pid in children:
        try:
            pages[int(pid)] = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return [pid for pid, count in pages.items() if count > 0.95 * _MEMORY["pages"]]


_MEMORY = {"pages": 0.0}  # resident pages of a worker that has loaded everything


async def _kill_some(
    server: Served, tally: Tally, draw: random.Random, count: int, alive: Callable[[int], list[int]], answers: int = 0
) -> int:
    """Kill workers at random moments, each once that many answers have come since the last; how many there were."""
    begun, killed = time.monotonic(), 0
    while killed < count and server.process.poll() is None:
        before = tally.answered
        while tally.answered < before + answers:
            await asyncio.sleep(0.02)
        await asyncio.sleep(draw.expovariate(1 / 0.1))
        found = alive(server.process.pid)
        if found:
            os.kill(draw.choice(found), signal.SIGKILL)
            killed += 1
            if killed % 50 == 0:
                print(f"{killed} kills in {time.monotonic() - begun:.0f} s: {tally}", flush=True)
    return killed


async def kills(bundle: Path, count: int) -> bool:
    """Workers are killed as soon as they have loaded everything."""
    questions, tally = Questions([bundle]), Tally()
    server = Served(bundle, "--workers", "2")
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    _MEMORY["pages"] = min(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in children)
    load = Load(server.port, questions, tally, 16)
    reader = asyncio.create_task(asyncio.to_thread(lambda: server.process.stderr.read()))  # type: ignore[union-attr]
    killed = await _kill_some(server, tally, random.Random(2), count, _workers)
    await load.stop()
    server.process.send_signal(signal.SIGTERM)
    told = await reader
    code = server.process.wait()
    print(f"{killed} workers killed, {told.count('worker ')} ended, exit code {code}: {tally}")
    return killed == count and code == 0 and not tally.failures


def _of_torchserve(server: int) -> list[int]:
    """TorchServe's workers below a server."""
    found, workers = [server], []
    for pid in found:
        try:
            for thread in Path(f"/proc/{pid}/task").iterdir():  # Java starts processes from any of its threads
                found += map(int, (thread / "children").read_text().split())
            if b"model_service_worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                workers.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return workers


async def torchserve_kills(bundle: Path, count: int) -> bool:
    """TorchServe's workers are killed, the next one once answers have come again."""
    questions, tally = Questions([bundle]), Tally()
    server = Served(bundle, "--torchserve", "--workers", "2")
    load = Load(server.port, questions, tally, 16)
    killed = await _kill_some(server, tally, random.Random(4), count, _of_torchserve, answers=16)
    await load.stop()
    code, _ = await server.stop()
    print(f"{killed} of TorchServe's workers killed, exit code {code}: {tally}")
    return killed == count and code == 0 and not tally.failures


async def drains(bundle: Path, count: int) -> bool:
    """The server is stopped while clients keep coming."""
    questions, tally, draw, codes = Questions([bundle]), Tally(), random.Random(3), Counter[int]()
    begun = time.monotonic()
    for number in range(count):
        server = Served(bundle)
        load = Load(server.port, questions, tally, 16)
        await asyncio.sleep(draw.uniform(0.05, 0.3))
        code, told = await server.stop()
        codes[code] += 1
        if told:
            print(told, end="")
        await load.stop()
        if number % 20 == 19:
            print(f"{number + 1} drains in {time.monotonic() - begun:.0f} s: {tally}", flush=True)
    print(f"{count} drains, exit codes {dict(codes)}: {tally}")
    return set(codes) == {0} and not tally.failures


def _admin(port: int, path: str, body: object = None) -> Any:
    data = None if body is None else orjson.dumps(body)
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/admin/models{path}", data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=120) as answer:
        return orjson.loads(answer.read())


async def reloads(bundle: Path, count: int, other: Path, workers: int) -> bool:
    """Two versions take turns; of ten changes one is a roll back, one a canary that is then made the live one."""
    bundles = [bundle.resolve(), other.resolve()]
    root = Path(os.path.commonpath(bundles))
    questions, tally, draw = Questions(bundles), Tally(), random.Random(4)
    server = Served(bundle, "--workers", str(workers), "--models-folder", str(root))
    name = _admin(server.port, "")["models"][0]["name"]
    load = Load(server.port, questions, tally, 16)
    begun = time.monotonic()
    for number in range(count):
        next_one = {"bundle": bundles[(number + 1) % 2].relative_to(root).as_posix()}
        if number % 10 == 5:
            await asyncio.to_thread(_admin, server.port, f"/{name}/rollback", {})
        else:
            if number % 10 == 8:
                await asyncio.to_thread(_admin, server.port, f"/{name}", {**next_one, "canary": "30%"})
                await asyncio.sleep(draw.uniform(0, 0.2))
            await asyncio.to_thread(_admin, server.port, f"/{name}", next_one)
        await asyncio.sleep(draw.uniform(0, 0.2))
        if number % 50 == 49:
            print(f"{number + 1} reloads in {time.monotonic() - begun:.0f} s: {tally}", flush=True)
    await load.stop()
    code, _ = await server.stop()
    versions = ", ".join(f"{told:,} by {version}" for version, told in questions.told.items())
    print(f"{count} reloads with --workers {workers}, answers {versions}, exit code {code}: {tally}")
    return code == 0 and not tally.failures


def main() -> int:
    """Exit code 0 if nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("kills", "torchserve-kills", "drains", "reloads"))
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--other", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    if options.what == "reloads":
        done = asyncio.run(reloads(options.bundle, options.count, options.other, options.workers))
    else:
        what = {"kills": kills, "torchserve-kills": torchserve_kills, "drains": drains}[options.what]
        done = asyncio.run(what(options.bundle, options.count))
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
