"""How good predicted numbers are on rows that the model has never seen: the figures and charts that reports share."""

# N test rows

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
from ludocast.models.metrics import Interval
from ludocast.models.number_loss import SQUARED, LossName, NumberLoss
from ludocast.models.number_metrics import NumberStanding, compare_numbers, number_metrics
from ludocast.serve.charts import Series, dot_chart, line_chart, nice_range, nice_top
from ludocast.serve.manifest import Manifest
from ludocast.serve.measured import resamples_of
from markupsafe import Markup

SHOWN_ROWS = 1_000  # dots of a chart
OUTER = (0.5, 99.5)  # percentiles between which charts show all
BINS = 30
TENTHS = 10
NUMBER_TITLES = {
    "pinball_loss": "pinball loss of the quantile (lower is better)",
    "poisson_deviance": "mean Poisson deviance (lower is better)",
    "tweedie_deviance": "mean Tweedie deviance of power 1.5 (lower is better)",
    "rmse": "root mean squared error, RMSE (lower is better)",
    "mae": "mean absolute error, MAE (lower is better)",
    "r2": "R², share of the variance told",
    "coverage": "true values within their interval",
    "interval_width": "mean width of an interval",
}
SHORT_NUMBER_TITLES = {
    "pinball_loss": "pinball loss", "poisson_deviance": "Poisson deviance", "tweedie_deviance": "Tweedie deviance",
    "rmse": "RMSE", "mae": "MAE", "r2": "R²", "coverage": "share within the interval",
    "interval_width": "width of the interval",
}  # fmt: skip


@dataclass(frozen=True)
class MeasuredNumbers:
    """What the test rows say of a model of a number.

    Attributes:
        rows: Part to number of rows.
        values: Measures with their intervals.
        leaderboard: Ours first, then the others on the same rows.
        charts: SVG figures of what was predicted and what was.
        coverage: Share that was to lie inside.
        mean: Of the label, for a sense of scale.
        below: Where a quantile is predicted, that, and the share of the true values that are not above it.
    """

    rows: Mapping[str, int]
    values: Mapping[str, Interval]
    leaderboard: Sequence[NumberStanding]
    charts: Sequence[Markup]
    coverage: float
    mean: float
    below: tuple[float, float] | None = None

    def metrics(self) -> dict[str, Any]:
        """The figures as JSON."""
        return {
            "metrics": {name: asdict(value) for name, value in self.values.items()},
            "wanted_coverage": self.coverage,
            "leaderboard": [asdict(entry) for entry in self.leaderboard],
        }

    def headline(self) -> list[str]:
        """The first sentences of a page; the variance is not told where all rows have the same label."""
        mae, inside = (self.values[name].value for name in ("mae", "coverage"))
        off = f"On rows it has never seen the model is off by {mae:,.4g} on average (the mean is {self.mean:,.4g})"
        told = f", and tells {100 * self.values['r2'].value:.1f} % of the variance" if "r2" in self.values else ""
        first = f"{off}{told}."
        if self.below is not None:
            wanted, found = (100 * share for share in self.below)
            first = f"It predicts what {wanted:g} % of the rows stay below: of rows it has never seen {found:.1f} % do."
        return [
            first,
            f"{100 * inside:.1f} % of the true values lie within their interval; {100 * self.coverage:.0f} % were to.",
        ]

    def verdict(self) -> str:
        """The leaderboard in a sentence or two; none where there is no other one."""
        if len(self.leaderboard) == 1:
            return ""
        close = [entry for entry in self.leaderboard[1:] if (behind := _behind(entry)) is not None and behind.low <= 0]
        if not close:
            return "Ours is ahead of every other one here by more than chance explains."
        best = min(close, key=lambda entry: _decisive(entry).value)
        words = best.loss_words if best.loss_words else "RMSE"
        return (
            f"Another one is as good here: the difference to {best.name} ({words} {_decisive(best).value:,.4g}) is "
            "within chance. If that one is easier for you, take it."
        )


