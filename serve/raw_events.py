"""Players as raw events: what a model of an event log needs to know of each, worked out by its bundle alone."""

# N records, a player each

from __future__ import annotations

import datetime as dt
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ludocast.datamodules.cells import CellError, read_number
from ludocast.datamodules.etl.rules import DAY_MS
from ludocast.datamodules.feature_state import Definition, Event, FeatureState, features_of, read_definition
from ludocast.datamodules.schema import MISSING_TOKENS
from ludocast.serve.bundle import Bundle, read_model
from ludocast.serve.notes import Note, about_rows
from ludocast.serve.taker import ManifestError

FEATURES_FILE = "features.json"
EVENTS, AT = "events", "at"
ROLES = ("time", "event", "amount", "level", "session")
_LATER = Note("", 'event at or after "at" was left out', 'events at or after "at" were left out')
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_PER_SECOND = (1, 10**3, 10**6, 10**9)
# Seconds of the years 2000 and 2100; the units of numbers between the two do not overlap.
_EARLIEST, _LATEST = 946_684_800, 4_102_444_800
_BLANKS = " \t\n\r\v\f"
_TOKENS = frozenset(MISSING_TOKENS)


@dataclass(frozen=True)
class EventRows:
    """Players described by their events.

    Attributes:
        columns: Feature to numbers [N], None where one is missing.
        ignored: What records and events hold beside what is read.
        notes: What was left out, and how often.
    """

    columns: Mapping[str, Sequence[float | None]]
    ignored: tuple[str, ...] = ()
    notes: Mapping[Note, int] = field(default_factory=dict)


