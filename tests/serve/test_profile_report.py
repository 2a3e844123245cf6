"""The page of a profile: its sentences, its triangle and its charts, of numbers by hand."""

from __future__ import annotations

import re
from typing import Any

from ludocast.serve.profile_charts import count_bars, over_days, week_chart
from ludocast.serve.profile_report import lead, render_profile


def document(**changes: Any) -> dict[str, Any]:
    return {
        "log": {
            "rows": 1_205, "events": 1_200, "players": 1, "first_day": "2024-01-01", "last_day": "2024-01-20", "days": 20,
            "columns": {"player": "user", "time": "ts"}, "other_columns": ["<os>"], "notes": ['player is column "user"'],
            "resolution_ms": 1_000, "duplicate_rows": 3, "rows_back_in_time": 0,
        },
        "daily": {name: [6, 2, 4, 8] * 5 for name in ("events", "active", "new", "back", "returning")},
        "retention": {
            "classic": {
                "D1": {"players": 40, "active": 10, "share": 0.25}, "D7": {"players": 40, "active": 5, "share": 0.125},
                "D30": {"players": 0, "active": 0, "share": None},
            },
            "period_days": 7,
            "cohorts": [
                {"begin": "2024-01-01", "players": 30, "active": [30, 9], "share": [1.0, 0.3]},
                {"begin": "2024-01-08", "players": 10, "active": [10], "share": [1.0]},
            ],
        },
        "sessions": None, "event_types": None, "spending": None, "week": None, "time_zone": "UTC",
        "return_times": {"come_back": [0.9, 0.5, 0.04, 0.0], "pauses": [90, 80, 70, 60], "gone_after": 2},
        "suggestion": {
            "windows": {"observe": 4, "gap": 0, "horizon": 2, "active_within": 1, "step": 1},
            "options": "--horizon 2d", "reasons": ["after 2 quiet days 96% do not come back"],
        },
        "warnings": [],
        **changes,
    }  # fmt: skip


def test_the_lead_in_words() -> None:
    assert lead(document()) == [
        "1,200 events of 1 player on 20 days, 2024-01-01 to 2024-01-20; active on a usual day: 5.",
        "Of new players 25% the day after, 12% on the 7th day are back.",
        "Of players quiet for 2 days 95% do not come back.",
    ]


def test_the_page_of_a_log_without_a_fault() -> None:
    page = render_profile(document(), "a & b.parquet")
    assert "a &amp; b.parquet" in page
    assert "&lt;os&gt;" in page
    assert "Nothing was found" in page
    assert re.findall(r'<td class="s" style="--p:(\d+)">(\d+%)</td>', page) == [("100", "30%")]
    assert "D30" not in page
    assert "as fine as seconds" in page
    assert "ludocast snapshots --log LOG --horizon 2d --out snaps" in page
    for absent in ("How they play", "What happens", "What is paid"):
        assert absent not in page


def test_warnings_and_a_log_too_short_for_windows() -> None:
    warning = {"kind": "shared ids", "told": 'half of all under "guest"', "advice": "leave it out"}
    nothing = {"windows": None, "options": None, "reasons": ["the log is too short"]}
    page = render_profile(document(warnings=[warning], suggestion=nothing), "log")
    assert "<b>Shared ids</b>: half of all under &#34;guest&#34;." in page
    assert "Leave it out." in page
    assert "Windows that fit" not in page
    assert "<pre>" not in page


def test_the_busiest_hour_is_the_darkest() -> None:
    counts = [[0] * 24 for _ in range(7)]
    counts[2][5], counts[6][23] = 30, 10
    chart = str(week_chart("week", counts))
    assert chart.count('class="cell"') == 168
    assert "Wed 05:00: 30 events, 75.0%" in chart
    opacity = re.findall(r"fill-opacity:([\d.]+)\"><title>(Wed 05|Sun 23|Mon 00)", chart)
    assert opacity == [("0.040", "Mon 00"), ("1.000", "Wed 05"), ("0.360", "Sun 23")]
    assert "the busiest hour has 75.0% of all events" in chart


def test_bars_and_days() -> None:
    chart = str(count_bars("bars", {"few": 1, "many": 2_999_999}))
    assert "100.0% (3.0 M)" in chart
    assert "0.0% (1)" in chart
    line = str(over_days("days", 19_723, {"events": [1.0, 7.0, 3.0]}, "events"))  # from 2024-01-01 on
    assert ">1 Jan<" in line
    assert ">8<" in line  # the end of the axis
    long = str(over_days("days", 19_723, {"events": [1.0] * 800}, "events"))
    assert ">Jan ’24<" in long
    weeks = str(over_days("days", 19_723, {"events": [0, 0, 0, 0, 0, 0, 7] * 60 + [900]}, "events", 7))
    (line,) = re.findall(r'class="line c0" stroke-dasharray="" points="([^"]*)"', weeks)
    assert len(line.split()) == 60
    assert ">1<" in weeks  # the mean of a week
    assert "900" not in weeks
