"""What single items of a history say for a candidate, as nodes of a graph; as `models.recommend.contributions`."""

# N histories, T ids of the longest, C candidates, S sources of an item

from __future__ import annotations

import numpy as np
from ludocast.models.recommend.contributions import STRONGEST
from ludocast.models.recommend.item_item import ItemItem
from ludocast.models.recommend.sparse_weights import SparseWeights
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_history import History
from ludocast.serve.graph_item_weights import add_weights
from ludocast.serve.graph_sparse_weights import add_spoken
from onnx import TensorProto


def add_contributions(graph: GraphBuilder, history: History, model: ItemItem, item: str) -> list[str]:
    """The columns of `contributions`, each double [N, C].

    Args:
        graph: That gets them.
        history: Of N.
        model: Fitted.
        item: Candidates, int64 [N, C].
    """
    weights, _ = model.fitted()
    if isinstance(weights, SparseWeights):
        _, spoken = add_spoken(graph, history, weights, item, STRONGEST)
    else:
        # A history may be shorter than what is told: as many places of nothing are put behind it.
        none = graph.constant(np.array(len(weights)))
        codes = graph.op("Pad", history.codes, graph.ints(0, 0, 0, STRONGEST), none)
        spoken = add_weights(graph, codes, weights, model.precision, item)
    greatest, _ = graph.several("TopK", 2, graph.op("Max", spoken, graph.floats(0.0)), graph.ints(STRONGEST), axis=2)
    columns = graph.several("Split", STRONGEST, _double(graph, greatest), axis=2, num_outputs=STRONGEST)
    found = [graph.op("Squeeze", column, graph.ints(2)) for column in columns]
    is_positive = graph.op("Cast", graph.op("Greater", spoken, graph.floats(0.0)), to=TensorProto.INT32)
    found.append(_double(graph, graph.op("ReduceSum", is_positive, graph.ints(2), keepdims=0)))
    negative = _double(graph, graph.op("Min", spoken, graph.floats(0.0)))
    return [*found, graph.op("ReduceSum", negative, graph.ints(2), keepdims=0)]


def _double(graph: GraphBuilder, value: str) -> str:
    return graph.op("Cast", value, to=TensorProto.DOUBLE)
