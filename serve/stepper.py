"""Players kept up with one event at a time: a state goes into the step graph with an event, and comes out renewed."""

# K numbers of a state

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ludocast.datamodules.cells import READERS, CellError
from ludocast.serve.bundle import Bundle, open_step
from ludocast.serve.check_answers import TOLERANCE
from ludocast.serve.feeds import refused_rows
from ludocast.serve.manifest import Input, Manifest
from ludocast.serve.scorer import Predictions
from ludocast.serve.sequence_feeds import SequenceFeeds
from ludocast.serve.taker import ManifestError

HEADER = struct.Struct("<8sd")  # the model's mark, seconds of the last event


@dataclass(frozen=True)
class PlayerState:
    """What is kept of a player between events.

    Attributes:
        numbers: float32 [K].
        last_time: Seconds since 1970 of the last event; NaN before the first, and where events have no times.
    """

    numbers: np.ndarray[Any, Any]
    last_time: float = math.nan


class Stepper:
    """Answers after each event, in the time of one step however many came before.

    After the events of a sequence the answer is that of the whole sequence, but for rounding. Events come in the order
    of time.

    Args:
        bundle: That was loaded.

    Raises:
        ValueError: If it has no step graph, or one that does not reproduce the bundle's check rows.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.manifest: Manifest = bundle.manifest
        try:
            self._run = open_step(bundle).run
        except ManifestError as error:
            raise ValueError(f"bundle {bundle.folder}: {error}") from error
        assert self.manifest.step is not None
        assert self.manifest.sequence is not None
        self._outputs = [*self.manifest.outputs, "new_state"]
        self._mark = bytes.fromhex(self.manifest.files[self.manifest.step.file])[: HEADER.size - 8]
        self._missing = frozenset(self.manifest.missing_tokens)
        self._sequence = self.manifest.sequence
        self._inputs = [item for item in self.manifest.inputs if item.form != "cell"]
        tensors = {item.column: item.tensor for item in self.manifest.inputs}
        self._time, self._now = (tensors.get(str(name)) for name in (self._sequence.time, self._sequence.now))
        feeds = bundle.reader.from_rows(self.manifest.check_rows.rows)
        assert isinstance(feeds, SequenceFeeds)
        try:
            self._check(feeds)
        except Exception as error:  # onnxruntime's exceptions have no common base class
            raise ValueError(
                f"bundle {bundle.folder}: its step graph fails ({error}); export the model again"
            ) from error

    @staticmethod
    def load(bundle: str | Path, threads: int = 1) -> Stepper:
        """Load a bundle's folder, with its checks.

        Args:
            bundle: The folder.
            threads: That one call of the model may use.

        Raises:
            ValueError: As `Scorer.load`, or if the bundle has no step graph.
        """
        return Stepper(Bundle.load(bundle, threads))

    def new_state(self) -> PlayerState:
        """Of a player without an event."""
        assert self.manifest.step is not None
        return PlayerState(np.zeros(self.manifest.step.state, np.float32))

    def update(self, state: PlayerState, event: Mapping[str, object]) -> tuple[PlayerState, Predictions]:
        """The state after an event, and the answer then.

        Args:
            state: Before it.
            event: A value, rather than a list, for each list column of the bundle.

        Raises:
            ValueError: If a value is absent or does not fit, or the event lies before the player's last one.
        """
        (new,), answer = self.update_many([state], [event])
        return new, answer

    def update_many(
        self, states: Sequence[PlayerState], events: Sequence[Mapping[str, object]]
    ) -> tuple[list[PlayerState], Predictions]:
        """The same for an event of each of several players, at once.

        Raises:
            ValueError: As `update`, with the row of the event.
        """
        if len(states) != len(events):
            raise ValueError(f"{len(states)} states and {len(events)} events; give one of each a player")
        if not states:
            return [], Predictions(np.empty(0, object), np.empty(0, object))
        tensors = {item.tensor: self._column(item, events) for item in self._inputs}
        last = np.array([state.last_time for state in states])
        tensors["state"] = np.stack([state.numbers for state in states])
        if self._time is not None:
            time = tensors[self._time][:, 0]
            self._check_times(time, last)
            tensors["last_time"], last = last[:, None], time
        if self._now is not None:
            tensors[self._now] = tensors[str(self._time)]
            tensors[self._sequence.length] = np.ones(len(states), np.int64)
        answer, new = self._answer(tensors)
        # Copies: a view would keep the states of all these players.
        return [PlayerState(numbers.copy(), time) for numbers, time in zip(new, last.tolist(), strict=True)], answer

    def ask(self, states: Sequence[PlayerState], now: object) -> Predictions:
        """The answers at a moment after the last events, such as who leaves by now.

        Args:
            states: Of N players, each with an event or more.
            now: The moment, as in a column of times.

        Raises:
            ValueError: If it is no time, lies before a player's last event, or the model's answers have no moment.
        """
        if self._now is None:
            raise ValueError("the answers of this model hold until the next event; there is no moment to ask about")
        last = np.array([[state.last_time] for state in states])
        item = next(item for item in self.manifest.inputs if item.tensor == self._now)
        at = self._column(item, [{item.column: now}])
        if np.isnan(last).any() or not (at >= last).all():
            raise ValueError(
                "ask about a moment not before the last event of each player; a player without an event has no answer"
            )
        tensors = {item.tensor: _nothing(item, len(states)) for item in self._inputs}
        tensors |= {"state": np.stack([state.numbers for state in states]), "last_time": last}
        tensors |= {self._now: np.repeat(at, len(states), 0), self._sequence.length: np.zeros(len(states), np.int64)}
        return self._answer(tensors)[0]

    def to_bytes(self, state: PlayerState) -> bytes:
        """16 + 4 K bytes, little-endian: 8 of the step graph's SHA-256, last time as float64, numbers as float32."""
        return HEADER.pack(self._mark, state.last_time) + state.numbers.astype("<f4").tobytes()

    def from_bytes(self, content: bytes) -> PlayerState:
        """The state that `to_bytes` wrote.

        Raises:
            ValueError: If it is none of this model, whose numbers would mean something else.
        """
        assert self.manifest.step is not None
        size = HEADER.size + 4 * self.manifest.step.state
        if len(content) != size or not content.startswith(self._mark):
            raise ValueError(
                f"these {len(content)} bytes are no state of model {self.manifest.name} {self.manifest.version}, which "
                f"has {size}; begin anew with new_state() and the player's events"
            )
        _, last_time = HEADER.unpack(content[: HEADER.size])
        return PlayerState(np.frombuffer(content, "<f4", offset=HEADER.size).astype(np.float32), last_time)

    def _answer(self, tensors: dict[str, np.ndarray[Any, Any]]) -> tuple[Predictions, np.ndarray[Any, Any]]:
        labels, probabilities, new = self._run(self._outputs, tensors)
        if self.manifest.has_lists:
            labels, probabilities = _rows(labels.tolist()), _rows(list(probabilities))
        return Predictions(labels, probabilities), new

    def _column(self, item: Input, events: Sequence[Mapping[str, object]]) -> np.ndarray[Any, Any]:
        read, found = READERS[item.kind], []
        for row, event in enumerate(events, 1):
            try:
                found.append(read(event[item.column], self._missing))
            except (KeyError, TypeError):
                raise refused_rows(self._inputs, events) from None
            except CellError as error:
                raise ValueError(f'row {row}, column "{item.column}": {error}') from None
        if item.kind == "category":
            return np.array(found, object).reshape(-1, 1)
        values = np.array(found, item.dtype).reshape(-1, 1)
        values[np.isinf(values)] = np.nan
        return values

    def _check_times(self, time: np.ndarray[Any, Any], last: np.ndarray[Any, Any]) -> None:
        for what, wrong in (("no time", np.isnan(time)), ("a time before the player's last event", time < last)):
            if wrong.any():
                row = int(np.flatnonzero(wrong)[0]) + 1
                column = self._sequence.time
                raise ValueError(f'row {row}, column "{column}": {what}; give events in the order of time')

    def _check(self, feeds: SequenceFeeds) -> None:
        """Replay the check rows event by event."""
        recorded = self.manifest.check_rows.probabilities
        for row, (begin, length) in enumerate(zip(feeds.begin, feeds.lengths, strict=True)):
            state, answer = self.new_state(), None
            for step in range(begin, begin + length):
                event = {item.column: feeds.steps[item.tensor][step] for item in self._inputs}
                state, answer = self.update(state, event)
            if answer is not None and self._now is not None:
                answer = self.ask([state], feeds.cells[self._now][row, 0])
            if answer is not None and not (np.abs(answer.probabilities[0] - recorded[row]) <= TOLERANCE).all():
                raise ValueError(f"it does not reproduce check row {row + 1}")


def _nothing(item: Input, count: int) -> np.ndarray[Any, Any]:
    if item.kind == "category":
        return np.full((count, 1), "", object)
    return np.full((count, 1), np.nan, item.dtype)


def _rows(rows: list[Any]) -> np.ndarray[Any, Any]:
    found = np.empty(len(rows), object)
    found[:] = rows
    return found
