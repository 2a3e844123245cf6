"""Snapshots by the book: each player, each snapshot, each event, one after the other, in plain Python."""

from __future__ import annotations

import itertools
import math
import statistics
import zoneinfo
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

DAY = 86_400_000


class Event(NamedTuple):
    player: str
    time: int  # milliseconds since 1970
    event: str
    amount: float | None
    level: int | None


def reference(
    events: Sequence[Event],
    *,
    observe: int,
    gap: int,
    horizon: int,
    active_within: int,
    step: int,
    session_ms: int,
    zone: str,
    types: Sequence[str],
) -> list[dict[str, Any]]:
    """Rows as the command writes them, by snapshot time, then player; times in days since 1970."""
    begin = min(event.time for event in events) // DAY
    end = max(event.time for event in events) // DAY + 1
    rows = []
    s = begin + observe
    while s + gap + horizon <= end:
        for player in sorted({event.player for event in events}):
            own = sorted((event for event in events if event.player == player), key=lambda event: event.time)
            known = [event for event in own if (s - observe) * DAY <= event.time < s * DAY]
            if not any((s - active_within) * DAY <= event.time for event in known):
                continue
            later = [event for event in own if (s + gap) * DAY <= event.time < (s + gap + horizon) * DAY]
            row = features(known, s, observe, session_ms, zone, types)
            rows.append({"player": player, "s": s, **row, "churned": not later})
        s += step
    return rows


def entropy(counts: Sequence[int]) -> float:
    whole = sum(counts)
    return -sum(c / whole * math.log2(c / whole) for c in counts if c)


