"""What of a history speaks most for each answer."""

# N histories, K answers, I items

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ludocast.models.recommend.item_item import ItemItem
from ludocast.models.recommend.precision import Precision
from ludocast.models.recommend.ranking import Recommender
from ludocast.models.recommend.sparse_weights import SparseWeights
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_history import History
from ludocast.serve.graph_item_weights import add_weights
from ludocast.serve.graph_sparse_weights import add_spoken
from ludocast.serve.recommend_names import BECAUSE
from onnx import TensorProto

REASONS = 3


def add_because(
    graph: GraphBuilder, history: History, model: Recommender, item: str, is_item: str, texts: Sequence[str]
) -> None:
    """The output that tells what of the history speaks most for each of the answers; texts are those of all items."""
    shape: list[int | str] = ["N", "K", REASONS]
    nothing = graph.constant(np.array([""], object))
    if not isinstance(model, ItemItem):
        every = graph.op("Expand", graph.op("Unsqueeze", item, graph.ints(2)), graph.ints(1, 1, REASONS))
        none = graph.op("Where", graph.op("Less", every, graph.ints(0)), nothing, nothing)
        graph.output(none, BECAUSE, TensorProto.STRING, shape)
        return
    weights, _ = model.fitted()
    if isinstance(weights, SparseWeights):
        sources, spoken = add_spoken(graph, history, weights, item, REASONS)
        strongest, place = graph.several("TopK", 2, spoken, graph.ints(REASONS), axis=2)
        source = graph.op("GatherElements", sources, place, axis=2)
        shaped = graph.op("Gather", graph.constant(np.array([*texts, ""], object)), source, axis=0)
    else:
        strongest, shaped = _add_strongest(graph, history, weights, model.precision, item)
    is_told = graph.op(
        "And", graph.op("Greater", strongest, graph.floats(0.0)), graph.op("Unsqueeze", is_item, graph.ints(2))
    )
    graph.output(graph.op("Where", is_told, shaped, nothing), BECAUSE, TensorProto.STRING, shape)


def _add_strongest(
    graph: GraphBuilder, history: History, weights: np.ndarray, precision: Precision, item: str
) -> tuple[str, str]:
    """The greatest weights of a history for each of the answers, float [N, K, 3], and whose they are, strings."""
    nothing = graph.constant(np.array([""], object))
    # A history may be shorter than the number of reasons: as many places of nothing are put behind it.
    rows = graph.op("Gather", graph.op("Shape", history.codes), graph.ints(0), axis=0)
    more = graph.op("Concat", rows, graph.ints(REASONS), axis=0)
    codes = graph.op("Concat", history.codes, graph.op("Expand", graph.ints(len(weights)), more), axis=1)
    names = graph.op("Concat", history.names, graph.op("Expand", nothing, more), axis=1)
    # In the catalogue's order, so that of equal weights the first item is told.
    ordered, at = graph.several("TopK", 2, codes, _width(graph, codes), axis=1, largest=0)
    found = add_weights(graph, ordered, weights, precision, item)
    strongest, place = graph.several("TopK", 2, found, graph.ints(REASONS), axis=2)
    flat = graph.op("Flatten", place, axis=1)
    told = graph.op("GatherElements", graph.op("GatherElements", names, at, axis=1), flat, axis=1)
    return strongest, graph.op("Reshape", told, graph.op("Shape", place))


def _width(graph: GraphBuilder, value: str) -> str:
    """Number of columns, int64 [1]."""
    return graph.op("Gather", graph.op("Shape", value), graph.ints(1), axis=0)
