"""The cost model's figures, fitted to points that the network bench has measured, and how far off it is elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

import numpy as np
from scipy.optimize import least_squares

from benchmarks.compression.contestants import WIDTHS
from benchmarks.compression.cost import METHODS, Cluster, Costs, Shape, step_seconds
from benchmarks.compression.points import Point

LATENCY, MESSAGE = 50e-6, 5e-6  # seconds, of TCP on Linux: assumed, not measured
# What is fitted: where the search begins, and its bounds.
FITTED = {
    "overlap": (0.3, 0.0, 1.0),
    "overlap_delay": (0.9, 0.0, 1.0),
    "wire": (1.05, 1.0, 2.0),
    "per_byte": (0.3, 0.0, 20.0),
    "coding": (1.2, 0.5, 10.0),
    "fp16": (1.0, 0.0, 50.0),
    "powersgd": (3.0, 0.0, 50.0),
    "powersgd_rank": (0.5, 0.0, 50.0),
}
_FAITH = 1e-4  # weight of the beginning, which decides where the points do not


@dataclass(frozen=True)
class Check:
    """A measured point beside what the model says of it.

    Attributes:
        point: Measured.
        within: Seconds, fitted to all points.
        outside: Seconds, fitted without the point's whole setting (ranks and link); None where nothing else is left.
    """

    point: Point
    within: float
    outside: float | None

    def error(self, seconds: float | None) -> float | None:
        """Relative to what was measured."""
        return None if seconds is None else seconds / self.point.median - 1


def bench_shape(parameters: int) -> Shape:
    """Of the network bench's model.

    Raises:
        ValueError: If the points are of another one.
    """
    matrices = list(pairwise(WIDTHS))
    biases = sum(m for _, m in matrices)
    if parameters != sum(n * m for n, m in matrices) + biases:
        raise ValueError(f"the points are of a model of {parameters:,} parameters, not of contestants.py's")
    return Shape(parameters, sum(n + m for n, m in matrices), biases)


def cluster_of(point: Point) -> Cluster:
    """A link a rank, and all ranks on the cores of one machine."""
    busy = max(1.0, point.ranks / point.cores)
    return Cluster(point.ranks, point.both_ways, 1, busy, LATENCY, MESSAGE)


def compute_of(points: Sequence[Point]) -> Callable[[Point], float]:
    """Seconds without communication, measured in the same setting, or at least with as many ranks and rows."""
    none = [point for point in points if point.method == "none"]

    def seconds(point: Point) -> float:
        alike = [other for other in none if (other.ranks, other.batch) == (point.ranks, point.batch)]
        same = [other for other in alike if other.link == point.link]
        if not alike:
            raise ValueError(
                f"no point of method none with {point.ranks} ranks and batch {point.batch}: the model takes a step's "
                "compute time as measured; run network.py with --methods … none"
            )
        return median(other.median for other in (same or alike))

    return seconds


def predict(point: Point, compute: float, costs: Costs) -> float:
    """What the model says of a measured point, in seconds."""
    return step_seconds(point.method, compute, bench_shape(point.parameters), cluster_of(point), costs)


def fit(points: Sequence[Point], compute: Callable[[Point], float]) -> Costs:
    """Least squares of the relative errors.

    Raises:
        ValueError: If nothing is there to fit to.
    """
    points = [point for point in points if point.method in METHODS]
    if not points:
        raise ValueError("there is no point of a method that communicates")
    kernels = [point.kernel for point in points]
    known = Costs(
        quantise=median(kernel.quantise_ns for kernel in kernels),
        decode=median(kernel.decode_ns for kernel in kernels),
        call=median(kernel.call_us for kernel in kernels) * 1e-6,
    )
    begin, low, high = (np.array(column) for column in zip(*FITTED.values(), strict=True))

    def errors(theta: np.ndarray) -> np.ndarray:
        costs = _with(known, theta)
        wrong = [predict(point, compute(point), costs) / point.median - 1 for point in points]
        return np.array([*wrong, *(_FAITH * (theta - begin) / np.maximum(begin, 0.1))])

    return _with(known, least_squares(errors, begin, bounds=(low, high), x_scale=np.maximum(begin, 0.1)).x)


def _with(known: Costs, theta: np.ndarray) -> Costs:
    return replace(known, **{name: float(value) for name, value in zip(FITTED, theta, strict=True)})


def check(points: Sequence[Point]) -> tuple[Costs, list[Check]]:
    """Fit to all points, and to all but each setting in turn."""
    compute = compute_of(points)
    communicating = [point for point in points if point.method in METHODS]
    costs = fit(communicating, compute)
    checks = []
    for setting in sorted({_setting(point) for point in communicating}):
        rest = [point for point in communicating if _setting(point) != setting]
        elsewhere = fit(rest, compute) if rest else None
        for point in communicating:
            if _setting(point) == setting:
                outside = None if elsewhere is None else predict(point, compute(point), elsewhere)
                checks.append(Check(point, predict(point, compute(point), costs), outside))
    return costs, checks


def _setting(point: Point) -> tuple[int, str]:
    return point.ranks, point.link


def summary(errors: Sequence[float]) -> tuple[float, float]:
    """Median and largest of relative errors, whatever their sign."""
    sizes = [abs(error) for error in errors]
    return (median(sizes), max(sizes)) if sizes else (math.nan, math.nan)
