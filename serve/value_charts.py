"""Charts of predicted amounts: gains, tenths on a logarithmic axis, distributions, and how often intervals hold."""

# N test rows

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ludocast.models.value.measures import Tenth, gains
from ludocast.serve.charts import Series, line_chart, nice_top
from markupsafe import Markup

POINTS = 100  # of a curve
BINS = 24


def value_charts(
    name: str,
    entity: str,
    value: np.ndarray,
    bounds: np.ndarray,
    label: np.ndarray,
    tenths: Sequence[Tenth],
    coverage: float,
) -> list[Markup]:
    """The figures of a page.

    Args:
        name: Of the label.
        entity: What a row is.
        value: Predicted, float64 [N], above 0.
        bounds: Around these, [N, 2].
        label: True, float64 [N], 0 or more.
        tenths: The lowest first.
        coverage: Share that is to lie within the bounds.
    """
    share = np.linspace(0, 1, POINTS + 1)
    found, best = (np.interp(share, *gains(order, label)) for order in (value, label))
    inside = (bounds[:, 0] <= label) & (label <= bounds[:, 1])
    rows = np.array_split(np.argsort(value, kind="stable"), len(tenths))
    at = [(k + 0.5) / len(tenths) for k in range(len(tenths))]
    return [
        line_chart(
            f"Where the {name} is found",
            [
                Series("by prediction", share, found),
                Series("by the true order", share, best),
                Series("(chance)", [0, 1], [0, 1]),
            ],
            f"share of the {entity}s, highest prediction first", f"share of {name}",
        ),
        _tenths(name, tenths, at),
        _distributions(name, value, label),
        line_chart(
            "Within the interval, by predicted value",
            [
                Series("within", at, [float(inside[part].mean()) for part in rows], marks=True),
                Series("have nothing", at, [1 - one.above_zero for one in tenths], marks=True),
                Series("(wanted)", [0, 1], [coverage, coverage]),
            ],
            "rows from the lowest to the highest prediction", "share of rows",
        ),
    ]  # fmt: skip


def _tenths(name: str, tenths: Sequence[Tenth], at: Sequence[float]) -> Markup:
    every = np.array([[one.predicted, one.actual.value, one.actual.low, one.actual.high] for one in tenths])
    low, high = _decades(every[every > 0])
    logs = np.log10(np.maximum(every, 10.0**low))  # a tenth of nothing is drawn at the rim
    return line_chart(
        "Each tenth: predicted and actual mean",
        [
            Series("actual, with 95 % interval", at, logs[:, 1], marks=True, low=logs[:, 2], high=logs[:, 3]),
            Series("predicted", at, logs[:, 0], marks=True),
        ],
        "rows from the lowest to the highest prediction", f"mean {name}", y_range=(low, high), y_text=_of_log,
    )  # fmt: skip


def _distributions(name: str, value: np.ndarray, label: np.ndarray) -> Markup:
    above = label[label > 0]
    span = _decades(np.concatenate([value, above]))
    edges = np.linspace(*span, BINS + 1)
    x = np.repeat(edges, 2)[1:-1]
    counts = [np.histogram(np.log10(one), edges)[0] / len(label) for one in (value, above)]
    top = nice_top(float(max(count.max() for count in counts)))
    return line_chart(
        f"How large they are ({1 - len(above) / len(label):.0%} have nothing)",
        [Series(title, x, np.repeat(c, 2)) for title, c in zip(("predicted", "actual, above 0"), counts, strict=True)],
        name, "share of rows", span, (0.0, top), x_text=_of_log,
    )  # fmt: skip


def _decades(values: np.ndarray) -> tuple[float, float]:
    """The ends of a logarithmic axis that holds values above 0, as powers of ten."""
    low, high = (float(np.log10(end)) for end in (values.min(), values.max()))
    return float(np.floor(low)), float(max(np.ceil(high), np.floor(low) + 1))


def _of_log(exponent: float) -> str:
    value = 10.0**exponent
    return f"{value:.2g}" if value < 100 else f"{float(f'{value:.2g}'):,.0f}"
