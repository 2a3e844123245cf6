"""The page of an event log's profile: what it holds, what is wrong with it, which windows fit it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ludocast.serve.charts import Series, line_chart, nice_top
from ludocast.serve.page import render_page
from ludocast.serve.profile_charts import count_bars, over_days, share_bars, week_chart
from markupsafe import Markup

LENGTHS = ("under 1 min", "1 to 5 min", "5 to 15 min", "15 to 30 min", "30 to 60 min", "1 to 2 hours", "over 2 hours")
CHECKS = (
    "rows that are there twice, rows out of order, times in the future or before 2000, clocks that jump, days and "
    "hours without events, programs among players, shared ids, moved time zones, columns that carry the future"
)
RESOLUTIONS = {1: "milliseconds", 1_000: "seconds", 60_000: "minutes", 3_600_000: "hours", 86_400_000: "days"}
LONG = 400  # days: above, lines are drawn thin, and several ones by weeks
SHOWN_PERIODS = 26  # columns of the triangle


def render_profile(document: Mapping[str, Any], name: str) -> str:
    """The page: one file, no script, nothing from elsewhere.

    Args:
        document: Of `profile.json`.
        name: Of the log.
    """
    head, daily = document["log"], document["daily"]
    first_day = _day_number(head["first_day"])
    return render_page(
        "profile.html.jinja",
        name=name,
        head=head,
        lead=lead(document),
        cards=_cards(document),
        warnings=document["warnings"],
        checks=CHECKS,
        day_charts=[
            over_days("Events a day", first_day, {"events": daily["events"]}, "events"),
            _lines("Players a day", first_day, daily, ("active", "returning", "new")),
            _lines("New, and back after a week or more", first_day, daily, ("new", "back")),
        ],
        classic=[(day, entry) for day, entry in document["retention"]["classic"].items() if entry["share"] is not None],
        period=document["retention"]["period_days"],
        triangle=_triangle(document["retention"]["cohorts"]),
        return_chart=_return_chart(document["return_times"], document["suggestion"]["windows"]),
        suggestion=document["suggestion"],
        windows=_windows(document["suggestion"]["windows"]),
        play_charts=_play_charts(document),
        sessions=document["sessions"],
        event_types=_event_types(document["event_types"], head),
        spending=document["spending"],
        spending_charts=_spending_charts(document["spending"], first_day),
        is_long=head["days"] > LONG,
        resolution=RESOLUTIONS[head["resolution_ms"]],
    )  # fmt: skip


def _lines(title: str, first_day: int, daily: Mapping[str, Sequence[float]], names: Sequence[str]) -> Markup:
    """Several lines, of a long log the means of weeks, for those of days would cover each other."""
    is_long = len(daily[names[0]]) > LONG
    values = {name: daily[name] for name in names}
    return over_days(title, first_day, values, "players, mean of a week" if is_long else "players", 7 if is_long else 1)


def lead(document: Mapping[str, Any]) -> list[str]:
    """The profile in a few sentences."""
    head, active = document["log"], np.array(document["daily"]["active"])
    sentences = [
        f"{_counted(head['events'], 'event')} of {_counted(head['players'], 'player')} on "
        f"{_counted(head['days'], 'day')}, {head['first_day']} to {head['last_day']}; active on a usual day: "
        f"{np.median(active):,.0f}."
    ]
    classic = document["retention"]["classic"]
    words = {"D1": "the day after", "D7": "on the 7th day", "D30": "on the 30th"}
    told = [f"{_percent(entry['share'])} {words[day]}" for day, entry in classic.items() if entry["share"] is not None]
    if told:
        sentences.append(f"Of new players {', '.join(told)} are back.")
    lost = document["return_times"]["gone_after"]
    if lost is not None:
        sentences.append(f"Of players quiet for {_counted(lost, 'day')} 95% do not come back.")
    return sentences


def _cards(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    head, daily = document["log"], document["daily"]
    found = [
        ("events", _short(head["events"])), ("players", _short(head["players"])), ("days", f"{head['days']:,}"),
        ("active on a usual day", f"{np.median(daily['active']):,.0f}"),
        ("new on a usual day", f"{np.median(daily['new']):,.0f}"),
    ]  # fmt: skip
    found += [
        (f"{day} retention", f"{entry['share']:.1%}")
        for day, entry in document["retention"]["classic"].items()
        if entry["share"] is not None
    ]
    if document["sessions"] is not None:
        found.append(("usual session", _minutes(document["sessions"]["quantile_seconds"]["0.5"])))
    if document["spending"] is not None:
        found.append(("players who pay", f"{document['spending']['payers'] / head['players']:.1%}"))
    return found


def _percent(share: float) -> str:
    return f"{share:.{1 if 0 < share < 0.0095 else 0}%}"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _short(number: int) -> str:
    return f"{number / 1e6:,.3g} M" if number >= 1_000_000 else f"{number:,}"


def _minutes(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.{0 if seconds >= 600 else 1}f} min"


def _day_number(text: str) -> int:
    return dt.date.fromisoformat(text).toordinal() - dt.date(1970, 1, 1).toordinal()


def _triangle(cohorts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows of cohorts, each cell with its text and its part of the highest; columns are periods, later ones spread."""
    longest = max((len(cohort["share"]) for cohort in cohorts), default=0)
    periods = list(range(1, longest))
    if len(periods) > SHOWN_PERIODS:
        periods = sorted({int(p) for p in np.geomspace(1, longest - 1, SHOWN_PERIODS).round()})
    rows, most = [], max((share for cohort in cohorts for share in cohort["share"][1:]), default=0) or 1
    for cohort in cohorts:
        share = cohort["share"]
        cells = [(f"{share[p]:.0%}", round(100 * share[p] / most)) if p < len(share) else None for p in periods]
        rows.append({"begin": cohort["begin"], "players": cohort["players"], "cells": cells})
    return {"periods": periods, "rows": rows}


