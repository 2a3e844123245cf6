"""Scores of items by the weights of a linear model, each model's weights one constant of the graph."""

# N histories, T ids of the longest, I items, C candidates

from __future__ import annotations

import numpy as np
from ludocast.models.recommend.item_item import ItemItem, Popularity
from ludocast.models.recommend.precision import Precision, quantised
from ludocast.models.recommend.ranking import Recommender
from ludocast.models.recommend.sparse_weights import SparseWeights
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_history import History
from ludocast.serve.graph_sparse_weights import add_sparse_scores, add_sparse_scores_of
from onnx import TensorProto


def add_scores(graph: GraphBuilder, history: History, model: Recommender) -> str:
    """The model's scores of all items, double [N, I]."""
    if isinstance(model, Popularity):
        assert model.popularity is not None
        zeros = graph.op("Mul", history.owned, graph.doubles(0.0))
        popular = graph.op("Add", zeros, graph.constant(model.popularity))
        return popular if history.cold is None else graph.op("Where", history.is_new, history.cold, popular)
    if not isinstance(model, ItemItem):
        raise ValueError(f"{type(model).__name__} has no graph yet; take another --model for a bundle")
    weights, popularity = model.fitted()
    if isinstance(weights, SparseWeights):
        own = add_sparse_scores(graph, history, weights)
    else:
        own = _add_dense_scores(graph, history, weights, model.precision)
    new = graph.constant(popularity) if history.cold is None else history.cold
    return graph.op("Where", history.is_new, new, own)


def _add_dense_scores(graph: GraphBuilder, history: History, weights: np.ndarray, precision: Precision) -> str:
    count = len(weights)
    stored, scale = _dense(graph, weights, precision)
    known = graph.op("Slice", stored, graph.ints(0), graph.ints(count * count), graph.ints(0))
    matrix = _add_floats(graph, graph.op("Reshape", known, graph.ints(count, count)), scale, None)
    return graph.op("MatMul", history.owned, graph.op("Cast", matrix, to=TensorProto.DOUBLE))


def add_scores_of(graph: GraphBuilder, history: History, model: ItemItem, item: str, popular: str) -> str:
    """The model's scores of some items [N, C] alone, double: a few weights are looked up, not all multiplied."""
    weights, _ = model.fitted()
    if isinstance(weights, SparseWeights):
        own = add_sparse_scores_of(graph, history, weights, item)
    else:
        found = graph.op(
            "Cast", add_weights(graph, history.codes, weights, model.precision, item), to=TensorProto.DOUBLE
        )
        own = graph.op("ReduceSum", found, graph.ints(2), keepdims=0)
    return graph.op("Where", history.is_new, popular, own)


def add_weights(graph: GraphBuilder, codes: str, weights: np.ndarray, precision: Precision, item: str) -> str:
    """The weight from each item of a history to each of some items [N, C], float [N, C, T]; 0 of unknown ones."""
    begin = graph.op("Unsqueeze", graph.op("Mul", codes, graph.ints(len(weights))), graph.ints(1))
    index = graph.op("Add", begin, graph.op("Unsqueeze", item, graph.ints(2)))
    stored, scale = _dense(graph, weights, precision)
    return _add_floats(graph, graph.op("Gather", stored, index, axis=0), scale, item)


def _dense(graph: GraphBuilder, weights: np.ndarray, precision: Precision) -> tuple[str, str | None]:
    """All weights, row after row, and a row of zeros for unknown items: [(I + 1) I], one constant a model.

    They have the values of the precision already. Of int8 they are whole numbers, and their scales, float [I], are
    given beside them.
    """
    stored, scale = weights.astype(np.float16 if precision == "float16" else np.float32), None
    if precision == "int8":
        stored, scale = quantised(weights)
    flat = np.append(stored, np.zeros((1, len(weights)), stored.dtype)).ravel()
    return graph.constant(flat), None if scale is None else graph.constant(scale)


def _add_floats(graph: GraphBuilder, stored: str, scale: str | None, item: str | None) -> str:
    """Stored weights as floats: [I, I], or [N, C, T] to the items [N, C]."""
    weights = graph.op("Cast", stored, to=TensorProto.FLOAT)
    if scale is None:
        return weights
    if item is not None:
        scale = graph.op("Unsqueeze", graph.op("Gather", scale, item, axis=0), graph.ints(2))
    return graph.op("Mul", weights, scale)