def features(
    known: list[Event], s: int, observe: int, session_ms: int, zone: str, types: Sequence[str]
) -> dict[str, Any]:
    days = sorted({event.time // DAY for event in known})
    nested = [w for w in (1, 3, 7, 14, 28) if w < observe] + [observe]
    row: dict[str, Any] = {}

    def active(newest: int, oldest: int) -> int:
        """Active days from `newest` to `oldest` days before s, both counted."""
        return sum(newest <= s - day <= oldest for day in days)

    def events(newest: int, oldest: int) -> int:
        return sum(newest <= s - event.time // DAY <= oldest for event in known)

    for w in nested:
        if w > 1:
            row[f"active_days_{w}d"] = active(1, w)
        row[f"events_{w}d"] = events(1, w)
    row["events_per_active_day"] = len(known) / len(days)
    row["events_busiest_day"] = max(Counter(event.time // DAY for event in known).values())
    row["days_since_last"] = s - days[-1]
    row["hours_since_last"] = (s * DAY - known[-1].time) / 3_600_000
    row["days_since_first"] = s - days[0]
    row["active_share"] = len(days) / (s - days[0])
    for age in range(1, min(7, observe) + 1):
        row[f"active_day_{age}"] = int(s - age in days)
    weeks = [active(7 * k + 1, 7 * k + 7) for k in range(min(8, observe // 7))]
    for k, value in enumerate(weeks[1:], 2):
        row[f"active_days_week_{k}"] = value
    if len(weeks) > 1:
        row["active_weeks"] = sum(value > 0 for value in weeks)
        row["active_days_deviation"] = statistics.pstdev(weeks)
    runs = [[days[0]]]
    for day in days[1:]:
        if day == runs[-1][-1] + 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    row |= {"streak": len(runs[-1]), "longest_streak": max(map(len, runs)), "streaks": len(runs)}
    gaps = [later - earlier for earlier, later in itertools.pairwise(days)]
    pauses = [gap for gap in gaps if gap > 1]
    row |= {
        "mean_gap": statistics.fmean(gaps) if gaps else None,
        "gap_deviation": statistics.pstdev(gaps) if gaps else None,
        "last_gap": gaps[-1] if gaps else None,
        "longest_gap": max(gaps) if gaps else None,
        "quiet_against_gap": (s - days[-1]) / statistics.fmean(gaps) if gaps else None,
        "quiet_against_longest": (s - days[-1]) / max(gaps) if gaps else None,
        "pauses": len(pauses),
        "mean_pause": statistics.fmean(pauses) if pauses else None,
    }
    for w in (w for w in nested if w >= 14):
        half = w // 2
        row[f"active_days_trend_{w}d"] = active(1, half) - active(half + 1, 2 * half)
        late, early = events(1, half), events(half + 1, 2 * half)
        row[f"events_trend_{w}d"] = (late - early) / (late + early) if late + early else None
    if observe > 7:
        full = [day for day in days if day - 7 >= s - observe]
        row["same_weekday_days"] = sum(day - 7 in days for day in full)
        row["same_weekday_share"] = row["same_weekday_days"] / len(full) if full else None
    if types:
        counts = Counter(event.event for event in known)
        for number, name in enumerate(types):
            for w in dict.fromkeys((min(7, observe), observe)):
                recent = [event for event in known if event.event == name and s - event.time // DAY <= w]
                row[f"type_{number}_{name}_{w}d"] = len(recent)
        each = [counts[name] for name in types]
        row["type_other"] = len(known) - sum(each)
        row["type_entropy"] = entropy([*each, row["type_other"]])
    row |= sessions(known, s, observe, session_ms, nested, len(days))
    row |= spending(known, s, nested)
    row |= rhythm(known, zone)
    row |= levels(known, s, observe, len(days))
    return row


def sessions(
    known: list[Event], s: int, observe: int, session_ms: int, nested: list[int], active_days: int
) -> dict[str, Any]:
    begun, played = [known[0].time], []
    for before, event in itertools.pairwise(known):
        if event.time - before.time > session_ms:
            begun.append(event.time)
        else:
            played.append((event.time, event.time - before.time))
    row: dict[str, Any] = {}
    for w in nested:
        row[f"sessions_{w}d"] = sum(s - time // DAY <= w for time in begun)
    for w in dict.fromkeys((min(7, observe), observe)):
        row[f"hours_played_{w}d"] = sum(length for time, length in played if s - time // DAY <= w) / 3_600_000
    row["minutes_per_session"] = sum(length for _, length in played) / len(begun) / 60_000
    row["sessions_per_active_day"] = len(begun) / active_days
    row["events_per_session"] = len(known) / len(begun)
    return row


def spending(known: list[Event], s: int, nested: list[int]) -> dict[str, Any]:
    paid = [(s - event.time // DAY, event.amount) for event in known if event.amount is not None and event.amount > 0]
    row: dict[str, Any] = {}
    for w in nested:
        row[f"payments_{w}d"] = sum(age <= w for age, _ in paid)
        row[f"spent_{w}d"] = math.fsum(amount for age, amount in paid if age <= w)
    amounts = [amount for _, amount in paid]
    row["mean_payment"] = statistics.fmean(amounts) if paid else None
    row["largest_payment"] = max(amounts) if paid else None
    row["days_since_payment"] = min(age for age, _ in paid) if paid else None
    row["paying_days"] = len({age for age, _ in paid})
    return row


def rhythm(known: list[Event], zone: str) -> dict[str, Any]:
    local = [datetime.fromtimestamp(event.time / 1000, UTC).astimezone(zoneinfo.ZoneInfo(zone)) for event in known]
    row: dict[str, Any] = {}
    hours = [sum(moment.hour // 3 == part for moment in local) for part in range(8)]
    for part, value in enumerate(hours):
        row[f"share_hours_{3 * part:02d}_{3 * part + 3:02d}"] = value / len(known)
    row["hour_entropy"] = entropy(hours)
    weekdays = [sum(moment.weekday() == day for moment in local) for day in range(7)]
    for name, value in zip(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), weekdays, strict=True):
        row[f"share_{name}"] = value / len(known)
    row["weekday_entropy"] = entropy(weekdays)
    return row


def levels(known: list[Event], s: int, observe: int, active_days: int) -> dict[str, Any]:
    week = min(7, observe)
    seen = [(s - event.time // DAY, event.level) for event in known if event.level is not None]
    if not seen:
        return dict.fromkeys(("level", "levels_gained", f"levels_gained_{week}d", "levels_per_active_day"))
    top, low = max(level for _, level in seen), min(level for _, level in seen)
    before = [level for age, level in seen if age > week]
    return {
        "level": top, "levels_gained": top - low, f"levels_gained_{week}d": top - (max(before) if before else low),
        "levels_per_active_day": (top - low) / active_days,
    }  # fmt: skip
