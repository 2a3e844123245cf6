"""Small charts as inline SVG: coloured by CSS variables of the page, told apart by dashes and markers as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT = 360, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 42
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
) -> str:
    """Lines over one pair of axes; grey dots for a series named with a leading "(" (a guide, not a result)."""
    body = [_axes(x_label, y_label, x_range, y_range)]
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
    return _figure(title, "".join(body), _legend(series))


def bar_chart(title: str, names: Sequence[str], values: Sequence[float], spread: Sequence[float], unit: str) -> str:
    """Horizontal bars, names beside them; negative values go to the left of the line."""
    row, label_width = 26, 150
    height = row * len(names) + 34
    low, high = min(0.0, *values, 0.0), max(1e-9, *values)
    scale = (WIDTH - label_width - 62) / (high - low)
    zero = label_width - low * scale
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
        body.append(f'<text class="tick" x="{where:.1f}" y="{y + 12}">{value:+.3f}</text>')
    body.append(f'<line class="axis" x1="{zero:.1f}" x2="{zero:.1f}" y1="2" y2="{row * len(names) + 4}"/>')
    body.append(f'<text class="tick" x="{label_width}" y="{height - 10}">{escape(unit)}</text>')
    return _figure(title, "".join(body), "", height)


def effect_chart(
    title: str, values: Sequence[float] | Sequence[str], probability: Sequence[float], y_max: float
) -> str:
    """A curve over numbers, points over categories."""
    if values and isinstance(values[0], str):
        names = [str(value) for value in values]
        return bar_chart(title, names, probability, [0.0] * len(names), "mean probability")
    x = np.asarray(values, float)
    span = (float(x.min()), float(x.max())) if x.max() > x.min() else (float(x.min()) - 1, float(x.min()) + 1)
    one = Series("mean probability", x.tolist(), list(probability), marks=True)
    return line_chart(title, [one], title, "mean probability", span, (0.0, y_max))


def nice_top(value: float) -> float:
    """The end of an axis from 0 that holds `value` and has a round number at each quarter.

    Args:
        value: Above 0.
    """
    unit = 10.0 ** np.floor(np.log10(value / 4))
    return float(
        next(4 * k * unit for k in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 20) if 4 * k * unit >= value * (1 - 1e-9))
    )


def spark_line(values: Sequence[float], top: float, label: str) -> str:
    """A line of a word's size from 0 to `top`, at equal distances."""
    at = np.linspace(1, 79, max(len(values), 2))
    points = " ".join(f"{x:.1f},{21 - 20 * value / top:.1f}" for x, value in zip(at, values, strict=False))
    return (
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
    return f"{value:.4g}"


def _x(value: float, limits: tuple[float, float]) -> float:
    return LEFT + (value - limits[0]) / (limits[1] - limits[0]) * (WIDTH - LEFT - RIGHT)


def _y(value: float, limits: tuple[float, float]) -> float:
    return HEIGHT - BOTTOM - (value - limits[0]) / (limits[1] - limits[0]) * (HEIGHT - TOP - BOTTOM)


def _axes(x_label: str, y_label: str, x_range: tuple[float, float], y_range: tuple[float, float]) -> str:
    parts = []
    for k in range(5):
        vx = x_range[0] + k / 4 * (x_range[1] - x_range[0])
        vy = y_range[0] + k / 4 * (y_range[1] - y_range[0])
        x, y = _x(vx, x_range), _y(vy, y_range)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        anchor = "end" if k == 4 else "middle"  # the last one would leave the picture
        at = f'x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}"'
        parts.append(f'<text class="tick" {at} text-anchor="{anchor}">{_tick(vx)}</text>')
        parts.append(f'<text class="tick" x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{vy:.3g}</text>')
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


def _figure(title: str, body: str, legend: str, height: int = HEIGHT) -> str:
    return (
        f'<figure><h3>{escape(title)}</h3><svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{body}</svg>{legend}</figure>"
    )
