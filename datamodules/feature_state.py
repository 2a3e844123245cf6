"""What is known of one player, event by event: the days of the window as small whole numbers, ready for the features.

The same days as `datamodules/etl/days.py` makes of a whole log, and a test holds the two against each other; what the
features make of these days is written once, in `datamodules/etl/features.py`, and comes here as a program.
"""

# R days of all players, B players, C columns of a day

from __future__ import annotations

import functools
import hashlib
import json
import math
import zoneinfo
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import numpy as np
from ludocast.datamodules.day_bytes import DayPacker, read_numbers, write_numbers
from ludocast.datamodules.etl.rules import (
    DAY_MS,
    HOUR_PARTS,
    MILLIONTHS,
    WEEKDAYS,
    Contents,
    Rules,
    contents_of_document,
    rules_of,
)
from ludocast.datamodules.feature_program import Array, FeatureProgram, Values, read_program

FORMAT = 1
WINDOW_COLUMNS = ("s", "begin", "age")
QUARTER_MS = 900_000  # clocks change at quarters of an hour
LARGEST_AMOUNT = 1e12  # as in a log, amounts beyond are no money
LARGEST_SUM = 1 << 62
LARGEST_LEVEL = (1 << 31) - 1
_BLANKS = " \t\n\r\v\f"
_HEAD = 9  # bytes: format, and of which definition a state is


class Event(NamedTuple):
    """Something that a player did.

    Attributes:
        time: Milliseconds since 1970.
        type: Its type; None where it has none.
        amount: Money; None for none.
        level: The player's level; None where it is not told.
        session: Name of the session, where the log names them.
    """

    time: int
    type: str | None = None
    amount: float | None = None
    level: float | None = None
    session: str | None = None


def day_columns(contents: Contents) -> list[str]:
    """Names of what is known of a player's day, as `player_days` has them."""
    names = ["day", "previous", "week_before", "run", "events", "last"]
    if contents.clock:
        names += ["sessions", "played", "went_on", "carried"]
        names += [f"hours_{part}" for part in range(HOUR_PARTS)]
        names += [f"weekday_{number}" for number in range(WEEKDAYS)]
    names += [f"type_{number}" for number in range(len(contents.types))]
    if contents.amount:
        names += ["spent", "payments", "largest"]
    if contents.level:
        names += ["level", "lowest"]
    return names


@dataclass(frozen=True)
class Definition:
    """What a player's state and features are.

    Attributes:
        rules: Lengths of the windows and the like.
        contents: What events hold.
        program: Of the features.
    """

    rules: Rules
    contents: Contents
    program: FeatureProgram

    @functools.cached_property
    def columns(self) -> list[str]:
        """Of a day, the day itself left out."""
        return day_columns(self.contents)[1:]

    @functools.cached_property
    def place(self) -> dict[str, int]:
        """Column to its place in a day."""
        return {name: number for number, name in enumerate(self.columns)}

    @functools.cached_property
    def types(self) -> dict[str, int]:
        """Type of event to the place of its count."""
        return {name: self.place[f"type_{number}"] for number, name in enumerate(self.contents.types)}

    @functools.cached_property
    def packer(self) -> DayPacker:
        """Days as bytes."""
        return DayPacker(len(self.columns))

    @functools.cached_property
    def head(self) -> bytes:
        """The first bytes of every state of this definition."""
        decides = [self.columns, self.rules.observe, self.rules.session_ms, self.rules.time_zone, self.contents.types]
        return bytes([FORMAT]) + hashlib.sha256(json.dumps(decides).encode()).digest()[: _HEAD - 1]

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "format": FORMAT, "rules": self.rules.document(), "contents": asdict(self.contents),
            "program": self.program.document(),
        }  # fmt: skip


