"""What the pages of networks on sequences say, of small things known by hand; texts of users stay texts."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from ludocast.datamodules.time_features import DAY
from ludocast.models.history import History
from ludocast.models.sequence.timelines import Timeline
from ludocast.serve.charts import nice_range
from ludocast.serve.sequence_report import (
    Guess,
    SequenceReport,
    Table,
    TaggedWord,
    timeline_chart,
    timeline_words,
    write_sequence_report,
)

BEGIN = 1_717_200_000.0  # 2024-06-01
HOSTILE = '<script>alert("&")</script>'


def line(probability: list[float], days: list[float], name: str = "buy", left: bool = True) -> Timeline:
    """Events at 0:10 of the first day and at 12:00 of the fifth."""
    events = BEGIN + np.array([600.0, 4 * DAY + 43_200])
    names = np.array(["login", name], object)
    time = BEGIN + np.array(days) * DAY
    return Timeline("p1", "a rule", time, np.array(probability), events, names, float(time[-1]), left)


def test_the_rise_is_told_with_its_cause() -> None:
    silent = line([0.1, 0.125, 0.4, 0.3], [1, 2, 4, 5])
    assert timeline_words(silent) == (
        "The risk rose most on 5 June 2024, from 12.5% to 40.0%, after 3 days without an event. "
        "At the snapshot of 6 June 2024 the answer was 30.0%: the player then left."
    )
    bought = line([0.1, 0.3, 0.2], [1, 4.5 + 1 / DAY, 5], left=False)
    assert (
        "from 10.0% to 30.0%, right after “buy”. At the snapshot of 6 June 2024 the answer was 20.0%: the player then stayed."
        in (timeline_words(bought))
    )
    nameless = line([0.1, 0.3, 0.2], [1, 4.5 + 1 / DAY, 5], "event")
    assert "right after an event." in timeline_words(nameless)
    assert "within a day of an event" in timeline_words(line([0.1, 0.2], [4, 5]))
    assert timeline_words(line([0.2, 0.1], [4, 5])).startswith("The risk never rose in this time.")


def test_the_line_is_a_step_line_that_breaks_where_nobody_asks() -> None:
    page = timeline_chart(line([0.0, 1.0, 0.5, 0.5], [0, 2, 7, 8]), 1.0)
    paths = re.findall(r'<path class="line c0 steps" d="([^"]*)"', page)
    # 8 days over x from 56 to 348, 1 to 0 over y from 12 to 258: day 0, 2 and 7 are not neighbours, 7 and 8 are.
    assert paths == ["M311.5,135.0H348.0V135.0"]
    assert re.findall(r'<circle class="dot c0" cx="([^"]*)"', page) == ["56.0", "129.0"]
    assert '<circle class="dot c1" cx="129.0" cy="12.0" r="4"/>' in page
    assert page.count('class="event"') == 2
    assert re.findall(r">(\d+ Jun)<", page) == ["1 Jun", "3 Jun", "5 Jun", "7 Jun", "9 Jun"]


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0.28, 0.35, (0.28, 0.36)), (1.2, 6.9, (0.0, 8.0)), (0.5, 0.5, (0.5, 0.54)), (-3.0, 5.0, (-5.0, 5.0))],
)
def test_axes_have_round_quarters(low: float, high: float, wanted: tuple[float, float]) -> None:
    begin, end = nice_range(low, high)
    assert (begin, end) == pytest.approx(wanted)
    assert begin <= low < high + 1e-9 <= end + 2e-9


def test_a_page_shows_all_parts_and_escapes_what_users_wrote(tmp_path: Path) -> None:
    rows = [[f"{HOSTILE}{k}", "0.5000"] for k in range(50)]
    report = SequenceReport(
        name=HOSTILE, question="tags", lead=[HOSTILE], history=History(), rows={"train": 5, "test": 1_234},
        protocol=[HOSTILE], settings=[("kind", HOSTILE)], numbers={HOSTILE: 176.25, "F1": 0.5},
        timelines=[line([0.1, 0.3], [1, 4.5 + 1 / DAY], HOSTILE)],
        tables=[Table(HOSTILE, HOSTILE, (HOSTILE, "F1"), rows)],
        guesses=[Guess([HOSTILE, "b"], "came-it", [("came-it", 0.25), (HOSTILE, 0.125)])],
        sentences=[[TaggedWord(HOSTILE, "B-x", HOSTILE), TaggedWord("plain", "O", "O")]],
    )  # fmt: skip
    write_sequence_report(report, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    text = unescape(page)
    assert text.count(HOSTILE) >= 60
    assert "176.2" in text
    assert "1,234 test sequences" in text
    assert "10 more" in text  # rows of the table behind the fold
    assert 'class="track hit"><i style="width:25.0%"' in page
    assert page.count('<small class="wrong">') == 1
