"""Scales of a table without a label on which distances between rows mean something."""

# N rows, K knots

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.preprocess import CodeInput, NumberInput, Preprocessing, plain_number
from ludocast.datamodules.schema import Column, Schema

DAY = 86_400.0
KNOTS = 64  # of a logarithm; straight lines need two
TAIL, ROOM = 0.005, 0.5  # values beyond these quantiles count as far as half the range between them, no farther
SKEWED = 2.0  # skewness from which on amounts are taken by their logarithm
MOST_VALUES, RAREST = 20, 0.005  # values of a text column with a place of their own, and the least share of one


@dataclass(frozen=True)
class DistanceScales:
    """How columns become distances, to be applied and to be told.

    Attributes:
        schema: With columns that tell no rows apart set to "ignored".
        preprocessing: Scaled numbers, then missing flags; codes.
        told: Column to a sentence on its scale.
    """

    schema: Schema
    preprocessing: Preprocessing
    told: dict[str, str]


def fit_distances(schema: Schema, columns: RawColumns) -> DistanceScales:
    """Fit on rows.

    Numbers keep the gaps between groups, which ranks would close: they are centred and divided by their standard
    deviation, amounts with a long tail by their logarithm, the farthest values drawn in.

    Args:
        schema: Which columns there are.
        columns: Raw columns.

    Raises:
        ValueError: If no column tells rows apart.
    """
    numbers: list[NumberInput] = []
    codes: list[CodeInput] = []
    told: dict[str, str] = {}
    kept: list[Column] = []
    for column in schema.columns:
        reason = None
        if column.name not in columns:
            kept.append(column)
        elif column.kind in ("number", "timestamp"):
            number, sentence = _number(column, columns[column.name])
            numbers.append(number)
            told[column.name] = sentence
        else:
            keys, others = _values(columns[column.name])
            if len(keys):
                codes.append(CodeInput(column.name, keys.astype(object)))
                told[column.name] = f"one place a value{f', {others:,} rarer values share one' if others else ''}"
            else:
                reason = "no value is frequent enough to tell a group"
        if column.name in columns:
            kept.append(column if reason is None else replace(column, kind="ignored", reason=reason))
    found = schema.with_columns(kept)
    if not found.inputs:
        reasons = "; ".join(f'"{column.name}": {column.reason}' for column in kept)
        raise ValueError(f"no column is left to tell rows apart ({reasons})")
    return DistanceScales(found, Preprocessing(tuple(numbers), tuple(codes), (), (0.0, 1.0), ()), told)


def _number(column: Column, values: np.ndarray) -> tuple[NumberInput, str]:
    origin, unit = 0.0, 1.0
    if column.kind == "timestamp":
        origin, unit = (float(np.nanmin(values)) if not np.isnan(values).all() else 0.0, DAY)
    x = plain_number(NumberInput(column.name, np.empty(0), np.empty(0), False, origin, unit), values)
    gaps = np.isnan(x)
    knots, scores, sentence = _scale(x[~gaps].astype(np.float64))
    if gaps.any():
        sentence += ", missing values count as the mean, and that they miss as one standard deviation"
    return NumberInput(column.name, knots, scores, bool(gaps.any()), origin, unit), sentence


def _scale(known: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """Knots and scores, float32 [K], and what is told of them."""
    if not len(known) or known.min() == known.max():
        value = np.float32(known[0] if len(known) else 0)
        return np.array([value, np.nextafter(value, np.float32(np.inf))]), np.zeros(2, np.float32), "always the same"
    low, high = np.quantile(known, [TAIL, 1 - TAIL])
    inside = np.clip(known, low, high)
    deviation = inside.std()
    skewness = float((((inside - inside.mean()) / deviation) ** 3).mean()) if deviation > 0 else np.inf
    is_log = bool(known.min() >= 0 and skewness > SKEWED)
    middle = float(np.median(known[known > 0])) if is_log else 1.0
    forth: Callable[[np.ndarray], np.ndarray] = (lambda x: np.log1p(x / middle)) if is_log else (lambda x: x)
    ends = forth(np.array([known.min(), low, high, known.max()]))
    begin, end = ends[0], ends[3]
    if ends[2] > ends[1]:
        room = ROOM * (ends[2] - ends[1])
        begin, end = max(begin, ends[1] - room), min(end, ends[2] + room)
    grid = np.linspace(begin, end, KNOTS if is_log else 2)
    knots = np.unique((middle * np.expm1(grid) if is_log else grid).astype(np.float32))
    spread = np.clip(forth(known), begin, end)
    scores = ((forth(knots.astype(np.float64)) - spread.mean()) / spread.std()).astype(np.float32)
    if len(knots) == 1:  # numbers too near one another for float32
        return np.array([knots[0], np.nextafter(knots[0], np.float32(np.inf))]), np.zeros(2, np.float32), "always equal"
    what = f"logarithm of 1 + x / {middle:.3g}" if is_log else "straight"
    drawn = int((forth(known) < begin).sum() + (forth(known) > end).sum())
    return knots, scores, f"{what}, in standard deviations{f', {drawn:,} far values drawn in' if drawn else ''}"


def _values(values: np.ndarray) -> tuple[np.ndarray, int]:
    """The values with a place of their own, and the number of others."""
    keys, counts = np.unique(values[values != ""].astype(str), return_counts=True)
    order = np.lexsort((keys, -counts))[:MOST_VALUES]
    frequent = np.sort(order[counts[order] >= max(2, RAREST * len(values))])
    return keys[frequent], len(keys) - len(frequent)
