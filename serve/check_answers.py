"""Whether a model reproduces what was recorded of its check rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from ludocast.serve.manifest import Manifest
from ludocast.serve.taker import ManifestError

TOLERANCE = 1e-4  # between the recorded probabilities of the check rows and those on this machine


def check_answers(manifest: Manifest, label: np.ndarray[Any, Any], probabilities: np.ndarray[Any, Any]) -> None:
    """Refuse other answers than the recorded ones.

    Args:
        manifest: With the check rows.
        label: The first of what `run_feeds` gives.
        probabilities: The second.

    Raises:
        ManifestError: With the first row that differs.
    """
    check = {"lists": _check_lists, "number": _check_numbers, "labels": _check_labels}.get(manifest.kind.answer, _check)
    check(manifest, label, probabilities)


def _check_lists(manifest: Manifest, labels: np.ndarray[Any, Any], probabilities: np.ndarray[Any, Any]) -> None:
    recorded = zip(manifest.check_rows.label, manifest.check_rows.probabilities, strict=True)
    for row, (wanted, p_wanted) in enumerate(recorded):
        found, p = list(labels[row]), probabilities[row].tolist()
        near = len(p) == len(p_wanted) and all(abs(a - b) <= TOLERANCE for a, b in zip(p, p_wanted, strict=True))
        # Of several labels the likeliest is below a half if another comes near it, and may then give way to that one.
        if not near or any(a != b and q > 0.5 + TOLERANCE for a, b, q in zip(found, wanted, p_wanted, strict=True)):
            raise ManifestError(
                f"it does not reproduce its check rows: row {row + 1} gives {_shown(found, p)} and was recorded with "
                f"{_shown(list(wanted), list(p_wanted))}; use the onnxruntime it was made with, or export it again"
            )


def _check_labels(manifest: Manifest, labels: np.ndarray[Any, Any], probabilities: np.ndarray[Any, Any]) -> None:
    wanted = _near(manifest, labels, probabilities)
    assert manifest.labels is not None
    of_thresholds = np.abs(wanted - [one.threshold for one in manifest.labels])
    for row, recorded in enumerate(manifest.check_rows.label):
        differs = labels[row] != np.isin(manifest.classes, recorded)
        if (differs & (of_thresholds[row] > TOLERANCE)).any():
            name = manifest.classes[int(np.flatnonzero(differs)[0])]
            raise ManifestError(
                f'it does not reproduce its check rows: row {row + 1} and the label "{name}" are recorded otherwise; '
                "export the model again"
            )


def _check_numbers(manifest: Manifest, value: np.ndarray[Any, Any], bounds: np.ndarray[Any, Any]) -> None:
    recorded = zip(manifest.check_rows.label, manifest.check_rows.probabilities, strict=True)
    wanted = np.array([[value, *bounds] for value, bounds in recorded])
    if value.shape != wanted.shape[:1] or bounds.shape != (len(wanted), 2):
        raise ManifestError(f"the model answers shapes {value.shape} and {bounds.shape}; export it again")
    found = np.column_stack([value, bounds])
    # Numbers have a unit: what is little for a salary is much for a share.
    near = np.abs(found - wanted) <= TOLERANCE * np.abs(wanted).max()
    wrong = np.flatnonzero(~near.all(axis=1))
    if len(wrong):
        row = int(wrong[0])
        raise ManifestError(
            f"it does not reproduce its check rows: row {row + 1} gives {found[row].tolist()} and was recorded with "
            f"{wanted[row].tolist()}; use the onnxruntime it was made with, or export it again"
        )


def _shown(labels: list[str], probabilities: list[float]) -> str:
    pairs = [f"{label} {p:.6f}" for label, p in zip(labels, probabilities, strict=True)]
    return f"[{', '.join(pairs[:5])}{', …' if len(pairs) > 5 else ''}]"


def _near(manifest: Manifest, label: np.ndarray[Any, Any], probabilities: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The recorded probabilities, near which those found have to be."""
    wanted = np.array(manifest.check_rows.probabilities)
    if probabilities.shape != wanted.shape or len(label) != len(wanted):
        raise ManifestError(f"the model answers shape {probabilities.shape}, not {wanted.shape}; export it again")
    distance = np.abs(probabilities - wanted)
    # NaN is not within any distance.
    wrong = np.flatnonzero(~(distance <= TOLERANCE).all(axis=1))
    if len(wrong):
        row = int(wrong[0])
        raise ManifestError(
            f"it does not reproduce its check rows: row {row + 1} gives {probabilities[row].tolist()} and was recorded "
            f"with {wanted[row].tolist()}; use the onnxruntime it was made with, or export it again"
        )
    return wanted


def _check(manifest: Manifest, label: np.ndarray[Any, Any], probabilities: np.ndarray[Any, Any]) -> None:
    wanted = _near(manifest, label, probabilities)
    for row, (found, recorded) in enumerate(zip(label, manifest.check_rows.label, strict=True)):
        if found != recorded and not _close_call(manifest, wanted[row]):
            raise ManifestError(
                f'it does not reproduce its check rows: row {row + 1} gives the label "{found}" and was recorded with '
                f'"{recorded}"; export the model again'
            )


def _close_call(manifest: Manifest, probabilities: np.ndarray[Any, Any]) -> bool:
    """Whether a difference within the tolerance may turn the label."""
    if manifest.positive_index is not None and manifest.threshold is not None:
        return bool(abs(probabilities[manifest.positive_index] - manifest.threshold) <= TOLERANCE)
    best = np.sort(probabilities[: len(manifest.classes)] * (-1 if manifest.measure == "distances" else 1))
    return len(best) > 1 and bool(best[-1] - best[-2] <= 2 * TOLERANCE)