def _decisive(entry: NumberStanding) -> Interval:
    """The loss by which numbers are predicted, of the squared one its root."""
    return entry.rmse if entry.loss is None else entry.loss


def _behind(entry: NumberStanding) -> Interval | None:
    return entry.rmse_behind if entry.loss is None else entry.loss_behind


def loss_of(manifest: Manifest) -> NumberLoss:
    """By which a bundle's numbers were predicted; the squared one of a bundle that does not tell."""
    told = manifest.loss
    if told is None:
        return SQUARED
    name = cast(LossName, told.name)
    return NumberLoss(name) if told.quantile is None else NumberLoss(name, told.quantile)


def measure_numbers(
    leaderboard: Mapping[str, np.ndarray],
    bounds: np.ndarray,
    label: np.ndarray,
    *,
    name: str,
    coverage: float,
    rows: Mapping[str, int],
    loss: NumberLoss = SQUARED,
    seed: int = 0,
) -> MeasuredNumbers:
    """Measure the first of some candidates, and set the others beside it.

    Args:
        leaderboard: Numbers [N] of each candidate, ours first.
        bounds: Of ours, [N, 2].
        label: float64 [N].
        name: Of the label.
        coverage: Share of true values that is to lie inside.
        rows: Part to number of rows.
        loss: By which they are predicted.
        seed: Of resamples, and of the rows that charts show.
    """
    resamples = resamples_of(len(label))
    ours = next(iter(leaderboard.values()))
    return MeasuredNumbers(
        rows=rows,
        values=number_metrics(ours, bounds, label, loss=loss, seed=seed, resamples=resamples),
        leaderboard=compare_numbers(leaderboard, label, loss=loss, seed=seed, resamples=resamples),
        charts=_charts(name, ours, bounds, label, coverage, seed),
        coverage=coverage,
        mean=float(label.mean()),
        below=(loss.quantile, float(np.mean(label <= ours))) if loss.name == "quantile" else None,
    )


def _charts(
    name: str, value: np.ndarray, bounds: np.ndarray, label: np.ndarray, coverage: float, seed: int
) -> list[Markup]:
    shown = np.random.default_rng(seed).permutation(len(label))[:SHOWN_ROWS]
    residual = label - value
    both = nice_range(*np.percentile(np.concatenate([value, label]), OUTER).tolist())
    off = nice_range(*np.percentile(residual, OUTER).tolist())
    edges = np.linspace(*off, BINS + 1)
    count = np.histogram(np.clip(residual, *off), edges)[0] / len(residual)
    inside = (bounds[:, 0] <= label) & (label <= bounds[:, 1])
    tenths = np.array_split(np.argsort(value, kind="stable"), min(TENTHS, len(value)))
    share = [float(inside[rows].mean()) for rows in tenths]
    at = [(k + 0.5) / len(tenths) for k in range(len(tenths))]
    return [
        dot_chart(
            "Predicted and actual", value[shown], label[shown], ("predicted", name), (both, both),
            [(both[0], both[0]), (both[1], both[1])],
        ),
        dot_chart(
            "Residuals", value[shown], residual[shown], ("predicted", "actual − predicted"), (both, off),
            [(both[0], min(max(0.0, off[0]), off[1])), (both[1], min(max(0.0, off[0]), off[1]))],
        ),
        line_chart(
            "How large residuals are",
            [Series("share", np.repeat(edges, 2)[1:-1], np.repeat(count, 2))],
            "actual − predicted", "share of rows", off, (0.0, nice_top(float(count.max()))),
        ),
        line_chart(
            "Within the interval, by predicted value",
            [Series("within", at, share, marks=True), Series("(wanted)", [0, 1], [coverage, coverage])],
            "rows from the lowest to the highest prediction", "share within",
        ),
    ]  # fmt: skip
