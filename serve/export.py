"""What a graph of classes ends in, and its preprocessing in words for whoever cuts that off."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from ludocast.datamodules.preprocess import FIRST, MISSING, UNKNOWN, Preprocessing, slopes
from ludocast.models.fitted import Fitted, FittedClasses, FittedLabels
from ludocast.models.segments.segmentation import Segmentation
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_learners import add_probabilities
from onnx import TensorProto

PREPROCESSING = "ludocast.preprocessing"  # metadata key of the preprocessing as JSON, for `export core`


def add_class_outputs(graph: GraphBuilder, fitted: FittedClasses, logits: str) -> None:
    """`label` and `probabilities` of logits that are calibrated already."""
    p = add_probabilities(graph, logits, len(fitted.classes) if len(fitted.classes) > 2 else 1)
    positive = fitted.schema.positive_index
    if positive is None or fitted.threshold is None:
        chosen = graph.op("ArgMax", p, axis=1, keepdims=0)
    else:
        of_positive = graph.op("Gather", p, graph.constant(np.array(positive, np.int64)), axis=1)
        reached = graph.op("GreaterOrEqual", of_positive, graph.constant(np.array(fitted.threshold, np.float32)))
        sides = [graph.constant(np.array(side, np.int64)) for side in (positive, 1 - positive)]
        chosen = graph.op("Where", reached, *sides)
    label = graph.op("Gather", graph.constant(np.array(fitted.classes, dtype=object)), chosen, axis=0)
    graph.output(label, "label", TensorProto.STRING, ["N"])
    graph.output(p, "probabilities", TensorProto.FLOAT, ["N", len(fitted.classes)])


def preprocessing_metadata(fitted: Fitted | Segmentation) -> dict[str, str]:
    """What a graph holds for `export core`."""
    document = preprocessing_document(fitted)
    return {PREPROCESSING: json.dumps(document, ensure_ascii=False, separators=(",", ":"))}


def preprocessing_document(fitted: Fitted | Segmentation) -> dict[str, Any]:
    """What a foreign runtime has to do before the core graph, as plain JSON."""
    preprocessing: Preprocessing = fitted.preprocessing
    return {
        "format": 1,
        "missing_tokens": list(fitted.schema.missing_tokens),
        **_answers(fitted),
        "sizes": {
            "numbers": preprocessing.number_size,
            "codes": len(preprocessing.codes),
            "raw": preprocessing.raw_size,
        },
        "numbers": [
            {
                "column": entry.column,
                "origin": entry.origin,
                "unit": entry.unit,
                "knots": entry.knots.tolist(),
                "slopes": slopes(entry).tolist(),
                "scores": entry.scores.tolist(),
                "missing_flag": entry.missing_flag,
            }
            for entry in preprocessing.numbers
        ],
        "codes": [
            {
                "column": entry.column,
                "unknown": UNKNOWN,
                "missing": MISSING,
                "values": {_key(key): FIRST + i for i, key in enumerate(entry.keys)},
            }
            for entry in preprocessing.codes
        ],
        "means": [
            {
                "column": entry.column,
                "values": dict(zip(map(_key, entry.keys), entry.means.tolist(), strict=True)),
                "default": entry.default.tolist(),
            }
            for entry in preprocessing.means
        ],
        "mean_scale": list(preprocessing.mean_scale),
        "network_means": list(preprocessing.network_means),
    }


def _answers(fitted: Fitted | Segmentation) -> dict[str, Any]:
    if isinstance(fitted, FittedClasses):
        return {"classes": list(fitted.classes), "positive": fitted.schema.positive, "threshold": fitted.threshold}
    if isinstance(fitted, FittedLabels):
        return {"classes": list(fitted.classes), "thresholds": fitted.thresholds.tolist()}
    if isinstance(fitted, Segmentation):
        return {"classes": list(fitted.names), "measures": list(fitted.measures)}
    return {"classes": [], "coverage": fitted.interval.coverage}


def _key(key: object) -> str:
    return key if isinstance(key, str) else json.dumps(float(key))  # type: ignore[arg-type]
