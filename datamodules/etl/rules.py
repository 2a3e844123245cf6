"""What an event log is turned into snapshots by: windows in whole days, what a session is, whose clock hours follow."""

from __future__ import annotations

import datetime as dt
import json
import zoneinfo
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ludocast.datamodules.windows import Windows, parse_days

DAY_MS = 86_400_000
NESTED = (1, 3, 7, 14, 28)  # days of the windows in which things are counted, beside all that is observed
EARLIEST = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)  # a time before it is a clock that was never set
MOST_TYPES = 16  # event types with features of their own
HOUR_PARTS = 8  # parts of the day, three hours each
WEEKDAYS = 7
MILLIONTHS = 1_000_000


@dataclass(frozen=True)
class Rules:
    """Everything that decides a snapshot besides the log.

    Attributes:
        observe: Days; as all of these see `Windows`.
        gap: Days.
        horizon: Days.
        active_within: Days.
        step: Days.
        session_ms: Milliseconds without an event after which a session has ended.
        time_zone: Of hours and weekdays, a name such as Europe/Berlin; days and windows are UTC.
        types: Event types with features of their own, None to take the most frequent before the first snapshot.
    """

    observe: int = 56
    gap: int = 0
    horizon: int = 28
    active_within: int = 7
    step: int = 14
    session_ms: int = 30 * 60_000
    time_zone: str = "UTC"
    types: tuple[str, ...] | None = None

    @property
    def windows(self) -> Windows:
        """The windows alone, checked."""
        return Windows(self.observe, self.gap, self.horizon, self.active_within, self.step)

    @property
    def nested(self) -> tuple[int, ...]:
        """Days of the windows in which things are counted, ascending; the last one is all that is observed."""
        return (*(days for days in NESTED if days < self.observe), self.observe)

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class Contents:
    """What a log holds, and hence which features there are.

    Attributes:
        types: Event types that are counted apart; none where there is one alone.
        clock: Whether events have a time of day.
        amount: Whether events have an amount.
        level: Whether events have a level.
        session: Whether events name their session; where not, pauses tell sessions apart.
        several: Whether a player has several events a day; where not, events are not counted beside active days.
    """

    types: tuple[str, ...] = ()
    clock: bool = True
    amount: bool = False
    level: bool = False
    session: bool = False
    several: bool = True


def rules_of(document: dict[str, Any]) -> Rules:
    """The rules that `Rules.document` wrote."""
    types = document["types"]
    return Rules(**{**document, "types": None if types is None else tuple(types)})


def contents_of_document(document: dict[str, Any]) -> Contents:
    """The contents as `asdict` wrote them."""
    return Contents(**{**document, "types": tuple(document["types"])})


def whole_days(option: str, text: str) -> int:
    """Days of a window, a whole number of them: snapshots lie at midnight.

    Raises:
        ValueError: If it is no such duration.
    """
    days = parse_days(option, text)
    if days != int(days):
        raise ValueError(
            f'{option} is a whole number of days such as 28d or 4w, as snapshots lie at midnight; got "{text}"'
        )
    return int(days)


def milliseconds(option: str, text: str) -> int:
    """Milliseconds of a duration such as 30m.

    Raises:
        ValueError: If it is none, or no time at all.
    """
    found = round(parse_days(option, text) * DAY_MS)
    if found <= 0:
        raise ValueError(f'{option} is a duration above 0 such as 30m, got "{text}"')
    return found


def read_types(path: Path) -> tuple[str, ...]:
    """Event types of a file, one a line.

    Raises:
        ValueError: If it is no text, or names none.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeError as error:
        raise ValueError(f"--vocabulary {path} is no text in UTF-8; write one event type a line") from error
    types = tuple(dict.fromkeys(line for line in lines if line))
    if not types:
        raise ValueError(f"--vocabulary {path} names no event type; write one a line")
    return types


def zone_offsets(time_zone: str, first_day: int, last_day: int) -> list[tuple[int, int]]:
    """Since when a time zone is how far ahead of UTC.

    A log may be asked about on engines that know no time zones alike, so the few changes of the clock in its span are
    found here.

    Args:
        time_zone: Its name.
        first_day: Days since 1970.
        last_day: Days since 1970.

    Returns:
        Milliseconds since 1970 and milliseconds ahead of UTC, by time; the first entry holds from the first day on.

    Raises:
        ValueError: If there is no such zone.
    """
    try:
        zone = zoneinfo.ZoneInfo(time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f'no time zone "{time_zone}"; give a name such as UTC, Europe/Berlin or Asia/Seoul') from error

    def ahead(hour: int) -> int:
        offset = dt.datetime.fromtimestamp(hour * 900, dt.UTC).astimezone(zone).utcoffset()
        return 0 if offset is None else round(offset.total_seconds() * 1000)

    found = [(first_day * DAY_MS, ahead(first_day * 96))]
    for day in range(first_day, last_day + 1):
        if ahead((day + 1) * 96) == found[-1][1]:
            continue
        # Clocks change at quarters of an hour.
        quarter = next(q for q in range(day * 96, day * 96 + 97) if ahead(q) != found[-1][1])
        found.append((quarter * 900_000, ahead(quarter)))
    return found


def read_document(folder: Path, kind: str = "snapshots") -> dict[str, Any]:
    """The `_schema.json` of written snapshots or sequences.

    Raises:
        ValueError: If there is none, or it is of the other kind.
    """
    path = folder / "_schema.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        held = found["kind"]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder} holds no readable _schema.json, so it is no folder of {kind}") from error
    if held != kind:
        raise ValueError(f"{folder} holds {held}; {kind} are wanted, which `ludocast {kind}` makes")
    return found