def _return_chart(times: Mapping[str, Any], windows: Mapping[str, int] | None) -> Markup:
    share, gone = times["come_back"], times["gone_after"]
    horizon = None if windows is None else windows["horizon"]
    wanted = max(14, *(int(1.6 * days) for days in (gone, horizon) if days is not None), 0)
    until = min(len(share), wanted + 1)
    lines = [
        Series("still come back", np.arange(until), share[:until], marks=until < 3),
        Series("(5% come back)", [0, max(until - 1, 1)], [0.05, 0.05]),
    ]
    if horizon is not None and horizon < until:
        lines.append(Series("(suggested horizon)", [horizon, horizon], [0.0, 1.0]))
    title, x_label = "Who comes back after a quiet time?", "days without an event"
    return line_chart(title, lines, x_label, "share who come back", (0.0, nice_top(max(until - 1, 4))))


def _windows(windows: Mapping[str, int] | None) -> list[tuple[str, str, str]]:
    words = {
        "observe": "what is known of a player: the days before the snapshot",
        "gap": "days between the snapshot and its label, to act in",
        "horizon": "no event for so long is called churn",
        "active_within": "only players seen in these last days are asked about",
        "step": "from one snapshot to the next",
    }
    if windows is None:
        return []
    return [(name, _counted(windows[name], "day"), said) for name, said in words.items()]


def _play_charts(document: Mapping[str, Any]) -> list[Markup]:
    charts = []
    sessions = document["sessions"]
    if document["week"] is not None:
        charts.append(week_chart(f"Events by weekday and hour ({document['time_zone']})", document["week"]))
    if sessions is not None:
        counts: dict[str, float] = dict(zip(LENGTHS, sessions["length_counts"], strict=True))
        one = sessions["of_one_event"] / sessions["sessions"]
        told = f"{one:.1%} of sessions have one event alone" if one >= 0.0005 else ""
        charts.append(count_bars("Length of sessions", counts, told))
        charts.append(
            count_bars("Sessions of a player on a day", sessions["a_day"], f"{sessions['mean_a_day']:.2f} on average")
        )
    return charts


def _event_types(types: Sequence[Mapping[str, Any]] | None, head: Mapping[str, Any]) -> list[dict[str, Any]]:
    if types is None:
        return []
    most = max(entry["events"] for entry in types)
    return [
        {
            **entry, "width": 100 * entry["events"] / most, "share": entry["events"] / head["events"],
            "of_players": entry["players"] / head["players"],
        }
        for entry in types
    ]  # fmt: skip


def _spending_charts(spending: Mapping[str, Any] | None, first_day: int) -> list[Markup]:
    if spending is None:
        return []
    shares = {f"top {float(share):.0%}": part for share, part in spending["of_top_payers"].items()}
    return [
        over_days("Paid a day", first_day, {"paid": spending["daily"]}, "sum of amounts"),
        over_days("Players who pay, a day", first_day, {"payers": spending["daily_payers"]}, "players"),
        share_bars("What top payers bring", shares, "of all that was paid; top of the players who paid at all"),
    ]
