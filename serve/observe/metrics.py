"""Counts of a server, in the text format of Prometheus.

Source: https://prometheus.io/docs/instrumenting/exposition_formats (version 0.0.4). Its client library takes several
times as long a request as these dictionaries (`benchmarks/serving_observe.py`).
"""

from __future__ import annotations

import os
import sys
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ludocast.serve.http.message import Request, Response
from ludocast.serve.observe.inputs import WHAT, InputCounts, add_counts
from ludocast.serve.service import Service

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_CALLS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
_TOLD = {
    "values": "Values of a column in rows that were predicted; of lists each step counts.",
    "missing": "Missing values of a column.",
    "unknown": "Values that are none of the categories that the bundle lists: all, or the 50 most frequent.",
    "outside": "Numbers below the smallest or above the largest of the training.",
}
Labels = Mapping[str, str]


@dataclass(frozen=True)
class Family:
    """Samples of one name.

    Attributes:
        name: As Prometheus shows it.
        kind: "counter", "gauge" or "histogram".
        told: What it counts.
        samples: Suffix of the name, labels and value.
    """

    name: str
    kind: str
    told: str
    samples: Iterable[tuple[str, Labels, float]]


@dataclass(slots=True)
class Histogram:
    """How many values lie between bounds.

    Attributes:
        bounds: Upper ones, which belong to their part.
        counts: Of each part, the last one of what is above all.
        total: Sum of the values.
    """

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """A value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def samples(self, labels: Labels) -> Iterator[tuple[str, Labels, float]]:
        """As Prometheus wants them: each bound with all that is up to it."""
        below = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            below += count
            yield "_bucket", {**labels, "le": "+Inf" if bound == float("inf") else f"{bound:g}"}, below
        yield "_sum", labels, self.total
        yield "_count", labels, below


class Metrics:
    """Counts answers, batches and inputs of a service.

    Args:
        service: That answers.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._answers: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        self._seconds: dict[str, Histogram] = {}
        self._rows: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._batches = Histogram(_CALLS)
        self._inputs: InputCounts = {}
        service.batcher.on_batch = self._batches.add

    def __call__(self, request: Request, response: Response, seconds: float) -> None:
        """See `Observer`."""
        route, model = request.route, request.model
        self._answers[route, model, response.status] += 1
        found = self._seconds.get(route)
        if found is None:
            found = self._seconds[route] = Histogram(_SECONDS)
        found.add(seconds)
        if response.rows:
            self._rows[model, request.version] += response.rows

    async def text(self) -> str:
        """All that was counted."""
        add_counts(self._inputs, await self._service.backend.take_inputs())
        return "".join(_lines(self._families()))

    def _families(self) -> Iterator[Family]:
        yield Family(
            "ludocast_requests_total", "counter", "Answers by route, model and status of HTTP.",
            [("", {"route": route, "model": model, "status": str(status)}, count)
             for (route, model, status), count in self._answers.items()],
        )  # fmt: skip
        yield Family(
            "ludocast_request_seconds", "histogram", "From the last byte of a request to its answer.",
            [one for route, of in self._seconds.items() for one in of.samples({"route": route})],
        )  # fmt: skip
        yield Family(
            "ludocast_rows_total", "counter", "Rows that were predicted.",
            [("", {"model": model, "version": version}, count) for (model, version), count in self._rows.items()],
        )  # fmt: skip
        yield Family(
            "ludocast_batch_calls", "histogram", "Requests that were scored at once.", self._batches.samples({})
        )
        waiting = self._service.batcher.waiting
        yield Family("ludocast_queue_calls", "gauge", "Requests that wait to be scored.", [("", {}, waiting)])
        for place, what in enumerate(WHAT):
            yield Family(
                f"ludocast_input_{what}_total", "counter", _TOLD[what],
                [("", {"model": model, "version": version, "column": column}, numbers[place])
                 for (model, version, column), numbers in self._inputs.items()],
            )  # fmt: skip
        yield Family(
            "ludocast_shadow_answers_total", "counter", "Answers of a shadow beside those that were given.",
            list(self._shadows()),
        )  # fmt: skip
        yield from _process()

    def _shadows(self) -> Iterator[tuple[str, Labels, float]]:
        for name in self._service.deployments.names:
            deployment = self._service.deployments.deployment(name)
            if deployment.shadow is not None:
                version, shadow = deployment.shadow
                labels = {"model": name, "version": version.manifest.version}
                for result in ("same", "numbers_differ", "labels_differ", "failed", "skipped"):
                    yield "", {**labels, "result": result}, getattr(shadow.counts, result)


def _lines(families: Iterable[Family]) -> Iterator[str]:
    for family in families:
        yield f"# HELP {family.name} {family.told}\n# TYPE {family.name} {family.kind}\n"
        for suffix, labels, value in family.samples:
            text = ",".join(f'{name}="{_escaped(of)}"' for name, of in labels.items())
            yield f"{family.name}{suffix}{f'{{{text}}}' if text else ''} {value}\n"


def _escaped(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return escaped.encode("utf-8", "replace").decode()


_STARTED = time.time()


def _process() -> Iterator[Family]:
    """Of this process; with workers each has its own memory."""
    yield _gauge("process_start_time_seconds", "When the process started.", _STARTED)
    yield Family("process_cpu_seconds_total", "counter", "Of the processor.", [("", {}, time.process_time())])
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        yield _gauge("process_resident_memory_bytes", "In memory.", pages * os.sysconf("SC_PAGE_SIZE"))
        yield _gauge("process_open_fds", "Open files and connections.", len(os.listdir("/proc/self/fd")))


def _gauge(name: str, told: str, value: float) -> Family:
    return Family(name, "gauge", told, [("", {}, value)])
