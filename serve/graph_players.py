"""Columns of players beside their events in the graph, made numbers as `datamodules.player_columns` does."""

from __future__ import annotations

import numpy as np
from ludocast.datamodules.player_columns import PlayerColumns
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_inputs import ELEMENTS, add_preprocessing
from ludocast.serve.manifest import DTYPES, Input
from onnx import TensorProto


def player_inputs(columns: PlayerColumns) -> list[Input]:
    """The columns as a manifest has them."""
    return [
        Input(
            column.name,
            f"p{i}",
            column.kind,
            None if column.categories is None else tuple(list(column.categories)[:50]),
            None if column.quantiles is None else (column.quantiles[0], column.quantiles[-1]),
        )
        for i, column in enumerate(columns.schema.inputs)
    ]


def add_player_columns(graph: GraphBuilder, columns: PlayerColumns) -> str:
    """A graph input [N, 1] a column, and the numbers [N, D] that are made of them."""
    tensors = {item.column: graph.input(item.tensor, ELEMENTS[DTYPES[item.kind]], 1) for item in player_inputs(columns)}
    names = add_preprocessing(graph, columns.preprocessing, tensors)
    parts = [] if names.numbers is None else [names.numbers]
    for place, entry in enumerate(columns.preprocessing.codes):
        if entry.column in columns.texts:
            assert names.codes is not None
            code = graph.op("Gather", names.codes, graph.ints(place), axis=1)
            is_it = graph.op("Equal", code, graph.constant(np.arange(entry.size)[None]))
            parts.append(graph.op("Cast", is_it, to=TensorProto.FLOAT))
    return parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=1)
