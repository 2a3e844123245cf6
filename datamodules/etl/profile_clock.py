"""A log's clock: days that are missing or doubled, hours without events, instants with far too many, shifted zones."""

# D days, H hours

from __future__ import annotations

import datetime as dt
from typing import Any

import ibis
import numpy as np
from ludocast.datamodules.etl.log import Log
from ludocast.datamodules.etl.profile_finding import Finding, counted, some
from ludocast.datamodules.etl.profile_tables import HOUR_MS, Tables
from ludocast.datamodules.etl.times import iso

NEIGHBOURS, WEEKS = 7, 4  # days, and weeks of the same weekday, on each side by which a day's usual number is told
LOW = 0.3  # of the usual
ENOUGH_MISSING, ENOUGH_LOW = 15, 30  # players on a usual day: from there on so few cannot be chance
ENOUGH_HOURS = 25  # players who usually come in a stretch of hours
STRAY_SHARE, STRAY_DAYS = 0.0005, 30  # of the events, and how far from all others
BUSIEST = 200  # minutes in which an instant is looked for
INSTANT, OF_EXPECTED = 100, 20  # events at one time, and how many times what the hour's average gives
WEEK = 7
ENOUGH_EVENTS = 2_000  # in each of the weeks whose hours are compared


def main_part(events: np.ndarray) -> tuple[int, int]:
    """First day and the day after the last one of a log without what lies far off: times of clocks that are wrong.

    Args:
        events: Of each day, int64 [D].
    """
    begin, end = 0, len(events)
    reached = np.cumsum(events)
    few = STRAY_SHARE * reached[-1]
    first = int(np.searchsorted(reached, few, side="right"))
    head = np.flatnonzero(events[:first])
    if len(head) and first - int(head[-1]) > STRAY_DAYS:
        begin = first
    last = int(np.searchsorted(reached, reached[-1] - few, side="left"))
    tail = np.flatnonzero(events[last + 1 :])
    if len(tail) and int(tail[0]) + 1 > STRAY_DAYS:
        end = last + 1
    return begin, end


def stray_times(log: Log, events: np.ndarray) -> list[Finding]:
    """Few events, long before or after all others."""
    begin, end = main_part(events)
    found = []
    for part, side in ((events[:begin], "before"), (events[end:], "after")):
        if not part.any():
            continue
        places = np.flatnonzero(part) + (log.first_day if side == "before" else log.first_day + end)
        nearest = begin - int(places[-1] - log.first_day) if side == "before" else int(places[0]) - log.first_day - end
        told = (
            f"{counted(int(part.sum()), 'event')} {nearest:,} days or more {side} all others "
            f"({some([iso(int(day)) for day in places])})"
        )
        advice = "their clocks were wrong: leave them out, for snapshots are laid from the first event on"
        found.append(Finding("stray times", told, advice, {"events": int(part.sum()), "days": len(places)}))
    return found


def usual(values: np.ndarray) -> np.ndarray:
    """What a day usually has, float64 [D]: the median of the nearest days, or of the same weekday's if that is lower.

    Days without anything are passed over, so that a long gap does not become usual.
    """
    found = _near(values, NEIGHBOURS)
    if len(values) >= 3 * WEEK:
        for weekday in range(WEEK):
            of_weekday = _near(values[weekday::WEEK], WEEKS)
            found[weekday::WEEK] = np.minimum(found[weekday::WEEK], of_weekday)
    return found


def _near(values: np.ndarray, neighbours: int) -> np.ndarray:
    """Of each entry the median of so many before it and after it that are not 0; 0 where there is none."""
    known = np.flatnonzero(values)
    found = np.zeros(len(values))
    for place in range(len(values)):
        at = int(np.searchsorted(known, place))
        before, after = known[max(at - neighbours, 0) : at], known[at + (at < len(known) and known[at] == place) :]
        near = np.concatenate([before, after[:neighbours]])
        found[place] = np.median(values[near]) if len(near) else 0.0
    return found


