"""Microseconds of the processor that keys, limits, counts and the access log cost a request, and what others would.

    python benchmarks/serving_observe.py --bundle run/bundle

Each is called as the server calls it; the least of five rounds of 20,000 calls, the time of all threads.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from ludocast.serve.codecs.limits import check_depth, check_records
from ludocast.serve.http.message import Request, Response
from ludocast.serve.observe.access_log import AccessLog
from ludocast.serve.observe.inputs import InputCounter
from ludocast.serve.observe.metrics import Histogram, Metrics
from ludocast.serve.safety.guard import KeyGuard, OpenGuard
from ludocast.serve.safety.keys import KeyFile, new_key
from ludocast.serve.scorer import Scorer

CALLS = 20_000


def cost(call: Callable[[], object], finish: Callable[[], object] = lambda: None, calls: int = CALLS) -> float:
    """Microseconds a call; `finish` belongs to them."""
    rounds = []
    for _ in range(5):
        started = time.process_time()
        for _ in range(calls):
            call()
        finish()
        rounds.append(time.process_time() - started)
    return min(rounds) / calls * 1e6


class _Service:
    """What `Metrics` takes of one."""

    class batcher:  # noqa: N801
        on_batch = None
        waiting = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True)
    asked = parser.parse_args()
    scorer = Scorer.load(asked.bundle)
    row = dict(scorer.manifest.check_rows.rows[0])
    body = json.dumps([row]).encode()
    folder = Path(tempfile.mkdtemp())
    with KeyFile(folder / "keys.json") as file:
        for number in range(20):
            secret, key = new_key(f"client-{number}", ["predict"], "100000000/s")
            file.keys.append(key)
    request = Request(
        "POST", "/predict", {"host": "127.0.0.1:8080", "authorization": f"Bearer {secret}"}, body,
        id="1a2b3c4d-5", route="/predict", model=scorer.manifest.name, version=scorer.manifest.version,
    )  # fmt: skip
    response = Response(200, b"x" * 250, rows=1)
    guard, open_guard = KeyGuard(folder / "keys.json"), OpenGuard(is_loopback=True)
    metrics, log = Metrics(_Service()), AccessLog(folder / "log.jsonl")  # type: ignore[arg-type]
    counter = InputCounter(scorer.manifest)
    one = scorer.predict_rows([row]).feeds
    many = scorer.predict_rows([row] * 10_000).feeds
    assert one is not None
    assert many is not None

    def written() -> None:
        while log._waiting:
            time.sleep(0.01)

    print(f"bundle {scorer.manifest.name}: {len(scorer.manifest.inputs)} columns, a body of {len(body)} bytes; µs each")
    print(f"  a key of 20: hash, scope, rate      {cost(lambda: guard(request, 'predict')):6.2f}")
    print(f"  without keys: Host, Origin          {cost(lambda: open_guard(request, 'predict')):6.2f}")
    print(f"  depth of the JSON                   {cost(lambda: check_depth(body)):6.2f}")
    print(
        f"  columns, names, texts of a record   {cost(lambda: check_records([row], scorer.manifest, len(body))):6.2f}"
    )
    print(f"  counts and latency of an answer     {cost(lambda: metrics(request, response, 0.0012)):6.2f}")
    print(f"  access log, written to a file       {cost(lambda: log(request, response, 0.0012), written):6.2f}")
    print(f"  inputs of a row that came alone     {cost(lambda: counter.add(one), counter.take):6.2f}")
    print(f"  inputs of a row among 10,000        {cost(lambda: counter.add(many), counter.take, 50) / 10_000:6.3f}")
    log.close()
    try:
        import prometheus_client
    except ModuleNotFoundError:
        print("  (prometheus_client is not installed)")
        return
    registry = prometheus_client.CollectorRegistry()
    answers = prometheus_client.Counter("requests", "", ("route", "model", "status"), registry=registry)
    bounds = Histogram(
        (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
    ).bounds
    seconds = prometheus_client.Histogram("seconds", "", ("route",), buckets=bounds, registry=registry)
    rows = prometheus_client.Counter("rows", "", ("model", "version"), registry=registry)

    def theirs() -> None:
        answers.labels(request.route, request.model, "200").inc()
        seconds.labels(request.route).observe(0.0012)
        rows.labels(request.model, request.version).inc(1)

    print(f"  the same counts by prometheus_client{cost(theirs):6.2f}")


if __name__ == "__main__":
    main()
