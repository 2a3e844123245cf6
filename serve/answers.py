"""What predictions look like to others: records of JSON, columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pyarrow as pa
from ludocast.serve.manifest import Manifest
from ludocast.serve.manifest_labels import labels_had
from ludocast.serve.scorer import Predictions

SCORED = "scored_"
_ONE = {"distances": "distance", "probabilities": "probability"}


def answer_records(manifest: Manifest, found: Predictions) -> list[dict[str, Any]]:
    """One record a row: label and probabilities, value and bounds, a segment, labels, lists of labels, or items."""
    if manifest.task == "items":
        return [{"items": _items(found, row)} for row in range(len(found.labels))]
    if manifest.labels is not None:
        had = zip(labels_had(manifest, found.labels), found.probabilities.tolist(), strict=True)
        return [{"labels": names, "probabilities": dict(zip(manifest.classes, p, strict=True))} for names, p in had]
    pairs = zip(found.labels.tolist(), found.probabilities.tolist(), strict=True)
    if manifest.has_lists:
        return [{"labels": labels, "probabilities": p.tolist()} for labels, p in pairs]
    if manifest.has_numbers:
        return [{"value": value, "lower": bounds[0], "upper": bounds[1]} for value, bounds in pairs]
    positive, classes = manifest.positive_index, manifest.classes
    if manifest.measures is not None:
        measure, *more = manifest.measures
        return [
            {"segment": segment, measure: dict(zip(classes, p, strict=False)), **dict(zip(more, p[-1:], strict=False))}
            for segment, p in pairs
        ]
    return [
        {
            "label": label,
            "probability": max(p) if positive is None else p[positive],
            "probabilities": dict(zip(classes, p, strict=True)),
        }
        for label, p in pairs
    ]


def answer_names(manifest: Manifest) -> list[str]:
    """Names of the columns that `answer_columns` gives."""
    if manifest.has_lists:
        return [f"{SCORED}{output}" for output in manifest.outputs]
    if manifest.has_numbers:
        return [f"{SCORED}{name}" for name in ("value", "lower", "upper")]
    if manifest.measures is not None:
        one, more = _ONE[manifest.measures[0]], manifest.measures[1:]
        return [f"{SCORED}{name}" for name in ("segment", *(f"{one}_{name}" for name in manifest.classes), *more)]
    if manifest.labels is not None:
        return [f"{SCORED}{what}_{name}" for what in ("label", "probability") for name in manifest.classes]
    names = [f"{SCORED}label", f"{SCORED}probability"]
    if manifest.positive_index is None:
        names += [f"{SCORED}probability_{name}" for name in manifest.classes]
    return names


def classic_names(manifest: Manifest) -> dict[str, str]:
    """How Azure ML Studio (classic) named the columns of `answer_names`, in its order; it had none of the others."""
    label, probability = f"{SCORED}label", f"{SCORED}probability"
    if manifest.has_numbers:
        return {f"{SCORED}value": "Scored Labels"}
    if manifest.measures is not None:
        segment, *measured = answer_names(manifest)[: len(manifest.classes) + 1]
        column = "DistancesToClusterCenter no." if manifest.measure == "distances" else "Probability of cluster no."
        return {segment: "Assignments"} | {name: f"{column}{k}" for k, name in enumerate(measured)}
    if manifest.has_lists:
        label, probability = (f"{SCORED}{output}" for output in manifest.outputs)
    if manifest.has_lists or manifest.positive_index is not None:
        return {label: "Scored Labels", probability: "Scored Probabilities"}
    if manifest.labels is not None:
        titles = [
            f'{what} for "{name}"' for what in ("Scored Labels", "Scored Probabilities") for name in manifest.classes
        ]
        return dict(zip(answer_names(manifest), titles, strict=True))
    classes = {f"{probability}_{name}": f'Scored Probabilities for Class "{name}"' for name in manifest.classes}
    return {**classes, label: "Scored Labels"}


def answer_columns(manifest: Manifest, found: Predictions, is_text: bool) -> list[pa.Array]:
    """Arrow columns of predictions.

    Args:
        manifest: Of the bundle.
        found: N rows.
        is_text: Whether lists are JSON arrays in text, as CSV needs them.
    """
    p = found.probabilities
    if manifest.has_lists:
        lists: Sequence[Sequence[Any]] = (found.labels.tolist(), [row.tolist() for row in p])
        if is_text:
            return [pa.array([orjson.dumps(row).decode() for row in rows], pa.string()) for rows in lists]
        return [pa.array(rows, pa.list_(kind)) for rows, kind in zip(lists, (pa.string(), pa.float32()), strict=True)]
    if manifest.has_numbers:
        return [pa.array(found.labels), *(pa.array(bound) for bound in p.T.copy())]
    if manifest.measures is not None:
        return [pa.array(found.labels.tolist(), pa.string()), *(pa.array(measure) for measure in p.T.copy())]
    if manifest.labels is not None:
        return [*(pa.array(had) for had in found.labels.T.copy()), *(pa.array(one) for one in p.T.copy())]
    positive = manifest.positive_index
    columns = [
        pa.array(found.labels.tolist(), pa.string()),
        pa.array(p.max(axis=1) if positive is None else p[:, positive]),
    ]
    return columns if positive is not None else [*columns, *(pa.array(p[:, k]) for k in range(p.shape[1]))]


def _items(found: Predictions, row: int) -> list[dict[str, Any]]:
    items, scores = found.labels[row], found.probabilities[row].tolist()
    if found.because is None:
        return [{"item": item, "score": score} for item, score in zip(items, scores, strict=True)]
    return [
        {"item": item, "score": score, "because": because}
        for item, score, because in zip(items, scores, found.because[row], strict=True)
    ]