class EventReader:
    """Reads records of events for one bundle.

    Args:
        definition: Of the features.
    """

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        contents = definition.contents
        there = {"event": bool(contents.types), "amount": contents.amount, "level": contents.level,
                 "session": contents.session}  # fmt: skip
        self.roles = ("time", *(role for role in ROLES[1:] if there[role]))
        # Of an event without an amount or a level there is none; a type or a session that is absent is a mistake.
        self._needed = tuple(role for role in self.roles if role not in ("amount", "level"))

    def from_records(self, records: Sequence[Any]) -> EventRows:
        """Features of the players of some records.

        Args:
            records: Each with "events", a list of records with "time" and, as the log of the training had it, "event",
                "amount", "level" and "session"; and, if one likes, "at", the day of whose midnight (UTC) features tell,
                by default the one after the last event.

        Raises:
            ValueError: With row and event, from 1, if one does not fit.
        """
        states, days = [], []
        ignored: dict[str, None] = {}
        notes = Counter[Note]()
        for row, record in enumerate(records, 1):
            try:
                state, at = self._state(record, ignored, notes)
            except ValueError as error:
                raise ValueError(f"row {row}{error}") from error
            states.append(state)
            days.append(at)
        return EventRows(self._features(states, np.array(days, np.int64)), tuple(ignored), dict(notes))

    def _state(self, record: Any, ignored: dict[str, None], notes: Counter[Note]) -> tuple[FeatureState, int]:
        if not isinstance(record, Mapping) or EVENTS not in record:
            raise ValueError(f' has no "{EVENTS}"; all records of a request hold events, or none does')
        ignored.update(dict.fromkeys(name for name in record if name not in (EVENTS, AT)))
        entries = record[EVENTS]
        if not isinstance(entries, (list, tuple)) or not entries:
            raise ValueError(f': "{EVENTS}" is a list of one event or more, such as {{"time": "2026-01-31T18:00:00Z"}}')
        events = []
        for number, entry in enumerate(entries, 1):
            try:
                events.append(self._event(entry))
            except ValueError as error:
                raise ValueError(f", event {number}: {error}") from error
            ignored.update(dict.fromkeys(name for name in entry if name not in self.roles))
        # Of one instant, as in a log: by session, those without one last.
        events.sort(key=lambda event: (event.time, event.session is None, event.session or ""))
        at = _day(record.get(AT), events[-1].time // DAY_MS + 1)
        state = FeatureState(self.definition)
        known = [event for event in events if event.time < at * DAY_MS]
        if len(known) < len(events):
            notes[_LATER] += len(events) - len(known)
        for event in known:
            try:
                state.update(event)
            except ValueError as error:
                raise ValueError(f": {error}") from error
        days = state.days(at)
        if not days:
            raise ValueError(
                f": no event in the {self.definition.rules.observe} days before {_date(at)}, so there is nothing to "
                "tell by"
            )
        within = self.definition.rules.active_within
        if days[-1][0] < at - within:
            notes[about_rows(f'no event in the {within} days before "{AT}", as all had in training')] += 1
        return state, at

    def _event(self, entry: Any) -> Event:
        if not isinstance(entry, Mapping):
            raise ValueError(f'expected a record such as {{"time": "2026-01-31T18:00:00Z"}}, got {_shown(entry)}')
        for role in self._needed:
            if role not in entry:
                null = "" if role == "time" else "; give null where there is none"
                raise ValueError(f'has no "{role}"{null}')
        return Event(
            _time(entry["time"]),
            _text("event", entry["event"]) if "event" in self.roles else None,
            _number("amount", entry.get("amount")) if "amount" in self.roles else None,
            _number("level", entry.get("level")) if "level" in self.roles else None,
            _text("session", entry["session"]) if "session" in self.roles else None,
        )

    def _features(self, states: list[FeatureState], days: np.ndarray) -> dict[str, list[float | None]]:
        outputs = self.definition.program.outputs
        table = {output.name: np.full(len(states), np.nan) for output in outputs}
        for at in np.unique(days).tolist():
            rows = np.flatnonzero(days == at)
            _, found = features_of([states[row] for row in rows], at)
            for name, values in found.items():
                table[name][rows] = values
        return {output.name: _cells(table[output.name], output.whole) for output in outputs}


def event_reader(bundle: Bundle) -> EventReader | None:
    """What reads events for a bundle; None where it was not trained on an event log.

    Raises:
        ValueError: If the bundle's definition of features is none, or of a newer release.
    """
    if FEATURES_FILE not in bundle.manifest.files:
        return None
    try:
        content = read_model(bundle.folder, bundle.manifest, FEATURES_FILE)
        definition = read_definition(json.loads(content))
        names = {output.name for output in definition.program.outputs}
        absent = [item.column for item in bundle.manifest.inputs if item.column not in names]
        if absent:
            raise ValueError(f'it does not tell "{absent[0]}", which the model reads')
    except ManifestError as error:
        raise ValueError(f"bundle {bundle.folder}: {error}") from error
    except ValueError as error:
        raise ValueError(f"bundle {bundle.folder}: {FEATURES_FILE}: {error}") from error
    return EventReader(definition)


def _cells(values: np.ndarray, whole: bool) -> list[float | None]:
    """A feature as snapshots hold it: whole numbers as such, None where it is missing."""
    return [None if math.isnan(value) else int(value) if whole else value for value in values.tolist()]


def _day(value: Any, usual: int) -> int:
    if value is None:
        return usual
    try:
        if not isinstance(value, str):
            raise ValueError
        return (dt.date.fromisoformat(value) - _EPOCH.date()).days
    except ValueError as error:
        raise ValueError(f': "{AT}" is a date such as 2026-01-31, got {_shown(value)}') from error


def _date(day: int) -> str:
    return (_EPOCH.date() + dt.timedelta(days=day)).isoformat()


def _time(value: Any) -> int:
    """Milliseconds since 1970, parts of them cut off, as a log's times are read."""
    time = None
    if isinstance(value, str):
        try:
            moment = dt.datetime.fromisoformat(value.strip())
        except ValueError:
            moment = None
        if moment is not None:
            moment = moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment
            time = (moment - _EPOCH) // dt.timedelta(milliseconds=1)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        for factor in _PER_SECOND:
            if _EARLIEST * factor <= value < _LATEST * factor:
                time = math.floor(value * (1000 // factor)) if factor <= 1000 else int(value) // (factor // 1000)
    if time is None or not _EARLIEST * 1000 <= time < _LATEST * 1000:
        raise ValueError(
            f'"time" is ISO 8601 text such as "2026-01-31T18:00:00Z", or a number since 1970 in s, ms, µs or ns, of '
            f"the years 2000 to 2099; got {_shown(value)}"
        )
    return time


def _text(role: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value.strip(_BLANKS) if role == "event" else value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f'"{role}" is text, got {_shown(value)}')


def _number(role: str, value: Any) -> float | None:
    try:
        number = read_number(value, _TOKENS)
    except CellError as error:
        raise ValueError(f'"{role}" is a number, got {_shown(value)}') from error
    return None if math.isnan(number) else number


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
