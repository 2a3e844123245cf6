"""What another runtime does before the core graph, by preprocessing.json alone: cell by cell, without our code."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def core_inputs(document: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`numbers`, `codes` and `raw` of columns: numbers with NaN, texts with "" where missing."""
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    encoded = [_row(document, row) for row in rows]
    kinds = {"numbers": np.float32, "codes": np.int64, "raw": np.float32}
    return {
        name: np.array([row[name] for row in encoded], kind).reshape(len(rows), document["sizes"][name])
        for name, kind in kinds.items()
    }


def _row(document: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, list[float]]:
    plain = [_plain(entry, row[entry["column"]]) for entry in document["numbers"]]
    scaled = [_scaled(entry, x) for entry, x in zip(document["numbers"], plain, strict=True)]
    flags = [float(math.isnan(x)) for entry, x in zip(document["numbers"], plain, strict=True) if entry["missing_flag"]]
    means = {entry["column"]: _mean(entry, row[entry["column"]]) for entry in document["means"]}
    centre, width = document["mean_scale"]
    of_network = [(mean - centre) / width for name in document["network_means"] for mean in means[name]]
    return {
        "numbers": [*scaled, *flags, *of_network],
        "codes": [_code(entry, row[entry["column"]]) for entry in document["codes"]],
        "raw": [*plain, *(mean for entry in document["means"] for mean in means[entry["column"]])],
    }


def _plain(entry: Mapping[str, Any], cell: Any) -> float:
    is_time = isinstance(cell, np.float64)
    value = (float(cell) - entry["origin"]) / entry["unit"] if is_time else float(cell)
    return float(np.float32(value))


def _scaled(entry: Mapping[str, Any], x: float) -> float:
    if math.isnan(x):
        return 0.0
    knots = entry["knots"]
    inside = min(max(x, knots[0]), knots[-1])
    piece = max([k for k in range(len(knots) - 1) if knots[k] <= inside], default=0)
    return float((inside - knots[piece]) * entry["slopes"][piece] + entry["scores"][piece])


def _is_missing(cell: Any) -> bool:
    return cell == "" if isinstance(cell, str) else math.isnan(cell)


def _key(cell: Any) -> str:
    return cell if isinstance(cell, str) else json.dumps(float(cell) + 0.0)  # of -0.0 it is 0.0


def _code(entry: Mapping[str, Any], cell: Any) -> float:
    return float(entry["missing"] if _is_missing(cell) else entry["values"].get(_key(cell), entry["unknown"]))


def _mean(entry: Mapping[str, Any], cell: Any) -> list[float]:
    return list(entry["values"].get(_key(cell), entry["default"]))
