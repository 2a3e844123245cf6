"""The best items of a history, and the re-ranker's network over what its signals say of them."""

# N histories, I items, C candidates, K answers, F inputs of a candidate

from __future__ import annotations

import numpy as np
from ludocast.models.recommend.rerank import Reranker
from ludocast.models.recommend.signals import NO_SCORE
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_candidate_network import add_network
from ludocast.serve.graph_contributions import add_contributions
from ludocast.serve.graph_history import History
from ludocast.serve.graph_item_weights import add_scores, add_scores_of
from ludocast.serve.graph_options import Options, add_masked
from onnx import TensorProto

NEVER = -1e300  # every real score is above


def add_best(graph: GraphBuilder, history: History, options: Options, scores: str, count: str) -> tuple[str, str]:
    """Scores double [N, count] and items int64 [N, count] of the best that may be suggested; count is int64 [1]."""
    best, item = graph.several("TopK", 2, add_masked(graph, history, options, scores), count, axis=1)
    return best, item


def add_reranked(graph: GraphBuilder, history: History, options: Options, model: Reranker) -> tuple[str, str]:
    """The same of the best by the network."""
    signals = model.signals
    assert signals.popularity is not None
    first, *_ = signals.models.values()
    count = min(signals.candidates, len(signals.popularity))
    best, item = add_best(graph, history, options, add_scores(graph, history, first), graph.ints(count))
    is_real = graph.op("Greater", best, graph.doubles(NEVER))
    real = graph.op("Cast", is_real, to=TensorProto.DOUBLE)
    popular = graph.op("Gather", graph.constant(signals.popularity), item, axis=0)
    summed = [signals.models[name] for name in signals.summed]
    of_first = graph.op("Where", is_real, best, graph.doubles(0.0))
    own = [of_first if one is first else add_scores_of(graph, history, one, item, popular) for one in summed]
    columns = [*own, *(_add_standardised(graph, one, real) for one in own)]
    columns += [_add_log_rank(graph, one, is_real, count) for one in own]
    for name in signals.told:
        columns += add_contributions(graph, history, signals.models[name], item)
    columns.append(graph.op("Gather", graph.constant(np.log1p(signals.popularity)), item, axis=0))
    length = graph.op("ReduceSum", history.owned, graph.ints(1), keepdims=1)
    log_length = graph.op("Log", graph.op("Add", length, graph.doubles(1.0)))
    columns.append(graph.op("Add", graph.op("Mul", real, graph.doubles(0.0)), log_length))
    stacked = [graph.op("Unsqueeze", column, graph.ints(2)) for column in columns]
    inputs = graph.op("Mul", graph.op("Concat", *stacked, axis=2), graph.op("Unsqueeze", real, graph.ints(2)))
    found = [add_network(graph, inputs, real, module.network) for module in model.modules]
    total = found[0] if len(found) == 1 else graph.op("Sum", *found)
    network = graph.op("Div", total, graph.doubles(float(len(found))))
    score = graph.op("Where", history.is_new, best, network)
    masked = graph.op("Where", is_real, score, graph.doubles(-np.inf))
    ranked, place = graph.several("TopK", 2, masked, options.k, axis=1)
    return ranked, graph.op("GatherElements", item, place, axis=1)


def _add_standardised(graph: GraphBuilder, score: str, real: str) -> str:
    """As `signals._standardised`, double [N, C]."""
    counted = graph.op("ReduceSum", real, graph.ints(1), keepdims=1)
    count = graph.op("Max", counted, graph.doubles(1.0))
    mean = graph.op("Div", graph.op("ReduceSum", graph.op("Mul", score, real), graph.ints(1), keepdims=1), count)
    centred = graph.op("Sub", score, mean)
    squares = graph.op("Mul", graph.op("Mul", centred, centred), real)
    variance = graph.op("Div", graph.op("ReduceSum", squares, graph.ints(1), keepdims=1), count)
    deviation = graph.op("Sqrt", variance)
    least = graph.doubles(NO_SCORE)
    scaled = graph.op("Div", centred, graph.op("Max", deviation, least))
    return graph.op("Where", graph.op("Greater", deviation, least), scaled, graph.doubles(0.0))


def _add_log_rank(graph: GraphBuilder, score: str, is_real: str, count: int) -> str:
    """Logarithm of 1 + the place in the list by this score, double [N, C]."""
    masked = graph.op("Where", is_real, score, graph.doubles(-np.inf))
    _, order = graph.several("TopK", 2, masked, graph.ints(count), axis=1)  # of equal ones the first is ahead
    zeros = graph.op("Mul", order, graph.ints(0))
    places = graph.op("Add", zeros, graph.constant(np.arange(count)))
    rank = graph.op("Cast", graph.op("ScatterElements", zeros, order, places, axis=1), to=TensorProto.DOUBLE)
    return graph.op("Log", graph.op("Add", rank, graph.doubles(1.0)))
