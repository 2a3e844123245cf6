"""What a chart says of a number."""

from __future__ import annotations

import re

import pytest
from ludocast.serve.charts import bar_chart, effect_chart


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0.0, 4.0, ["0", "1", "2", "3", "4"]),
        (0.0, 15_024.0, ["0", "3,756", "7,512", "11.3k", "15k"]),
        (0.0, 40e6, ["0", "10M", "20M", "30M", "40M"]),
        (-2.0, 2.0, ["-2", "-1", "0", "1", "2"]),
    ],
)
def test_ticks_are_short(low: float, high: float, wanted: list[str]) -> None:
    page = effect_chart("x", [low, high], [0.5, 0.5], (0.0, 1.0))
    ticks = re.findall(r'<text class="tick" x="[^"]*" y="([^"]*)" text-anchor="[a-z]*">([^<]*)</text>', page)
    bottom = max(float(y) for y, _ in ticks)
    assert [text for y, text in ticks if float(y) == bottom] == wanted


def test_a_bars_interval_does_not_reach_its_name() -> None:
    page = bar_chart("x", ["small", "large"], [0.01, 0.1], [0.03, 0.01], "share")
    lines = re.findall(r'<line class="axis" x1="([^"]*)" x2="([^"]*)"', page)
    name_ends = float(re.findall(r'<text class="name" x="([^"]*)"', page)[0])
    assert float(lines[0][0]) > name_ends
    widths = [float(end) - float(begin) for begin, end in lines[:2]]
    assert widths[0] == pytest.approx(3 * widths[1], abs=0.5)
