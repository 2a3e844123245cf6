"""The map and the tree of segments, as inline SVG in the house's look."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from ludocast.serve.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, figure
from markupsafe import Markup

COLOURS = 4  # of the page; segments beyond are told by their numbers, which stand on the map
MOST_POINTS = 1500


def map_chart(title: str, points: np.ndarray, segment: np.ndarray, names: Sequence[str], caption: str) -> Markup:
    """Points [N, 2] with the name of each segment at its middle; the outermost hundredth at the edge."""
    low, high = np.quantile(points, [0.005, 0.995], axis=0)
    width = np.where(high > low, high - low, 1)
    at = np.clip((points - low) / width, 0, 1)
    x, y = 10 + at[:, 0] * (WIDTH - 20), HEIGHT - 10 - at[:, 1] * (HEIGHT - 20)
    shown = np.linspace(0, len(points) - 1, min(len(points), MOST_POINTS)).astype(int)
    body = [
        f'<circle class="dot c{segment[i] % COLOURS}" fill-opacity="0.45" cx="{x[i]:.1f}" cy="{y[i]:.1f}" r="2"/>'
        for i in shown
    ]
    for k, name in enumerate(names):
        inside = segment == k
        if inside.any():
            place = f'x="{np.median(x[inside]):.1f}" y="{np.median(y[inside]) + 5:.1f}" text-anchor="middle"'
            body.append(
                f'<text {place} style="font:700 16px system-ui;fill:var(--ink);stroke:var(--card);stroke-width:4px;'
                f'paint-order:stroke">{escape(name)}</text>'
            )
    return figure(title, "".join(body), f"<figcaption>{escape(caption)}</figcaption>")


def tree_chart(title: str, tree: np.ndarray, owner: np.ndarray, names: Sequence[str], caption: str) -> Markup:
    """A dendrogram: leaves from left to right as the tree joins them, joins at their heights.

    Args:
        title: Of the figure.
        tree: Of P leaves, as `ward_tree`.
        owner: Segment of each leaf.
        names: Of the segments.
        caption: Told below.
    """
    count = len(tree) + 1
    members: dict[int, list[int]] = {leaf: [leaf] for leaf in range(count)}
    for step, row in enumerate(tree):
        members[count + step] = members[int(row[0])] + members[int(row[1])]
    order = members[2 * count - 2]
    x = np.empty(2 * count - 1)
    y = np.zeros(2 * count - 1)
    x[order] = LEFT / 2 + (np.arange(count) + 0.5) / count * (WIDTH - LEFT / 2 - RIGHT)
    top = float(tree[:, 2].max())
    bottom = HEIGHT - BOTTOM
    body = []
    for step, (a, b, height, _) in enumerate(tree):
        left, right, node = int(a), int(b), count + step
        x[node], y[node] = (x[left] + x[right]) / 2, height
        owners = {int(owner[leaf]) for leaf in members[node]}
        style = f"line c{owners.pop() % COLOURS}" if len(owners) == 1 else "guide"
        ys = [bottom - value / top * (bottom - TOP) for value in (y[left], height, y[right])]
        path = f"M{x[left]:.1f},{ys[0]:.1f}V{ys[1]:.1f}H{x[right]:.1f}V{ys[2]:.1f}"
        body.append(f'<path class="{style} thin" d="{path}"/>')
    for k, name in enumerate(names):
        leaves = np.flatnonzero(owner == k)
        if len(leaves):
            place = f'x="{x[leaves].mean():.1f}" y="{bottom + 18}" text-anchor="middle"'
            body.append(f'<text class="label" {place}>{escape(name)}</text>')
    return figure(title, "".join(body), f"<figcaption>{escape(caption)}</figcaption>")