def read_definition(document: Any) -> Definition:
    """The definition that `Definition.document` wrote.

    Raises:
        ValueError: If it is none, or of a newer release.
    """
    try:
        if document["format"] != FORMAT:
            raise ValueError(f"it has format {document['format']}, this release reads {FORMAT}; install a newer one")
        rules, contents = rules_of(document["rules"]), contents_of_document(document["contents"])
        rules.windows  # noqa: B018 — checks them
        found = Definition(rules, contents, read_program(document["program"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("it holds no definition of features") from error
    if set(found.program.columns) != {*day_columns(contents), *WINDOW_COLUMNS}:
        raise ValueError("its program reads other columns than its events give")
    return found


class FeatureState:
    """One player's past, as far as features can see it.

    Args:
        definition: Of the features.
    """

    __slots__ = ("_before", "_closed", "_day", "_forgotten", "_last", "_row", "_session", "definition")

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self._last = -1  # time of the latest event, ms
        self._session: str | None = None
        self._day = -1  # of the latest event
        self._row: list[int] = []  # the latest day
        self._closed: dict[int, bytes] = {}  # the days before it
        self._forgotten = -1  # the latest day that was forgotten

    def update(self, event: Event) -> None:
        """Take in the player's next event.

        Args:
            event: Not earlier than the one before; of one instant, events come in the order of their sessions.

        Raises:
            ValueError: If it is earlier, or holds what no event can; the state is then as it was.
        """
        definition = self.definition
        contents, place, time = definition.contents, definition.place, event.time
        if time < self._last or (time == self._last and contents.session and _later(self._session, event.session)):
            raise ValueError(
                f"an event of {moment(time)} came after one of {moment(self._last)}; events come in the order of time"
            )
        paid, level = 0, None
        if contents.amount and event.amount is not None and abs(event.amount) < LARGEST_AMOUNT:
            paid = max(math.floor(event.amount * MILLIONTHS + 0.5), 0)
        if contents.level and event.level is not None and abs(event.level) < LARGEST_AMOUNT:
            level = math.floor(event.level)
            if abs(level) > LARGEST_LEVEL:
                raise ValueError(f"level {level} is larger than {LARGEST_LEVEL}")
        day = time // DAY_MS
        if paid and day == self._day and self._row[place["spent"]] + paid > LARGEST_SUM:
            raise ValueError("the amounts of a day are more than 4.6e12")
        before, before_day = self._last, self._day
        if day != before_day:
            self._begin_day(day)
        row = self._row
        row[place["events"]] += 1
        row[place["last"]] = time - day * DAY_MS
        if contents.clock:
            goes_on = before >= 0 and (
                event.session is not None and event.session == self._session
                if contents.session
                else time - before <= definition.rules.session_ms
            )
            first = place["sessions"]
            if goes_on:
                row[first + 1] += time - before
                if day != before_day:
                    row[first + 2] += 1
                    row[first + 3] += time - before
            else:
                row[first] += 1
            local = time + ahead(definition.rules.time_zone, time // QUARTER_MS)
            row[first + 4 + local % DAY_MS // (DAY_MS // HOUR_PARTS)] += 1
            row[first + 4 + HOUR_PARTS + (local // DAY_MS + 3) % WEEKDAYS] += 1
        if event.type is not None:
            number = definition.types.get(event.type)
            if number is not None:
                row[number] += 1
        if paid:
            first = place["spent"]
            row[first] += paid
            row[first + 1] += 1
            row[first + 2] = max(row[first + 2], paid)
        if level is not None:
            first, coded = place["level"], _coded(level)
            known = row[first] > 0
            row[first] = coded if not known or level > _level(row[first]) else row[first]
            row[first + 1] = coded if not known or level < _level(row[first + 1]) else row[first + 1]
        self._last, self._session = time, event.session

    def _begin_day(self, day: int) -> None:
        definition, previous = self.definition, self._day
        run = 1
        if previous >= 0:
            self._closed[previous] = definition.packer.packed(self._row)
            if day == previous + 1:
                run = self._row[2] + 1
        week_before = int(day - 7 in self._closed)
        # A week is kept in any case, so that a day can know of the one a week before.
        oldest = day - max(definition.rules.observe, 7)
        for known in list(self._closed):
            if known >= oldest:
                break
            del self._closed[known]
            self._forgotten = known
        self._row = [0] * len(definition.columns)
        self._row[:3] = [0 if previous < 0 else day - previous, week_before, run]
        self._day = day

    def days(self, at: int) -> list[tuple[int, bytes]]:
        """The days in [at − observe, at), each with what is known of it.

        Args:
            at: Day since 1970.

        Raises:
            ValueError: If one of them is forgotten already.
        """
        begin = at - self.definition.rules.observe
        if self._forgotten >= max(begin, 0):  # −1 where nothing is forgotten yet
            raise ValueError(
                f"what was known at midnight of {moment(at * DAY_MS)} is forgotten; the latest event is of "
                f"{moment(self._last)}"
            )
        found = [(day, packed) for day, packed in self._closed.items() if begin <= day < at]
        if begin <= self._day < at:
            found.append((self._day, self.definition.packer.packed(self._row)))
        return found

    def features(self, at: int | date) -> dict[str, float | None]:
        """The features at midnight (UTC) of a day, equal to those of a snapshot; None where one is missing.

        Args:
            at: Day, or its number since 1970.

        Raises:
            ValueError: If no day of the window has an event, or some of it is forgotten already.
        """
        at = (at - date(1970, 1, 1)).days if isinstance(at, date) else at
        _, found = features_of([self], at)
        if not next(iter(found.values())).size:
            days = self.definition.rules.observe
            raise ValueError(f"no event in the {days} days before {moment(at * DAY_MS)}, so there is nothing to tell")
        return {name: None if math.isnan(values[0]) else float(values[0]) for name, values in found.items()}

    def to_bytes(self) -> bytes:
        """The state as bytes; `from_bytes` reads them."""
        definition = self.definition
        numbers = [self._last + 1, self._forgotten + 1, 0]
        content = b""
        if self._last >= 0:
            days = [*self._closed.items(), (self._day, definition.packer.packed(self._row))]
            session = b"" if self._session is None else self._session.encode("utf-8", "surrogatepass")
            named = definition.contents.session and self._session is not None
            numbers[2] = len(session) + 1 if named else 0
            content = (session if named else b"") + write_numbers([len(days)])
            before = 0
            for day, packed in days:
                content += write_numbers([day - before, len(packed)]) + packed
                before = day
        body = definition.head + write_numbers(numbers) + content
        return body + hashlib.sha256(body).digest()[:4]

    @staticmethod
    def from_bytes(definition: Definition, data: bytes) -> FeatureState:
        """The state that `to_bytes` wrote.

        Raises:
            ValueError: If it is damaged, or of another definition of the features.
        """
        if len(data) < _HEAD + 4 or hashlib.sha256(data[:-4]).digest()[:4] != data[-4:]:
            raise ValueError("these bytes are no state of a player, or a damaged one")
        if data[:_HEAD] != definition.head:
            raise ValueError("this state is of another definition of the features; make it anew from the events")
        state = FeatureState(definition)
        (last, forgotten, named), position = read_numbers(data, _HEAD, 3)
        state._last, state._forgotten = last - 1, forgotten - 1
        if state._last < 0:
            return state
        if named:
            state._session = data[position : position + named - 1].decode("utf-8", "surrogatepass")
            position += named - 1
        (days,), position = read_numbers(data, position, 1)
        day, packed = 0, b""
        for _ in range(days):
            (later, length), position = read_numbers(data, position, 2)
            day, packed = day + later, data[position : position + length]
            position += length
            state._closed[day] = packed
        del state._closed[day]
        state._day, state._row = day, definition.packer.unpacked([packed])[0].tolist()
        return state


def features_of(states: Sequence[FeatureState], at: int) -> tuple[Array, dict[str, Array]]:
    """The features of many players of one definition at midnight (UTC) of a day.

    Args:
        states: Players.
        at: Day since 1970.

    Returns:
        Positions int64 [B] of the players with an event in the window; and feature to float64 [B], NaN where missing.

    Raises:
        ValueError: If some of a player's window is forgotten already.
    """
    definition = states[0].definition
    each = [state.days(at) for state in states]
    counts = np.array([len(days) for days in each], np.int64)
    seen = np.flatnonzero(counts)
    if not len(seen):
        return seen, {output.name: np.empty(0) for output in definition.program.outputs}
    starts = np.cumsum(counts[seen]) - counts[seen]
    day = np.array([day for days in each for day, _ in days], np.int64)
    table = definition.packer.unpacked([packed for days in each for _, packed in days])
    return seen, definition.program.run(_columns(definition, day, table, at), starts, len(day))


def _columns(definition: Definition, day: Array, table: Array, at: int) -> dict[str, Values]:
    """Columns as `player_days` and `window_rows` have them, of days as they are kept."""
    found = {name: Values(table[:, number]) for name, number in definition.place.items()}
    gap = found["previous"].numbers
    found["previous"] = Values(day - gap, gap > 0)
    if definition.contents.amount:
        paid = found["payments"].numbers > 0
        found |= {name: Values(found[name].numbers, paid) for name in ("spent", "largest")}
    if definition.contents.level:
        for name in ("level", "lowest"):
            coded = found[name].numbers
            found[name] = Values(_level(coded), coded > 0)
    observe = definition.rules.observe
    s, begin = np.full(len(day), at), np.full(len(day), at - observe)
    return found | {"day": Values(day), "s": Values(s), "begin": Values(begin), "age": Values(at - day)}


def _later(a: str | None, b: str | None) -> bool:
    """Whether session a comes after b; none at all comes last."""
    return b is not None and (a is None or a > b)


def _coded(level: int) -> int:
    """A level as a number above 0."""
    return 2 * level + 1 if level >= 0 else -2 * level


def _level(coded: Any) -> Any:
    """The level of such a number or array."""
    return (coded >> 1) * (2 * (coded & 1) - 1)


@functools.lru_cache(4096)
def ahead(time_zone: str, quarter: int) -> int:
    """Milliseconds that local time is ahead of UTC in a quarter of an hour since 1970."""
    if time_zone == "UTC":
        return 0
    offset = datetime.fromtimestamp(quarter * 900, UTC).astimezone(zoneinfo.ZoneInfo(time_zone)).utcoffset()
    return 0 if offset is None else round(offset.total_seconds() * 1000)


def moment(time: int) -> str:
    """Milliseconds since 1970 as text."""
    return datetime.fromtimestamp(time / 1000, UTC).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
