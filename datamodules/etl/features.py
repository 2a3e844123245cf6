"""The features of a snapshot, one function a family; to add one, write a function and put `@family` above it.

A function gets the rows of a window, one a day on which the player was active, and yields features: a name that reads,
one Ibis expression over these rows, a sentence, and what a missing value means. Rows lie in [s − observe, s) alone, so
that nothing a family can say leaks.
"""

# s the snapshot's day, begin = s − observe, age = s − day: 1 is the day before the snapshot

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
from ludocast.datamodules.etl.rules import DAY_MS, HOUR_PARTS, MILLIONTHS, WEEKDAYS, Contents, Rules

NEVER = "never missing"
HOUR_MS = 3_600_000
LATEST_DAYS = 7  # days that are told one by one
WEEKS = 8  # weeks that are told one by one


@dataclass(frozen=True)
class Feature:
    """One column of the snapshots.

    Attributes:
        name: Its column.
        value: A reduction of the window's rows.
        description: One sentence.
        missing: What a missing value means.
        whole: Whether it is a whole number.
    """

    name: str
    value: ir.Value
    description: str
    missing: str = NEVER
    whole: bool = False


class Rows:
    """The rows of all windows, and ways to sum them up.

    Args:
        table: Columns of `player_days`, and `s`, `begin`, `age`, int64.
        rules: Lengths of the windows.
        contents: Which columns there are.
    """

    def __init__(self, table: ir.Table, rules: Rules, contents: Contents) -> None:
        self.table, self.rules, self.contents = table, rules, contents
        self.nested = rules.nested
        self.s, self.begin = table.s.max(), table.begin.max()
        # A pause is known where both its ends are.
        self.gap = (table.day - table.previous).nullif(
            ibis.ifelse(table.previous >= table.begin, 0, table.day - table.previous)
        )
        self.opens = table.age == rules.observe  # the first day of the window: what began before it is unknown

    def sum(self, column: str | ir.Value, days: int | None = None, after: int = 0) -> ir.IntegerValue:
        """Sum over the last `days` days (None for all), those within the last `after` days left out."""
        value = self.table[column] if isinstance(column, str) else column
        within = self._within(days, after)
        # A sum with a condition of its own costs engines more than one of zeros.
        value = value if within is None else ibis.ifelse(within, value, ibis.literal(0, value.type()))
        return value.sum().fill_null(0).cast("int64")

    def count(self, days: int | None = None, after: int = 0, where: ir.BooleanValue | None = None) -> ir.IntegerValue:
        """Number of active days, of those that fulfil `where`."""
        within = self._within(days, after)
        counted = self.table.day.notnull() if where is None else where.fill_null(False)
        if within is not None:
            counted = within if where is None else within & counted
        return self.sum(ibis.ifelse(counted, 1, 0).cast("int32"))

    def _within(self, days: int | None, after: int) -> ir.BooleanValue | None:
        age = self.table.age
        if after:
            return (age > after) & (age <= (self.rules.observe if days is None else days))
        return None if days in (None, self.rules.observe) else age <= days


Family = Callable[[Rows], Iterator[Feature]]
FAMILIES: dict[str, Family] = {}


def family(function: Family) -> Family:
    """Register a family under its function's name."""
    FAMILIES[function.__name__] = function
    return function


def all_features(rows: Rows) -> list[Feature]:
    """Features of all families, in their order.

    Raises:
        ValueError: If two have one name.
    """
    found = [feature for function in FAMILIES.values() for feature in function(rows)]
    names = [feature.name for feature in found]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise ValueError(f"two features are called {min(doubled)}; rename one of them in its family")
    return found


def ratio(part: ir.NumericValue, whole: ir.NumericValue) -> ir.FloatingValue:
    """A quotient, missing where `whole` is 0."""
    return part.cast("float64") / whole.nullif(0).cast("float64")


