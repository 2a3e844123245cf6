"""The best of a row, of equal ones those that come first, for runtimes whose TopK leaves the order of equal ones open.

ONNX says that the lower index goes first; OpenVINO's TopK does not keep to it.
"""

# N rows, M values of a row, k of the best

from __future__ import annotations

import numpy as np
from ludocast.serve.graph import GraphBuilder
from onnx import TensorProto


def add_stable_top(graph: GraphBuilder, scores: str, k: str, values_name: str, places_name: str) -> None:
    """As `TopK(scores, k, axis=1)`: values [N, k] and places int64 [N, k] under the names that are given.

    Args:
        graph: That gets them.
        scores: [N, M].
        k: int64 [1].
        values_name: Of the values, from the highest on.
        places_name: Of their places in the row.
    """
    values, _ = graph.several("TopK", 2, scores, k, axis=1)
    graph.op("Identity", values, name=values_name)
    limit = graph.op("Slice", values, graph.ints(-1), graph.ints(2**31 - 1), graph.ints(1))
    is_above, is_equal = graph.op("Greater", scores, limit), graph.op("Equal", scores, limit)
    above = graph.op("ReduceSum", graph.op("Cast", is_above, to=TensorProto.FLOAT), graph.ints(1), keepdims=1)
    which = graph.op("CumSum", graph.op("Cast", is_equal, to=TensorProto.FLOAT), graph.constant(np.array(1)))
    left = graph.op("Sub", graph.op("Cast", k, to=TensorProto.FLOAT), above)
    is_taken = graph.op("Or", is_above, graph.op("And", is_equal, graph.op("LessOrEqual", which, left)))
    # Exactly k of a row are taken; keys that fall from left to right give their places in the row's order.
    place = _range(graph, graph.op("Gather", graph.op("Shape", scores), graph.constant(np.array(1)), axis=0))
    key = graph.op("Sub", graph.floats(2.0**24), graph.op("Cast", place, to=TensorProto.FLOAT))
    _, at = graph.several("TopK", 2, graph.op("Where", is_taken, key, graph.floats(0.0)), k, axis=1)
    found = graph.op("GatherElements", scores, at, axis=1)
    one, other = graph.op("Unsqueeze", found, graph.ints(2)), graph.op("Unsqueeze", found, graph.ints(1))
    number = _range(graph, graph.op("Squeeze", k, graph.ints(0)))
    is_before = graph.op("Less", number, graph.op("Unsqueeze", number, graph.ints(1)))
    is_first = graph.op("And", graph.op("Equal", other, one), is_before)
    is_ahead = graph.op("Or", graph.op("Greater", other, one), is_first)
    ahead = graph.op("ReduceSum", graph.op("Cast", is_ahead, to=TensorProto.FLOAT), graph.ints(2), keepdims=0)
    rank = graph.op("Cast", ahead, to=TensorProto.INT64)
    graph.op("ScatterElements", at, rank, at, axis=1, name=places_name)


def _range(graph: GraphBuilder, count: str) -> str:
    """0 to count - 1, int64; count is a scalar."""
    return graph.op("Range", graph.constant(np.array(0)), count, graph.constant(np.array(1)))