def days_amiss(log: Log, events: np.ndarray, players: np.ndarray) -> list[Finding]:
    """Days missing for everyone, days far below the usual, and days whose events are told as another's.

    Args:
        log: The log.
        events: Of each day, int64 [D].
        players: Active ones of each day, int64 [D].
    """
    begin, end = main_part(events)
    usual_events, usual_players = usual(events), usual(players)
    inside = np.zeros(len(events), bool)
    inside[begin + 1 : end - 1] = True  # a log may begin and end within a day
    missing = inside & (events == 0) & (usual_players >= ENOUGH_MISSING)
    is_low = (events < LOW * usual_events) & (players < LOW * usual_players) & (usual_players >= ENOUGH_LOW)
    low = inside & (events > 0) & is_low
    found = []
    for day in np.flatnonzero(missing | low):
        for other in (day - 1, day + 1):
            together = (events[day] + events[other]) / max(usual_events[day], 1)
            if not 0 <= other < len(events) or not 1.6 <= together <= 2.4 or events[other] < 1.5 * usual_events[day]:
                continue
            told = (
                f"{iso(log.first_day + int(day))} has {events[day]:,} events where {usual_events[day]:,.0f} are usual, "
                f"{iso(log.first_day + int(other))} beside it {events[other]:,}: a day is told as another"
            )
            advice = "a server's clock or a load was a day off: mend the times, active days and labels depend on them"
            found.append(Finding("clock jump", told, advice, {"day": iso(log.first_day + int(day))}))
            missing[day] = low[day] = False
            break
    return found + _gaps(log, missing, low, usual_events)


def _gaps(log: Log, missing: np.ndarray, low: np.ndarray, usual_events: np.ndarray) -> list[Finding]:
    found = []
    advice = (
        "nobody was seen then, so that players look as if they had been away: fill the days from a backup, or keep "
        "snapshots and labels off them"
    )
    if missing.any():
        names = _stretches(log, missing)
        told = f"no event at all on {counted(int(missing.sum()), 'day')} within the log ({some(names)})"
        found.append(Finding("gap in collection", told, advice, {"days_missing": int(missing.sum()), "days": names}))
    if low.any():
        names = _stretches(log, low)
        told = (
            f"{counted(int(low.sum()), 'day')} with less than {LOW:.0%} of the usual events ({some(names)}; "
            f"{np.median(usual_events[low]):,.0f} are usual)"
        )
        found.append(Finding("gap in collection", told, advice, {"days_low": int(low.sum()), "days": names}))
    return found


def _stretches(log: Log, chosen: np.ndarray) -> list[str]:
    """Days in a row as "2024-03-01 to 2024-03-04"."""
    places = np.flatnonzero(chosen)
    parts = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    names = [(iso(log.first_day + int(part[0])), iso(log.first_day + int(part[-1]))) for part in parts]
    return [first if first == last else f"{first} to {last}" for first, last in names]


def hours_amiss(log: Log, tables: Tables, players: np.ndarray) -> list[Finding]:
    """Hours without any event where there usually are many, within days that have some.

    Args:
        log: The log.
        tables: Its hours.
        players: Active ones of each day, int64 [D].
    """
    if tables.resolution >= HOUR_MS:
        return []
    by_hour = tables.hours.reshape(-1, 24)
    days = by_hour.sum(axis=1)
    begin, end = main_part(days)
    events_a_player = days.sum() / max(players.sum(), 1)
    around = np.stack([_shifted(by_hour, shift) for shift in range(-NEIGHBOURS, NEIGHBOURS + 1) if shift])
    known = (~np.isnan(around)).sum(axis=0)
    middle = np.maximum(known - 1, 0) // 2
    expected = np.take_along_axis(np.sort(around, axis=0), middle[None], axis=0)[0]  # NaN comes last
    is_empty = (by_hour == 0) & (days > 0)[:, None]
    is_empty[:begin], is_empty[end:] = False, False
    places = np.flatnonzero(is_empty.ravel())
    first, last = np.flatnonzero(tables.hours)[[0, -1]]
    places = places[(places > first) & (places < last)]
    names, whole = [], 0
    for part in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1) if len(places) else []:
        if np.nan_to_num(expected.ravel()[part]).sum() / events_a_player >= ENOUGH_HOURS:
            names.append(f"{counted(len(part), 'hour')} from {_hour(log, int(part[0]))}")
            whole += len(part)
    if not names:
        return []
    stretches = counted(len(names), "stretch", "stretches")
    told = f"no event at all in {stretches} of hours that are usually busy ({some(names)})"
    advice = "collection stood still, or the game was down: players look as if they had been away"
    return [Finding("gap in collection", told, advice, {"hours_missing": whole, "stretches": names})]


def _shifted(by_hour: np.ndarray, shift: int) -> np.ndarray:
    """The same hours some days later, NaN where there is no such day or it is empty."""
    found = np.full(by_hour.shape, np.nan)
    there = np.arange(len(by_hour)) + shift
    known = (there >= 0) & (there < len(by_hour))
    known[known] = by_hour[there[known]].sum(axis=1) > 0
    found[known] = by_hour[there[known]]
    return found