def entropy(counts: list[ir.IntegerValue]) -> ir.FloatingValue:
    """Entropy of counts in bits: 0 where all is one, missing where nothing was counted (Shannon 1948, theorem 2)."""
    whole = counts[0]
    for count in counts[1:]:
        whole = whole + count
    # With n the sum: log2(n) − Σ c log2(c) / n; the 1 beside c = 0 makes its term 0.
    spread = sum(
        (c.cast("float64") * _log2(ibis.greatest(c, 1)) for c in counts[1:]),
        counts[0].cast("float64") * _log2(ibis.greatest(counts[0], 1)),
    )
    value = _log2(whole.nullif(0)) - spread / whole.nullif(0).cast("float64")
    return ibis.greatest(value, 0.0)


def _log2(value: ir.NumericValue) -> ir.FloatingValue:
    return value.cast("float64").ln() / 0.6931471805599453


def _span(days: int) -> str:
    return "in the last day" if days == 1 else f"in the last {days} days"


@family
def counts(rows: Rows) -> Iterator[Feature]:
    """Events and active days in nested windows."""
    for days in rows.nested[1:]:  # the last day alone is active_day_1
        yield Feature(f"active_days_{days}d", rows.count(days), f"days with an event {_span(days)}", whole=True)
    if not rows.contents.several:
        return
    for days in rows.nested:
        yield Feature(f"events_{days}d", rows.sum("events", days), f"events {_span(days)}", whole=True)
    yield Feature("events_per_active_day", ratio(rows.sum("events"), rows.count()), "events a day, over active days")
    largest = rows.table.events.max().cast("int64")
    yield Feature("events_busiest_day", largest, "events on the day with most of them", whole=True)


@family
def recency(rows: Rows) -> Iterator[Feature]:
    """How long ago the last and the first event were."""
    table = rows.table
    yield Feature(
        "days_since_last", rows.s - table.day.max(), "days since the last active day; 1 is yesterday", whole=True
    )
    if rows.contents.clock:
        last = (table.day * DAY_MS + table["last"].cast("int64")).max()
        quiet = (rows.s * DAY_MS - last).cast("float64") / HOUR_MS
        yield Feature("hours_since_last", quiet, "hours since the last event")
    yield Feature(
        "days_since_first", rows.s - table.day.min(),
        f"days since the first active day among the {rows.rules.observe} observed: tenure, up to these", whole=True,
    )  # fmt: skip
    share = ratio(rows.count(), rows.s - table.day.min())
    yield Feature("active_share", share, "share of the days since the first active day that were active")


@family
def latest_days(rows: Rows) -> Iterator[Feature]:
    """The last days, one by one."""
    for age in range(1, min(LATEST_DAYS, rows.rules.observe) + 1):
        value = rows.count(where=rows.table.age == age)
        yield Feature(f"active_day_{age}", value, f"1 if active on day {age} before the snapshot", whole=True)


