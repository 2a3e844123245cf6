"""The figures of a run, as its metrics.json holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

METRICS_FILE = "metrics.json"


def read_metrics(run: Path) -> dict[str, Any]:
    """All that a run's metrics.json holds.

    Raises:
        ValueError: If it cannot be read.
    """
    try:
        document = json.loads((run / METRICS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{run / METRICS_FILE} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{run / METRICS_FILE} holds no object; it is not of a run")
    return document


def write_metrics(run: Path, document: Mapping[str, Any]) -> None:
    """Write a run's metrics.json.

    Raises:
        ValueError: If a number in it is not finite.
    """
    text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
    (run / METRICS_FILE).write_text(text + "\n", encoding="utf-8")


def figures(document: Mapping[str, Any]) -> dict[str, float]:
    """Measure to its value."""
    measured = document.get("metrics")
    return plain_figures(measured) if isinstance(measured, dict) else {}


def plain_figures(entries: Mapping[str, Any]) -> dict[str, float]:
    """Those entries that are finite numbers, with an interval or without."""
    found = {}
    for name, entry in entries.items():
        value = entry.get("value") if isinstance(entry, dict) else entry
        if isinstance(value, (int, float)) and np.isfinite(value):
            found[name] = float(value)
    return found
