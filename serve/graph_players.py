"""Columns of players beside their events in the graph, made numbers as `datamodules.player_columns` does."""

from __future__ import annotations

import numpy as np
from ludocast.datamodules.player_columns import PlayerColumns
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_inputs import add_inputs, add_preprocessing, schema_inputs
from ludocast.serve.manifest import Input
from onnx import TensorProto

PREFIX = "p"


def player_inputs(columns: PlayerColumns) -> list[Input]:
    """The columns as a manifest has them."""
    return schema_inputs(columns.schema, PREFIX)


def add_player_columns(graph: GraphBuilder, columns: PlayerColumns) -> str:
    """A graph input [N, 1] a column, and the numbers [N, D] that are made of them."""
    tensors = add_inputs(graph, columns.schema, PREFIX)
    names = add_preprocessing(graph, columns.preprocessing, tensors)
    parts = [] if names.numbers is None else [names.numbers]
    for place, entry in enumerate(columns.preprocessing.codes):
        if entry.column in columns.texts:
            assert names.codes is not None
            code = graph.op("Gather", names.codes, graph.ints(place), axis=1)
            is_it = graph.op("Equal", code, graph.constant(np.arange(entry.size)[None]))
            parts.append(graph.op("Cast", is_it, to=TensorProto.FLOAT))
    return parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=1)
