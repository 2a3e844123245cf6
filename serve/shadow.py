"""A second version that is asked the same and never heard: its answers are compared with those that were given."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson
from ludocast.serve.calls import Answer, Backend, Call
from ludocast.serve.http.message import JSON

_MOST_WAITING = 64
_MOST_TOGETHER = 16
_LARGEST = 1 << 16  # bytes of a body; larger ones would take room from others
_SAME = 1e-6  # numbers as near as that are the same
_NAMES = frozenset(("version", "model", "model_version", "model_name"))  # in which two versions always differ


@dataclass
class Counts:
    """How a shadow's answers compare.

    Attributes:
        same: Equal, numbers within 1e-6.
        numbers_differ: Equal but for numbers.
        labels_differ: Of other labels, items or segments.
        failed: Refused by one of the two alone.
        skipped: Not asked, since the server had better things to do.
        largest_difference: Of two numbers.
    """

    same: int = 0
    numbers_differ: int = 0
    labels_differ: int = 0
    failed: int = 0
    skipped: int = 0
    largest_difference: float = 0.0

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def compare(self, given: Answer, shadow: Answer) -> None:
        """Count two answers to one request."""
        if given.status != shadow.status:
            self.failed += 1
            return
        difference = 0.0
        if given.status == 200:
            found = _difference(orjson.loads(given.body), orjson.loads(shadow.body))
            if found is None:
                self.labels_differ += 1
                return
            difference = found
        self.largest_difference = max(self.largest_difference, difference)
        if difference <= _SAME:
            self.same += 1
        else:
            self.numbers_differ += 1


class Shadow:
    """Asks a version what another has answered, when there is room for it.

    Args:
        key: Of the version.
        backend: That scores.
        is_idle: Whether no request waits.
    """

    def __init__(self, key: str, backend: Backend, is_idle: Callable[[], bool]) -> None:
        self.counts = Counts()
        self._key = key
        self._backend = backend
        self._is_idle = is_idle
        self._waiting: deque[tuple[Call, Answer]] = deque()
        self._runs = False
        self._ended: Callable[[], None] | None = None

    def add(self, call: Call, given: Answer) -> None:
        """An answer was given."""
        if len(call.body) > _LARGEST or given.content_type != JSON or len(self._waiting) >= _MOST_WAITING:
            self.counts.skipped += 1
            return
        self._waiting.append((call, given))
        self._run()

    def end(self, ended: Callable[[], None]) -> None:
        """Ask no more; `ended` is called once nothing is under way."""
        self._waiting.clear()
        if self._runs:
            self._ended = ended
        else:
            ended()

    def _run(self) -> None:
        # As a large call, which does not keep small ones waiting: in a thread, or never in all workers.
        if self._runs or not self._waiting or not self._is_idle() or not self._backend.has_room(is_large=True):
            return
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_TOGETHER))]
        self._runs = True
        calls = [replace(call, model=self._key) for call, _ in batch]

        def done(answers: Sequence[Answer]) -> None:
            self._runs = False
            for (_, given), answer in zip(batch, answers, strict=True):
                self.counts.compare(given, answer)
            if self._ended is not None:
                self._ended()
            else:
                self._run()

        self._backend.run(calls, is_large=True, done=done)


def _difference(a: Any, b: Any) -> float | None:
    """The largest of two documents' numbers; None where anything else differs."""
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return None
        return _largest([_difference(a[key], b[key]) for key in a if key not in _NAMES])
    if isinstance(a, list) and isinstance(b, list):
        return _largest([_difference(*pair) for pair in zip(a, b, strict=True)]) if len(a) == len(b) else None
    if isinstance(a, (int, float)) and isinstance(b, (int, float)) and not isinstance(a, bool):
        return abs(a - b)
    return 0.0 if a == b else None


def _largest(differences: Sequence[float | None]) -> float | None:
    known = [one for one in differences if one is not None]
    return max(known, default=0.0) if len(known) == len(differences) else None