def _hour(log: Log, hour: int) -> str:
    moment = dt.datetime(1970, 1, 1) + dt.timedelta(days=log.first_day, hours=hour)
    return f"{moment:%Y-%m-%d %H:00}"


def crowded_instants(log: Log, tables: Tables) -> list[Finding]:
    """Many events at one and the same time, far above what the hour gives."""
    if tables.resolution >= HOUR_MS:
        return []
    events = log.events
    minutes = events.group_by(minute=events.time // 60_000).aggregate(number=ibis._.count())
    busiest = minutes.order_by(minutes.number.desc(), minutes.minute).limit(BUSIEST).to_pyarrow()["minute"].to_pylist()
    among = events.filter((events.time // 60_000).isin(busiest))
    times = among.group_by("time").aggregate(number=among.count(), players=among.player.nunique())
    found: list[dict[str, Any]] = []
    for row in times.filter(times.number >= INSTANT).order_by(times.number.desc(), times.time).to_pyarrow().to_pylist():
        hour = tables.hours[row["time"] // HOUR_MS - log.first_day * 24]
        expected = (hour - row["number"]) * tables.resolution / HOUR_MS
        if row["number"] >= OF_EXPECTED * expected:
            found.append(row)
    if not found:
        return []
    number = sum(row["number"] for row in found)
    shown = [f"{row['number']:,} from {counted(row['players'], 'player')} at {_moment(row['time'])}" for row in found]
    instants = counted(len(found), "single instant") + (" or more" if len(found) >= BUSIEST else "")
    told = f"{counted(number, 'event')} at {instants} ({some(shown)})"
    advice = (
        "a load, a job or a device's clock stamped them, not the players: log when each thing happened, or leave these "
        "events out"
    )
    return [Finding("clock jump", told, advice, {"events": number, "instants": len(found)})]


def _moment(ms: int) -> str:
    return f"{dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=ms):%Y-%m-%d %H:%M:%S}"


def zone_shifts(log: Log, tables: Tables) -> list[Finding]:
    """Days from which on all hours of the day are moved by some whole hours: the log's time zone has changed."""
    if tables.resolution >= HOUR_MS:
        return []
    by_hour = tables.hours.reshape(-1, 24).astype(float)
    found: list[tuple[float, int, int]] = []
    for day in range(WEEK, len(by_hour) - WEEK + 1):
        shift, gain = _best_shift(by_hour[day - WEEK : day], by_hour[day : day + WEEK])
        if shift:
            found.append((gain, day, shift))
    chosen: list[tuple[float, int, int]] = []
    for candidate in sorted(found, reverse=True):
        if all(abs(candidate[1] - other) >= WEEK for _, other, _ in chosen):
            chosen.append(candidate)
    findings = []
    for _, day, shift in sorted(chosen, key=lambda entry: entry[1]):
        name = iso(log.first_day + day)
        told = f"from {name} on the hours of the day are moved by {shift:+d} h against the week before"
        advice = "the log's clock or time zone was changed: write all times in UTC, and move the earlier ones"
        if abs(shift) == 1:
            advice += "; if this is daylight saving time, all is well: give --time-zone for features of hours"
        findings.append(Finding("time zone", told, advice, {"day": name, "hours": shift}))
    return findings


def _best_shift(before: np.ndarray, after: np.ndarray) -> tuple[int, float]:
    """By how many hours the later week is moved, 0 if it is not, and by how much that explains it better."""
    if before.sum() < ENOUGH_EVENTS or after.sum() < ENOUGH_EVENTS:
        return 0, 0.0
    old, new = before.sum(axis=0) / before.sum(), after.sum(axis=0) / after.sum()
    apart = np.array([((np.roll(old, shift) - new) ** 2).sum() for shift in range(24)])
    # What two halves of the same week differ by is no change.
    noise = (_halves(before) + _halves(after)) / 2
    best = int(apart.argmin())
    if best == 0 or apart[0] < 4 * noise or apart[best] > 0.25 * apart[0]:
        return 0, 0.0
    return best if best <= 12 else best - 24, float(apart[0] - apart[best])


def _halves(week: np.ndarray) -> float:
    one, other = week[::2].sum(axis=0), week[1::2].sum(axis=0)
    return float(((one / max(one.sum(), 1) - other / max(other.sum(), 1)) ** 2).sum())
