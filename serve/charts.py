"""Small charts as inline SVG: coloured by CSS variables of the page, told apart by dashes and markers as well."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from markupsafe import Markup

WIDTH, HEIGHT = 360, 300
YEAR = 366 * 86_400.0
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 42
DASHES = ("", "7 4", "2 4", "9 3 2 3")


@dataclass(frozen=True)
class Series:
    """One line: a name for the legend, x and y; `marks` draws points on it."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    marks: bool = False
    low: Sequence[float] | np.ndarray | None = None
    high: Sequence[float] | np.ndarray | None = None


def line_chart(
    title: str,
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    x_range: tuple[float, float] = (0.0, 1.0),
    y_range: tuple[float, float] = (0.0, 1.0),
    x_text: Callable[[float], str] | None = None,
    y_text: Callable[[float], str] | None = None,
) -> Markup:
    """Lines over one pair of axes; grey dots for a series named with a leading "(" (a guide, not a result)."""
    body = [_axes(x_label, y_label, x_range, y_range, x_text, y_text)]
    colour = 0
    for one in series:
        guide = one.name.startswith("(")
        points = [(_x(x, x_range), _y(y, y_range)) for x, y in zip(one.x, one.y, strict=True)]
        style = "guide" if guide else f"line c{colour}"
        dash = "3 4" if guide else DASHES[colour % len(DASHES)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        body.append(f'<polyline class="{style}" stroke-dasharray="{dash}" points="{path}"/>')
        if one.low is not None and one.high is not None:
            for (x, _), low, high in zip(points, one.low, one.high, strict=True):
                y1, y2 = _y(low, y_range), _y(high, y_range)
                body.append(
                    f'<line class="line c{colour} thin" x1="{x:.1f}" x2="{x:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'
                )
        if one.marks:
            body += [f'<circle class="dot c{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in points]
        colour += not guide
    return figure(title, "".join(body), _legend(series))


def bar_chart(
    title: str,
    names: Sequence[str],
    values: Sequence[float],
    spread: Sequence[float],
    unit: str,
    is_difference: bool = True,
) -> Markup:
    """Horizontal bars, names beside them; negative values go to the left of the line; differences have a sign."""
    row, label_width = 26, 150
    height = row * len(names) + 34
    low = min(0.0, *(value - deviation for value, deviation in zip(values, spread, strict=True)))
    high = max(1e-9, *(value + deviation for value, deviation in zip(values, spread, strict=True)))
    scale = (WIDTH - label_width - 62) / (high - low)
    zero = label_width - low * scale
    sign_shown = "+" if is_difference else ""
    digits = int(np.clip(3 - np.floor(np.log10(max(1e-9, *map(abs, values)))), 0, 3))
    body = []
    for i, (name, value, deviation) in enumerate(zip(names, values, spread, strict=True)):
        y = i * row + 6
        x, width = (zero, value * scale) if value >= 0 else (zero + value * scale, -value * scale)
        sign = "c0" if value >= 0 else "c1"
        body.append(f'<text class="name" x="{label_width - 8}" y="{y + 13}" text-anchor="end">{_short(name)}</text>')
        body.append(f'<rect class="bar {sign}" x="{x:.1f}" y="{y}" width="{max(width, 0.5):.1f}" height="16"/>')
        at = zero + value * scale
        half = deviation * scale
        if half > 0.5:
            body.append(f'<line class="axis" x1="{at - half:.1f}" x2="{at + half:.1f}" y1="{y + 8}" y2="{y + 8}"/>')
        where = max(at + half, zero) + 5
        told = f"{round(value, digits) + 0.0:{sign_shown},.{digits}f}"  # 0.0 is added, for there is a -0.0
        body.append(f'<text class="tick" x="{where:.1f}" y="{y + 12}">{told}</text>')
    body.append(f'<line class="axis" x1="{zero:.1f}" x2="{zero:.1f}" y1="2" y2="{row * len(names) + 4}"/>')
    body.append(f'<text class="tick" x="{label_width}" y="{height - 10}">{escape(unit)}</text>')
    return figure(title, "".join(body), "", height)


def effect_chart(
    title: str,
    values: Sequence[float] | Sequence[str],
    effect: Sequence[float],
    y_range: tuple[float, float],
    y_label: str = "mean probability",
) -> Markup:
    """A curve over numbers, points over categories."""
    if values and isinstance(values[0], str):
        names = [str(value) for value in values]
        return bar_chart(title, names, effect, [0.0] * len(names), y_label, is_difference=False)
    x = np.asarray(values, float)
    span = (float(x.min()), float(x.max())) if x.max() > x.min() else (float(x.min()) - 1, float(x.min()) + 1)
    one = Series(y_label, x.tolist(), list(effect), marks=True)
    return line_chart(title, [one], title, y_label, span, y_range)


def dot_chart(
    title: str,
    x: np.ndarray,
    y: np.ndarray,
    labels: tuple[str, str],
    ranges: tuple[tuple[float, float], tuple[float, float]],
    guide: Sequence[tuple[float, float]],
) -> Markup:
    """A dot a row, and a line of those that would be right.

    Args:
        title: Of the figure.
        x: Across.
        y: Upwards.
        labels: Of both axes.
        ranges: Of both axes; dots outside are drawn at the rim.
        guide: Points of the line.
    """
    xs, ys = np.clip(x, *ranges[0]), np.clip(y, *ranges[1])
    body = [_axes(*labels, *ranges, None)]
    body += [
        f'<circle class="dot c0 faint" cx="{_x(float(a), ranges[0]):.1f}" cy="{_y(float(b), ranges[1]):.1f}" r="2"/>'
        for a, b in zip(xs, ys, strict=True)
    ]
    line = " ".join(f"{_x(a, ranges[0]):.1f},{_y(b, ranges[1]):.1f}" for a, b in guide)
    body.append(f'<polyline class="guide" stroke-dasharray="3 4" points="{line}"/>')
    return figure(title, "".join(body), "")


@dataclass(frozen=True)
class Steps:
    """A value over time that holds from one moment to the next.

    Attributes:
        pieces: Moments in seconds since 1970, ascending, and values; one pair a stretch without a break.
        events: Moments to be ticked along the bottom.
        before: Moment and value from which the marked rise goes; None marks none.
        after: Moment and value to which it goes.
    """

    pieces: Sequence[tuple[np.ndarray, np.ndarray]]
    events: np.ndarray
    before: tuple[float, float] | None = None
    after: tuple[float, float] | None = None


def step_chart(title: str, steps: Steps, y_label: str, y_top: float, caption: str) -> Markup:
    """A step line over dates with events below it, the marked rise told by a dot and words.

    Args:
        title: Of the figure.
        steps: What is drawn; one moment at least.
        y_label: Of the value.
        y_top: End of the value's axis, which begins at 0.
        caption: Told below.
    """
    begin, end = steps.pieces[0][0][0], steps.pieces[-1][0][-1]
    span = (float(begin), float(max(end, begin + 4 * 86_400)))
    y_range = (0.0, y_top)
    body = [_axes("", y_label, span, y_range, date_text(span))]
    bottom = HEIGHT - BOTTOM
    for moment in steps.events[(steps.events >= span[0]) & (steps.events <= span[1])]:
        x = _x(float(moment), span)
        body.append(f'<line class="event" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom - 7}" y2="{bottom}"/>')
    for moments, values in steps.pieces:
        xs = [f"{_x(float(moment), span):.1f}" for moment in moments]
        ys = [f"{_y(float(value), y_range):.1f}" for value in values]
        if len(xs) == 1:
            body.append(f'<circle class="dot c0" cx="{xs[0]}" cy="{ys[0]}" r="2"/>')
            continue
        path = f"M{xs[0]},{ys[0]}" + "".join(f"H{x}V{y}" for x, y in zip(xs[1:], ys[1:], strict=True))
        body.append(f'<path class="line c0 steps" d="{path}"/>')
    if steps.before is not None and steps.after is not None:
        x, low, high = _x(steps.after[0], span), _y(steps.before[1], y_range), _y(steps.after[1], y_range)
        body.append(f'<line class="line c1" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
        body.append(f'<circle class="dot c1" cx="{x:.1f}" cy="{high:.1f}" r="4"/>')
        anchor, shift = ("start", 8) if x < WIDTH / 2 else ("end", -8)
        at = f'x="{x + shift:.1f}" y="{max(high - 6, TOP + 10):.1f}" text-anchor="{anchor}"'
        body.append(f'<text class="label halo" {at}>risk rose here</text>')
    return figure(title, "".join(body), f"<figcaption>{escape(caption)}</figcaption>")


def date_text(span: tuple[float, float]) -> Callable[[float], str]:
    """How moments on an axis over this span (seconds since 1970) are told."""
    return _date if span[1] - span[0] < YEAR else _month


def _date(moment: float) -> str:
    return f"{dt.datetime.fromtimestamp(moment, dt.UTC):%d %b}".lstrip("0")


def _month(moment: float) -> str:
    return f"{dt.datetime.fromtimestamp(moment, dt.UTC):%b %Y}"


def nice_range(low: float, high: float) -> tuple[float, float]:
    """The ends of an axis that holds both values and has a round number at each quarter.

    Args:
        low: The lowest value.
        high: The highest one; above the lowest, or else some room is made.
    """
    gap = high - low if high > low else max(abs(high), 1e-3) / 10
    unit = 10.0 ** np.floor(np.log10(gap / 4))
    for k in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 20):
        begin = float(np.floor(low / (k * unit) * (1 + 1e-12)) * k * unit)
        if begin + 4 * k * unit >= high * (1 - 1e-9) - 1e-300:
            break
    return begin, begin + float(4 * k * unit)


def nice_top(value: float) -> float:
    """The end of an axis from 0 that holds `value` and has a round number at each quarter.

    Args:
        value: Above 0.
    """
    unit = 10.0 ** np.floor(np.log10(value / 4))
    return float(
        next(4 * k * unit for k in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 20) if 4 * k * unit >= value * (1 - 1e-9))
    )


def spark_line(values: Sequence[float], top: float, label: str) -> Markup:
    """A line of a word's size from 0 to `top`, at equal distances."""
    at = np.linspace(1, 79, max(len(values), 2))
    points = " ".join(f"{x:.1f},{21 - 20 * value / top:.1f}" for x, value in zip(at, values, strict=False))
    return Markup(
        f'<svg class="spark" viewBox="0 0 80 22" role="img" aria-label="{escape(label)}">'
        f'<line class="guide" x1="0" x2="80" y1="21.5" y2="21.5"/><polyline class="line c0" points="{points}"/></svg>'
    )


def _short(name: str) -> str:
    text = name if len(name) <= 20 else name[:19] + "…"
    return escape(text)


def _tick(value: float) -> str:
    """Short enough to stand beside its neighbours: 15,024 is 15k."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if 10 * unit <= abs(value) < 1e4 * unit:
            return f"{value / unit:.3g}{letter}"
    return f"{value:,.4g}"


def _y_tick(value: float) -> str:
    return _tick(value) if abs(value) >= 1_000 else f"{value:.3g}"


def _x(value: float, limits: tuple[float, float]) -> float:
    return LEFT + (value - limits[0]) / (limits[1] - limits[0]) * (WIDTH - LEFT - RIGHT)


def _y(value: float, limits: tuple[float, float]) -> float:
    return HEIGHT - BOTTOM - (value - limits[0]) / (limits[1] - limits[0]) * (HEIGHT - TOP - BOTTOM)


def _axes(
    x_label: str,
    y_label: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    x_text: Callable[[float], str] | None = None,
    y_text: Callable[[float], str] | None = None,
) -> str:
    said, said_beside = _tick if x_text is None else x_text, _y_tick if y_text is None else y_text
    parts = []
    for k in range(5):
        vx = x_range[0] + k / 4 * (x_range[1] - x_range[0])
        vy = y_range[0] + k / 4 * (y_range[1] - y_range[0])
        x, y = _x(vx, x_range), _y(vy, y_range)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        anchor = "end" if k == 4 else "middle"  # the last one would leave the picture
        at = f'x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}"'
        parts.append(f'<text class="tick" {at} text-anchor="{anchor}">{said(vx)}</text>')
        parts.append(f'<text class="tick" x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{said_beside(vy)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text class="label" x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{_short_label(x_label)}</text>'
    )
    centre = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text class="label" transform="translate(11 {centre}) rotate(-90)" text-anchor="middle">'
        f"{_short_label(y_label)}</text>"
    )
    return "".join(parts)


def _short_label(text: str) -> str:
    return escape(text if len(text) <= 46 else text[:45] + "…")


def _legend(series: Sequence[Series]) -> str:
    if len(series) < 2:
        return ""
    items, colour = [], 0
    for one in series:
        guide = one.name.startswith("(")
        style, dash = ("guide", "3 4") if guide else (f"line c{colour}", DASHES[colour % len(DASHES)])
        items.append(
            f'<span><svg class="key" viewBox="0 0 28 8" aria-hidden="true"><line class="{style}" x1="0" x2="28" y1="4" '
            f'y2="4" stroke-dasharray="{dash}"/></svg>{escape(one.name.strip("()") if guide else one.name)}</span>'
        )
        colour += not guide
    return f'<figcaption class="legend">{"".join(items)}</figcaption>'


def figure(title: str, body: str, legend: str, height: int = HEIGHT) -> Markup:
    """A drawing of `WIDTH` with its title, and what stands below it."""
    return Markup(
        f'<figure><h3>{escape(title)}</h3><svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{body}</svg>{legend}</figure>"
    )
