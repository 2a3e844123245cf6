"""Players without history in a recommender's graph: raw attributes in, scores of all items out.

As `models.recommend.cold_start.ColdStart.scores`: a record of which nothing is told gets popularity.
"""

# N records, D numbers of a record, I items

from __future__ import annotations

import numpy as np
from ludocast.datamodules.attributes import UserColumns
from ludocast.datamodules.preprocess import MISSING
from ludocast.models.recommend.attribute_blend import BlendScores
from ludocast.models.recommend.cold_start import ColdStart
from ludocast.models.recommend.segments import SegmentPopularity, SegmentTree
from ludocast.models.recommend.user_tower import TowerScores
from ludocast.models.table.tree import Tree
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_inputs import add_inputs, add_preprocessing, schema_inputs
from ludocast.serve.graph_learners import add_trees
from ludocast.serve.manifest import Input
from onnx import TensorProto
from torch import nn

PREFIX = "a"


def attribute_inputs(columns: UserColumns) -> list[Input]:
    """The attributes as a manifest has them."""
    return schema_inputs(columns.schema, PREFIX)


def add_cold_start(graph: GraphBuilder, cold: ColdStart) -> str:
    """A graph input [N, 1] an attribute, and the scores double [N, I] of records without history."""
    tensors = add_inputs(graph, cold.columns.schema, PREFIX)
    vectors = _add_vectors(graph, cold.columns, tensors)
    model = cold.model
    if isinstance(model, BlendScores):
        added = _add_segments(graph, model.segments, model.log_table, vectors)
        found = graph.op("Add", _add_tower(graph, model.tower, vectors), added)
    elif isinstance(model, SegmentPopularity):
        assert model.table is not None
        found = _add_segments(graph, model, model.table, vectors)
    else:
        found = _add_tower(graph, model, vectors)
    return graph.op(
        "Where", _add_is_blank(graph, attribute_inputs(cold.columns)), graph.constant(cold.popularity[None]), found
    )


def _add_is_blank(graph: GraphBuilder, inputs: list[Input]) -> str:
    """Whether all attributes are missing, bool [N, 1]."""
    nothing = graph.constant(np.array([[""]], object))
    gaps = [
        graph.op("Equal", item.tensor, nothing) if item.dtype == "string" else graph.op("IsNaN", item.tensor)
        for item in inputs
    ]
    found = gaps[0]
    for gap in gaps[1:]:
        found = graph.op("And", found, gap)
    return found


def _add_vectors(graph: GraphBuilder, columns: UserColumns, tensors: dict[str, str]) -> str:
    """As `UserColumns.vectors`, float [N, D]."""
    names = add_preprocessing(graph, columns.preprocessing, tensors)
    parts = [] if names.numbers is None else [names.numbers]
    for place, entry in enumerate(columns.preprocessing.codes):
        assert names.codes is not None
        code = graph.op("Gather", names.codes, graph.ints(place), axis=1)
        is_it = graph.op("Equal", code, graph.constant(np.arange(MISSING, entry.size)[None]))
        parts.append(graph.op("Cast", is_it, to=TensorProto.FLOAT))
    return parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=1)


def _add_segments(graph: GraphBuilder, model: SegmentPopularity, table: np.ndarray, vectors: str) -> str:
    """The row [I] of a table [L, I] that belongs to the segment."""
    assert model.tree is not None
    found = add_trees(graph, vectors, [_numbering(model.tree)], 1)
    segment = graph.op("Cast", graph.op("Squeeze", found, graph.ints(1)), to=TensorProto.INT64)
    return graph.op("Gather", graph.constant(table), segment, axis=0)


def _numbering(tree: SegmentTree) -> Tree:
    """The tree whose value is the number of the segment."""
    return Tree(
        tree.feature,
        tree.threshold,
        np.maximum(tree.left, 0),
        np.maximum(tree.right, 0),
        np.zeros(len(tree.feature), bool),
        tree.leaf.astype(np.float64),
        0,
    )


def _add_tower(graph: GraphBuilder, tower: TowerScores, vectors: str) -> str:
    """As `UserTower`, in float64."""
    network = tower.network
    assert network is not None
    x = graph.op("Cast", vectors, to=TensorProto.DOUBLE)
    bent = _add_linear(graph, network.joined, graph.op("Relu", _add_linear(graph, network.bent, x)))
    return _add_linear(graph, network.items, graph.op("Add", _add_linear(graph, network.straight, x), bent))


def _add_linear(graph: GraphBuilder, layer: nn.Linear, x: str) -> str:
    product = graph.op("MatMul", x, graph.constant(layer.weight.detach().double().numpy().T.copy()))
    if layer.bias is None:
        return product
    return graph.op("Add", product, graph.constant(layer.bias.detach().double().numpy()))
