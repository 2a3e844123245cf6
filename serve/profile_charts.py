"""Charts of a log's profile: lines over days, a week's hours, bars of counts."""

# D days

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from ludocast.serve.charts import WIDTH, YEAR, Series, date_text, figure, line_chart, nice_top
from markupsafe import Markup

DAY = 86_400.0  # s
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
CELL_HEIGHT, LABEL = 26, 34
ROW, NAMES, NUMBERS = 26, 118, 104  # of bars: height, and room on both sides


def over_days(
    title: str, first_day: int, lines: Mapping[str, Sequence[float]], y_label: str, together: int = 1
) -> Markup:
    """Lines of one value a day.

    Args:
        title: Of the figure.
        first_day: Days since 1970.
        lines: Name to values [D].
        y_label: What is counted.
        together: Days of whose values the mean is drawn; those left at the end are left out.
    """
    if together > 1:
        whole = {name: np.array(values[: len(values) // together * together]) for name, values in lines.items()}
        lines = {name: values.reshape(-1, together).mean(axis=1).tolist() for name, values in whole.items()}
    count = max(len(values) for values in lines.values())
    moments = (first_day + (together - 1) / 2 + together * np.arange(count)) * DAY
    span = (float(moments[0]), float(max(moments[-1], moments[0] + 4 * DAY)))
    top = nice_top(max(1.0, *(max(values) for values in lines.values())))
    drawn = [Series(name, moments, values, marks=count < 3) for name, values in lines.items()]
    said = _month if span[1] - span[0] >= YEAR else date_text(span)
    return line_chart(title, drawn, "", y_label, span, (0.0, top), said)


def _month(moment: float) -> str:
    return f"{dt.datetime.fromtimestamp(moment, dt.UTC):%b ’%y}"


def week_chart(title: str, counts: Sequence[Sequence[int]]) -> Markup:
    """Events by weekday and hour: the more, the darker.

    Args:
        title: Of the figure.
        counts: [7, 24], Monday first.
    """
    most = max(1, *(max(row) for row in counts))
    total = max(1, sum(sum(row) for row in counts))
    width = (WIDTH - LABEL - 4) / 24
    body = []
    for day, row in enumerate(counts):
        y = 6 + day * CELL_HEIGHT
        body.append(f'<text class="tick" x="{LABEL - 6}" y="{y + 16}" text-anchor="end">{WEEKDAYS[day]}</text>')
        for hour, count in enumerate(row):
            told = f"{WEEKDAYS[day]} {hour:02d}:00: {count:,} events, {count / total:.1%}"
            body.append(
                f'<rect class="cell" x="{LABEL + hour * width:.1f}" y="{y}" width="{width - 1:.1f}" '
                f'height="{CELL_HEIGHT - 2}" style="fill-opacity:{0.04 + 0.96 * count / most:.3f}">'
                f"<title>{told}</title></rect>"
            )
    bottom = 6 + 7 * CELL_HEIGHT
    for hour in (0, 6, 12, 18):
        x = LABEL + hour * width
        body.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 13}">{hour:02d}:00</text>')
    legend = f"<figcaption>the busiest hour has {most / total:.1%} of all events</figcaption>"
    return figure(title, "".join(body), legend, bottom + 20)


def count_bars(title: str, counts: Mapping[str, float], caption: str = "") -> Markup:
    """Horizontal bars of counts with their part of the whole.

    Args:
        title: Of the figure.
        counts: Name to number.
        caption: Told below.
    """
    total, most = max(sum(counts.values()), 1e-9), max(*counts.values(), 1e-9)
    scale = (WIDTH - NAMES - NUMBERS) / most
    body = []
    for place, (name, count) in enumerate(counts.items()):
        y, x = place * ROW + 6, NAMES + max(count * scale, 0.5) + 5
        body.append(f'<text class="name" x="{NAMES - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>')
        body.append(f'<rect class="bar c0" x="{NAMES}" y="{y}" width="{max(count * scale, 0.5):.1f}" height="16"/>')
        body.append(f'<text class="tick" x="{x:.1f}" y="{y + 12}">{count / total:.1%} ({_short(count)})</text>')
    told = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return figure(title, "".join(body), told, ROW * len(counts) + 10)


def _short(count: float) -> str:
    return f"{count / 1e6:,.1f} M" if count >= 1e6 else f"{count:,.0f}"


def share_bars(title: str, shares: Mapping[str, float], caption: str = "") -> Markup:
    """Horizontal bars of parts of a whole, each from 0 to 1.

    Args:
        title: Of the figure.
        shares: Name to share.
        caption: Told below.
    """
    scale = WIDTH - NAMES - 60
    body = []
    for place, (name, share) in enumerate(shares.items()):
        y = place * ROW + 6
        body.append(f'<text class="name" x="{NAMES - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>')
        body.append(f'<rect class="bar c0" x="{NAMES}" y="{y}" width="{max(share * scale, 0.5):.1f}" height="16"/>')
        body.append(f'<text class="tick" x="{NAMES + share * scale + 5:.1f}" y="{y + 12}">{share:.1%}</text>')
    told = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return figure(title, "".join(body), told, ROW * len(shares) + 10)