@family
def weeks(rows: Rows) -> Iterator[Feature]:
    """The last weeks, one by one, and how much they differ."""
    number = min(WEEKS, rows.rules.observe // 7)
    each = [rows.count(7 * week, 7 * week - 7) for week in range(1, number + 1)]
    for week, value in enumerate(each[1:], 2):  # the last week is active_days_7d
        yield Feature(
            f"active_days_week_{week}", value, f"active days of the {week}. week before the snapshot", whole=True
        )
    if number < 2:
        return
    active = sum((ibis.ifelse(value > 0, 1, 0) for value in each[1:]), ibis.ifelse(each[0] > 0, 1, 0))
    yield Feature("active_weeks", active.cast("int64"), f"weeks with an active day, of the last {number}", whole=True)
    total = sum(each[1:], each[0])
    squares = sum((value * value for value in each[1:]), each[0] * each[0])
    variance = (number * squares - total * total).cast("float64") / float(number * number)
    yield Feature(
        "active_days_deviation", variance.sqrt(), f"standard deviation of active days over the last {number} weeks"
    )


@family
def streaks(rows: Rows) -> Iterator[Feature]:
    """Days in a row, as far as they lie in the window."""
    table = rows.table
    starts = (table.previous < table.begin) | (table.day - table.previous > 1) | table.previous.isnull()
    since = table.day.max(where=starts)
    run = ibis.ifelse(table.run < table.day - table.begin + 1, table.run, table.day - table.begin + 1)
    yield Feature("streak", table.day.max() - since + 1, "active days in a row, up to the last active one", whole=True)
    yield Feature("longest_streak", run.max().cast("int64"), "most active days in a row", whole=True)
    yield Feature("streaks", rows.count(where=starts), "how often a row of active days began", whole=True)


@family
def gaps(rows: Rows) -> Iterator[Feature]:
    """Days from one active day to the next."""
    gap, once = rows.gap, "fewer than two active days"
    number = rows.count(where=gap.notnull())
    total = rows.sum(gap)
    mean = ratio(total, number)
    last = rows.table.day.max() - rows.table.previous.max(where=rows.table.previous >= rows.table.begin)
    quiet = rows.s - rows.table.day.max()
    variance = ratio(number * rows.sum(gap * gap) - total * total, number * number)
    yield Feature("mean_gap", mean, "days from one active day to the next, on average", once)
    yield Feature("gap_deviation", variance.sqrt(), "standard deviation of these days", once)
    yield Feature("last_gap", last, "days between the last two active days", once, whole=True)
    yield Feature("longest_gap", gap.max().cast("int64"), "most days from one active day to the next", once, whole=True)
    yield Feature(
        "quiet_against_gap", quiet.cast("float64") / mean, "days since the last active day, in mean gaps", once
    )
    yield Feature(
        "quiet_against_longest", ratio(quiet, gap.max()), "days since the last active day, in longest gaps", once
    )
    pauses = rows.count(where=gap > 1)
    yield Feature("pauses", pauses, "gaps of two days or more", whole=True)
    pause = ratio(rows.sum(ibis.ifelse(gap > 1, gap, 0).cast("int64")), pauses)
    yield Feature("mean_pause", pause, "days of such a gap, on average", "no such gap")


@family
def trends(rows: Rows) -> Iterator[Feature]:
    """The later half of a window against the earlier one."""
    for days in (days for days in rows.nested if days >= 14):
        half = days // 2
        late, early = rows.count(half), rows.count(2 * half, half)
        yield Feature(
            f"active_days_trend_{days}d",
            late - early,
            f"active days of the last {half} days less those of the {half} before",
            whole=True,
        )
        if not rows.contents.several:
            continue
        late, early = rows.sum("events", half), rows.sum("events", 2 * half, half)
        value = ratio(late - early, late + early)
        text = f"events of the last {half} days less those of the {half} before, as a share of both"
        yield Feature(f"events_trend_{days}d", value, text, f"no event in the last {2 * half} days")


@family
def weekly_habit(rows: Rows) -> Iterator[Feature]:
    """Whether a player comes back on the same weekday."""
    if rows.rules.observe <= 7:
        return
    full = rows.table.age <= rows.rules.observe - 7  # the day a week earlier lies in the window too
    again = rows.count(where=full & (rows.table.week_before == 1))
    yield Feature(
        "same_weekday_share",
        ratio(again, rows.count(where=full)),
        "share of active days with the day a week earlier active too",
        f"not active in the last {rows.rules.observe - 7} days",
    )
    yield Feature("same_weekday_days", again, "active days with the day a week earlier active too", whole=True)


@family
def event_types(rows: Rows) -> Iterator[Feature]:
    """How often each type of event was seen."""
    types = rows.contents.types
    if not types:
        return
    each = []
    for number, name in enumerate(types):
        label = "".join(c if c.isalnum() else "_" for c in name.lower()).strip("_") or f"type_{number}"
        column = rows.sum(f"type_{number}")
        each.append(column)
        for days in dict.fromkeys((min(7, rows.rules.observe), rows.rules.observe)):
            value = rows.sum(f"type_{number}", days)
            yield Feature(f"type_{number}_{label}_{days}d", value, f'events "{name}" {_span(days)}', whole=True)
    rest = rows.sum("events") - sum(each[1:], each[0])
    yield Feature("type_other", rest, "events of any other type", whole=True)
    yield Feature("type_entropy", entropy([*each, rest]), "entropy of the types of events, in bits")


@family
def sessions(rows: Rows) -> Iterator[Feature]:
    """Sessions, told apart by pauses or named by the log, and the time played in them."""
    if not rows.contents.clock:
        return
    table = rows.table
    # A session that runs into the window counts as begun at its first event inside.
    begun = table.sessions + ibis.ifelse(rows.opens, table.went_on, 0)
    played = table.played - ibis.ifelse(rows.opens, table.carried, 0)
    for days in rows.nested:
        yield Feature(f"sessions_{days}d", rows.sum(begun, days), f"sessions begun {_span(days)}", whole=True)
    for days in dict.fromkeys((min(7, rows.rules.observe), rows.rules.observe)):
        hours = rows.sum(played, days).cast("float64") / HOUR_MS
        yield Feature(f"hours_played_{days}d", hours, f"hours from first to last event of sessions {_span(days)}")
    number, total = rows.sum(begun), rows.sum(played)
    yield Feature("minutes_per_session", ratio(total, number) / 60_000.0, "minutes of a session, on average")
    yield Feature("sessions_per_active_day", ratio(number, rows.count()), "sessions begun a day, over active days")
    yield Feature("events_per_session", ratio(rows.sum("events"), number), "events of a session, on average")


@family
def spending(rows: Rows) -> Iterator[Feature]:
    """Amounts above 0."""
    if not rows.contents.amount:
        return
    table = rows.table
    for days in rows.nested:
        yield Feature(
            f"payments_{days}d", rows.sum("payments", days), f"events with an amount above 0 {_span(days)}", whole=True
        )
        yield Feature(
            f"spent_{days}d",
            rows.sum("spent", days).cast("float64") / MILLIONTHS,
            f"sum of amounts above 0 {_span(days)}",
        )
    yield Feature(
        "mean_payment",
        ratio(rows.sum("spent"), rows.sum("payments")) / MILLIONTHS,
        "mean of amounts above 0",
        "no payment",
    )
    yield Feature("largest_payment", table.largest.max().cast("float64") / MILLIONTHS, "largest amount", "no payment")
    paid = table.day.max(where=table.payments > 0)
    yield Feature(
        "days_since_payment", rows.s - paid, "days since the last day with a payment", "no payment", whole=True
    )
    yield Feature("paying_days", rows.count(where=table.payments > 0), "days with a payment", whole=True)


@family
def daily_rhythm(rows: Rows) -> Iterator[Feature]:
    """Which hours of the day and days of the week a player prefers, in local time."""
    if not rows.contents.clock:
        return
    total, width = rows.sum("events"), 24 // HOUR_PARTS
    hours = [rows.sum(f"hours_{part}") for part in range(HOUR_PARTS)]
    for part, value in enumerate(hours):
        span = f"{part * width:02d}_{part * width + width:02d}"
        yield Feature(
            f"share_hours_{span}", ratio(value, total), f"share of events from {span.replace('_', ' to ')} o'clock"
        )
    yield Feature("hour_entropy", entropy(hours), "entropy of the times of day, in bits")
    weekdays = [rows.sum(f"weekday_{number}") for number in range(WEEKDAYS)]
    for number, name in enumerate(("mon", "tue", "wed", "thu", "fri", "sat", "sun")):
        yield Feature(f"share_{name}", ratio(weekdays[number], total), f"share of events on this weekday ({name})")
    yield Feature("weekday_entropy", entropy(weekdays), "entropy of the weekdays, in bits")


@family
def levels(rows: Rows) -> Iterator[Feature]:
    """Progress where the log tells a level."""
    if not rows.contents.level:
        return
    table, none = rows.table, "no event with a level"
    top = table.level.max().cast("int64")
    yield Feature("level", top, "highest level seen", none, whole=True)
    yield Feature(
        "levels_gained", top - table.lowest.min().cast("int64"), "highest level less the lowest", none, whole=True
    )
    week = min(7, rows.rules.observe)
    before = ibis.coalesce(table.level.max(where=table.age > week), table.lowest.min()).cast("int64")
    yield Feature(
        f"levels_gained_{week}d",
        top - before,
        f"highest level less the highest before the last {week} days",
        none,
        whole=True,
    )
    per_day = ratio(top - table.lowest.min().cast("int64"), rows.count())
    yield Feature("levels_per_active_day", per_day, "levels gained an active day", none)
