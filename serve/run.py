"""A model run on the rows of a request, batch by batch, the answers in the rows' order."""

# N rows

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ludocast.serve.feeds import Feeds
from ludocast.serve.manifest import Manifest
from ludocast.serve.sequence_feeds import SequenceFeeds
from ludocast.serve.taker import ManifestError

Run = Callable[[list[str], dict[str, np.ndarray[Any, Any]]], Any]  # as `onnxruntime.InferenceSession.run`
Array = np.ndarray[Any, Any]


def run_feeds(run: Run, manifest: Manifest, feeds: Feeds | SequenceFeeds) -> tuple[Array, Array]:
    """Both outputs for all rows; without a row the model is not asked.

    Args:
        run: The model.
        manifest: What its answers are.
        feeds: Of N rows.

    Returns:
        Objects [N] of str and float32 [N, classes]; of several labels bool [N, classes] and float32 [N, classes]; where
        the task's answers are numbers, float32 [N] and their bounds, float32 [N, 2]; where they are lists, objects [N],
        each a list of str, and objects [N], each float32 of the same length.

    Raises:
        ManifestError: If the model is another's.
    """
    outputs = list(manifest.outputs)
    labels: Array = np.empty(feeds.rows, np.float32 if manifest.has_numbers else object)
    if manifest.labels is not None:
        labels = np.empty((feeds.rows, len(manifest.classes)), np.bool_)
    if not manifest.has_lists:
        probabilities: Array = np.empty((feeds.rows, manifest.widths), np.float32)
        for rows, tensors in feeds.batches():
            label, p = run(outputs, tensors)
            if label.shape != labels[rows].shape or p.shape != probabilities[rows].shape:
                raise ManifestError(
                    f"the model answers shapes {label.shape} and {p.shape}, not {labels[rows].shape} and "
                    f"{probabilities[rows].shape}"
                )
            labels[rows], probabilities[rows] = label, p
        return labels, probabilities
    assert isinstance(feeds, SequenceFeeds)
    probabilities = np.empty(feeds.rows, object)
    for index, tensors in feeds.batches():
        found, p = run(outputs, tensors)
        sizes = feeds.lengths[index] if manifest.task == "tags" else (found != "").sum(axis=1)
        for place, row in enumerate(index.tolist()):
            labels[row] = found[place, : sizes[place]].tolist()
            probabilities[row] = p[place, : sizes[place]]
    return labels, probabilities
