"""Tables of figures as a picture: panels of coloured cells with the number in each, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

CELL_WIDTH, CELL_HEIGHT = 40, 20
LEFT, TOP, GAP, LINE = 52, 44, 24, 15
ORANGE, BLUE = (204, 85, 0), (0, 90, 181)  # told apart by every kind of colour vision
_STRONGEST = 16.0  # speed-up, or its inverse, from which the colour is full


@dataclass(frozen=True)
class Panel:
    """A table of speed-ups.

    Attributes:
        title: Above it.
        columns: Names, from the left.
        rows: Names, from the top.
        values: [rows][columns]; NaN where there is nothing to say.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[str]
    values: Sequence[Sequence[float]]


def picture(title: str, notes: Sequence[str], panels: Sequence[Sequence[Panel]], x_label: str, y_label: str) -> str:
    """An SVG document: notes under the title, then lines of panels, all of one size.

    Args:
        title: Of the whole.
        notes: Lines of text.
        panels: Lines of panels.
        x_label: What columns are.
        y_label: What rows are.
    """
    first = panels[0][0]
    width = LEFT + len(first.columns) * CELL_WIDTH + GAP
    height = TOP + len(first.rows) * CELL_HEIGHT + GAP + LINE
    head = 40 + LINE * len(notes)
    body = [f'<text x="12" y="26" font-size="17" font-weight="bold">{escape(title)}</text>']
    body += [f'<text x="12" y="{46 + LINE * i}" font-size="11">{escape(note)}</text>' for i, note in enumerate(notes)]
    for i, line in enumerate(panels):
        for j, panel in enumerate(line):
            at = f"translate({j * width} {head + i * height})"
            body.append(f'<g transform="{at}">{_panel(panel, x_label, y_label)}</g>')
    size = f"{max(map(len, panels)) * width + 8} {head + len(panels) * height + 8}"
    w, h = size.split()
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {size}" role="img" '
        f'aria-label="{escape(title)}" font-family="sans-serif"><rect width="100%" height="100%" fill="#fff"/>'
        + "".join(body)
        + "</svg>\n"
    )


def _panel(panel: Panel, x_label: str, y_label: str) -> str:
    bottom, wide = TOP + len(panel.rows) * CELL_HEIGHT, len(panel.columns) * CELL_WIDTH
    parts = [f'<text x="{LEFT}" y="34" font-size="12" font-weight="bold">{escape(panel.title)}</text>']
    for i, (name, line) in enumerate(zip(panel.rows, panel.values, strict=True)):
        y = TOP + i * CELL_HEIGHT
        parts.append(f'<text x="{LEFT - 5}" y="{y + 14}" font-size="10" text-anchor="end">{escape(name)}</text>')
        parts += [_cell(LEFT + j * CELL_WIDTH, y, value) for j, value in enumerate(line)]
    for j, name in enumerate(panel.columns):
        x = LEFT + (j + 0.5) * CELL_WIDTH
        parts.append(f'<text x="{x}" y="{bottom + 13}" font-size="10" text-anchor="middle">{escape(name)}</text>')
    middle = LEFT + wide / 2
    parts.append(f'<text x="{middle}" y="{bottom + 27}" font-size="10" text-anchor="middle">{escape(x_label)}</text>')
    turned = f'transform="translate(11 {(TOP + bottom) / 2}) rotate(-90)"'
    parts.append(f'<text {turned} font-size="10" text-anchor="middle">{escape(y_label)}</text>')
    return "".join(parts)


def _cell(x: float, y: float, value: float) -> str:
    box = f'x="{x}" y="{y}" width="{CELL_WIDTH}" height="{CELL_HEIGHT}" stroke="#fff"'
    if math.isnan(value):
        return f'<rect {box} fill="#eee"/>'
    red, green, blue = colour(value)
    ink = "#fff" if 0.3 * red + 0.59 * green + 0.11 * blue < 140 else "#000"
    text = f'x="{x + CELL_WIDTH / 2}" y="{y + 14}" font-size="10" text-anchor="middle" fill="{ink}"'
    return f'<rect {box} fill="rgb({red},{green},{blue})"/><text {text}>{number(value)}</text>'


def colour(value: float) -> tuple[int, int, int]:
    """White at 1, blue above, orange below, by the logarithm."""
    strength = min(1.0, abs(math.log(value)) / math.log(_STRONGEST)) ** 0.7
    red, green, blue = (round(255 + (end - 255) * strength) for end in (BLUE if value > 1 else ORANGE))
    return red, green, blue


def number(value: float) -> str:
    """Short: 0.85, 1.9, 12; never 1 where it is less."""
    if math.isnan(value):
        return "–"
    if value < 9.95:
        return f"{math.floor(value * 100) / 100:.2f}" if value < 1 else f"{value:.2f}"
    return f"{value:.0f}" if value > 99 else f"{value:.1f}"
