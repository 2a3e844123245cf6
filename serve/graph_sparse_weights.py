"""Scores of items by sparse weights: of each item of a history the items it speaks for, of a candidate its sources.

Each item speaks for another number of items, so a history's weights are laid end to end: the item at each place of that
row follows from running sums of the numbers.
"""

# N histories, T ids of the longest, I items, S sources of an item, C candidates, E weights of all histories

from __future__ import annotations

import numpy as np
from ludocast.models.recommend.sparse_weights import SparseWeights
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_history import History
from onnx import TensorProto, numpy_helper


def add_sparse_scores(graph: GraphBuilder, history: History, weights: SparseWeights) -> str:
    """Scores of all items, double [N, I]."""
    outgoing, items = weights.outgoing, len(weights)
    count = graph.constant(np.append(np.diff(outgoing.indptr), 0).astype(np.int64))
    first = graph.constant(np.append(outgoing.indptr[:-1], 0).astype(np.int64))
    targets = graph.constant(outgoing.indices.astype(np.int32))
    values = graph.constant(outgoing.data.astype(np.float32))
    axis = graph.constant(np.array(0))
    codes = graph.op("Reshape", history.codes, graph.ints(-1))
    ends = graph.op("CumSum", graph.op("Concat", graph.ints(0), graph.op("Gather", count, codes), axis=0), axis)
    total = graph.op("Slice", ends, graph.ints(-1), graph.ints(2**62), graph.ints(0))
    starts = graph.op("Slice", ends, graph.ints(0), graph.ints(-1), graph.ints(0))
    # A step up where each item's weights begin; of items without any the next one's place is the same.
    zero = numpy_helper.from_array(np.zeros(1, np.int64), "zero")
    one = numpy_helper.from_array(np.ones(1, np.int64), "one")
    flat = graph.op("ConstantOfShape", graph.op("Add", total, graph.ints(1)), value=zero)
    steps = graph.op("ConstantOfShape", graph.op("Shape", starts), value=one)
    marks = graph.op("ScatterElements", flat, starts, steps, axis=0, reduction="add")
    risen = graph.op("Slice", graph.op("CumSum", marks, axis), graph.ints(0), graph.ints(-1), graph.ints(0))
    place = graph.op("Sub", risen, graph.ints(1))  # in `codes`, of each weight, [E]
    along = graph.op("Range", axis, graph.op("Squeeze", total), graph.constant(np.array(1)))
    begin = graph.op("Sub", graph.op("Gather", first, codes), starts)
    edge = graph.op("Add", graph.op("Gather", begin, place), along)
    shape = graph.op("Shape", history.codes)
    width = graph.op("Max", graph.op("Gather", shape, graph.ints(1), axis=0), graph.ints(1))  # may be none at all
    row = graph.op("Div", place, width)
    target = graph.op("Cast", graph.op("Gather", targets, edge), to=TensorProto.INT64)
    at = graph.op("Add", graph.op("Mul", row, graph.ints(items)), target)
    value = graph.op("Cast", graph.op("Gather", values, edge), to=TensorProto.DOUBLE)
    rows = graph.op("Gather", shape, graph.ints(0), axis=0)
    nothing = numpy_helper.from_array(np.zeros(1), "zero")
    empty = graph.op("ConstantOfShape", graph.op("Mul", rows, graph.ints(items)), value=nothing)
    sums = graph.op("ScatterElements", empty, at, value, axis=0, reduction="add")
    return graph.op("Reshape", sums, graph.op("Concat", rows, graph.ints(items), axis=0))


def add_sparse_scores_of(graph: GraphBuilder, history: History, weights: SparseWeights, item: str) -> str:
    """Scores of some items [N, C] alone, double."""
    _, spoken = add_spoken(graph, history, weights, item)
    return graph.op("ReduceSum", graph.op("Cast", spoken, to=TensorProto.DOUBLE), graph.ints(2), keepdims=0)


def add_spoken(
    graph: GraphBuilder, history: History, weights: SparseWeights, item: str, width: int = 1
) -> tuple[str, str]:
    """Sources of some items [N, C], int32 [N, C, S], and their weights, float [N, C, S]; 0 of what is not owned.

    Args:
        graph: That gets them.
        history: Of N.
        weights: Of the model.
        item: Value of the graph.
        width: At least so many sources; I stands for those that are none.
    """
    more = max(0, width - weights.sources.shape[1])
    every = np.pad(weights.sources, ((0, 0), (0, more)), constant_values=len(weights)).astype(np.int32)
    values = graph.constant(np.pad(weights.values, ((0, 0), (0, more))))
    sources = graph.op("Gather", graph.constant(every), item, axis=0)
    owned = graph.op("Pad", history.owned, graph.ints(0, 0, 0, 1))
    has = graph.op("GatherElements", owned, graph.op("Flatten", sources, axis=1), axis=1)
    shaped = graph.op("Reshape", graph.op("Cast", has, to=TensorProto.FLOAT), graph.op("Shape", sources))
    return sources, graph.op("Mul", shaped, graph.op("Gather", values, item, axis=0))
