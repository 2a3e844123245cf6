"""A fitted recommender as an ONNX graph: a history of item ids in, ranked items and their scores out.

What is owned is masked and the best items are taken inside the graph. Weights are stored as float32; all sums are taken
in float64, as in training, so that the order of close scores is the same in every runtime.
"""

# N histories, T ids of the longest, I items, C candidates, S signals, K answers, F inputs of a candidate

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from ludocast.models.recommend.item_item import ItemItem, Popularity
from ludocast.models.recommend.network import CandidateNetwork
from ludocast.models.recommend.ranking import Recommender
from ludocast.models.recommend.rerank import Reranker
from ludocast.models.recommend.signals import NO_SCORE
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.recommend_names import BECAUSE, HISTORY, ITEMS, LENGTH, SCORES
from onnx import TensorProto
from torch import nn

MOST_ANSWERS = 100
TWO_GB = 2**31 - 1  # what one protobuf file holds
REASONS = 3
NEVER = -1e300  # every real score is above


@dataclass(frozen=True)
class RecommendExport:
    """A graph and what it answers.

    Attributes:
        model: Inputs `history` string [N, T] and `length` int64 [N]; outputs `items` string [N, K], "" where no item is
            left, `scores` float32 [N, K], minus infinity there, and `because` string [N, K, 3], what of the history
            speaks most for each item, the strongest first, "" where nothing does.
        items: Texts of the ids, in the order of ties.
        answers: K.
    """

    model: onnx.ModelProto
    items: tuple[str, ...]
    answers: int


def export_recommender(
    model: Recommender, items: np.ndarray, answers: int = MOST_ANSWERS, description: str = ""
) -> RecommendExport:
    """Export a fitted model.

    Args:
        model: Popularity, a model of items by items, or the re-ranker.
        items: Ids [I].
        answers: K; of a re-ranker at most its candidates, of a smaller catalogue all its items.
        description: Of the graph.

    Raises:
        ValueError: If the model has no graph, two ids have one text, or the file would pass 2 GB.
    """
    texts = tuple(str(item) for item in items.tolist())
    if "" in texts or len(set(texts)) < len(texts):
        raise ValueError("two items have one text for an id, or an empty one; rename one of them")
    matrices = len(model.signals.models) if isinstance(model, Reranker) else int(isinstance(model, ItemItem))
    if matrices * len(texts) ** 2 * 4 > TWO_GB:
        raise ValueError(
            f"{matrices} matrices of {len(texts):,} × {len(texts):,} items pass the 2 GB of one model.onnx; leave rare "
            "items out (--users_of_item), or take a model of one matrix (--model ease_weighted)"
        )
    graph = GraphBuilder()
    history = _add_history(graph, texts)
    if isinstance(model, Reranker):
        answers = min(answers, len(texts), model.signals.candidates)
        score, item = _add_reranked(graph, history, model, answers)
        speaking: Recommender = next(iter(model.signals.models.values()))
    else:
        answers = min(answers, len(texts))
        score, item = _add_best(graph, history, _add_scores(graph, history, model), answers)
        speaking = model
    names = graph.op("Gather", graph.constant(np.array(texts, object)), item, axis=0)
    is_item = graph.op("Greater", score, _double(graph, NEVER))
    shown = graph.op("Where", is_item, names, graph.constant(np.array([""], object)))
    graph.output(shown, ITEMS, TensorProto.STRING, ["N", answers])
    graph.output(graph.op("Cast", score, to=TensorProto.FLOAT), SCORES, TensorProto.FLOAT, ["N", answers])
    _add_because(graph, history, speaking, item, is_item, answers)
    return RecommendExport(graph.model(description, {}), texts, answers)


def _double(graph: GraphBuilder, *values: float) -> str:
    return graph.constant(np.array(values, np.float64))


@dataclass(frozen=True)
class _History:
    """What the graph knows of a history.

    Attributes:
        owned: 1 where an item is in it, double [N, I].
        codes: Its items, each once, int64 [N, T]; I for what is unknown, repeated, or beyond the length.
        is_new: Whether it has no known item, bool [N, 1].
        names: As they came, strings [N, T].
    """

    owned: str
    codes: str
    is_new: str
    names: str


def _add_history(graph: GraphBuilder, texts: Sequence[str]) -> _History:
    history = graph.input(HISTORY, TensorProto.STRING, "T")
    length = graph.input(LENGTH, TensorProto.INT64)
    count = len(texts)
    code = graph.op(
        "LabelEncoder", history, keys_strings=list(texts), values_int64s=list(range(count)), default_int64=count
    )
    shape = graph.op("Shape", history)
    steps = graph.op("Gather", shape, graph.constant(np.array(1)), axis=0)
    place = graph.op("Range", graph.constant(np.array(0)), steps, graph.constant(np.array(1)))
    is_real = graph.op("Less", place, graph.op("Unsqueeze", length, graph.ints(1)))
    known = graph.op("Where", is_real, code, graph.ints(count))
    rows = graph.op("Gather", shape, graph.ints(0), axis=0)
    by_item = graph.op("Concat", rows, graph.ints(count + 1), axis=0)
    # Of an item that stands twice one place wins, whichever: where it is read back, only that one finds itself.
    zero = onnx.numpy_helper.from_array(np.zeros(1, np.int64), "zero")
    places = graph.op("Expand", place, shape)
    winner = graph.op("ScatterElements", graph.op("ConstantOfShape", by_item, value=zero), known, places, axis=1)
    is_first = graph.op("Equal", graph.op("GatherElements", winner, known, axis=1), places)
    codes = graph.op("Where", is_first, known, graph.ints(count))
    one = onnx.numpy_helper.from_array(np.ones(1), "one")
    empty = graph.op("ConstantOfShape", by_item, value=onnx.numpy_helper.from_array(np.zeros(1), "zero"))
    every = graph.op("ScatterElements", empty, known, graph.op("ConstantOfShape", shape, value=one), axis=1)
    owned = graph.op("Slice", every, graph.ints(0), graph.ints(count), graph.ints(1))
    most = graph.op("ReduceMax", owned, graph.ints(1), keepdims=1)
    return _History(owned, codes, graph.op("Equal", most, _double(graph, 0.0)), history)


def _add_scores(graph: GraphBuilder, history: _History, model: Recommender) -> str:
    """The model's scores of all items, double [N, I]."""
    if isinstance(model, Popularity):
        assert model.popularity is not None
        zeros = graph.op("Mul", history.owned, _double(graph, 0.0))
        return graph.op("Add", zeros, graph.constant(model.popularity))
    if not isinstance(model, ItemItem):
        raise ValueError(f"{type(model).__name__} has no graph yet; take another --model for a bundle")
    assert model.weights is not None
    assert model.popularity is not None
    count = len(model.weights)
    known = graph.op("Slice", _weights(graph, model), graph.ints(0), graph.ints(count * count), graph.ints(0))
    weights = graph.op("Cast", graph.op("Reshape", known, graph.ints(count, count)), to=TensorProto.DOUBLE)
    own = graph.op("MatMul", history.owned, weights)
    return graph.op("Where", history.is_new, graph.constant(model.popularity), own)


def _add_scores_of(graph: GraphBuilder, history: _History, model: ItemItem, item: str, popular: str) -> str:
    """The model's scores of some items [N, C] alone, double: a few weights are looked up, not all multiplied."""
    found = graph.op("Cast", _add_weights(graph, history.codes, model, item), to=TensorProto.DOUBLE)
    own = graph.op("ReduceSum", found, graph.ints(2), keepdims=0)
    return graph.op("Where", history.is_new, popular, own)


def _add_weights(graph: GraphBuilder, codes: str, model: ItemItem, item: str) -> str:
    """The weight from each item of a history to each of some items [N, C], float [N, C, T]; 0 of unknown ones."""
    assert model.weights is not None
    begin = graph.op("Unsqueeze", graph.op("Mul", codes, graph.ints(len(model.weights))), graph.ints(1))
    index = graph.op("Add", begin, graph.op("Unsqueeze", item, graph.ints(2)))
    return graph.op("Gather", _weights(graph, model), index, axis=0)


def _weights(graph: GraphBuilder, model: ItemItem) -> str:
    """All weights, row after row, and a row of zeros for unknown items: float [(I + 1) I], one constant a model."""
    assert model.weights is not None
    weights = model.weights.astype(np.float32)
    return graph.constant(np.append(weights, np.zeros((1, len(weights)), np.float32)).ravel())


def _add_because(
    graph: GraphBuilder, history: _History, model: Recommender, item: str, is_item: str, answers: int
) -> None:
    """The output that tells what of the history speaks most for each of the answers."""
    shape: list[int | str] = ["N", answers, REASONS]
    nothing = graph.constant(np.array([""], object))
    if not isinstance(model, ItemItem):
        every = graph.op("Expand", graph.op("Unsqueeze", item, graph.ints(2)), graph.ints(1, 1, REASONS))
        none = graph.op("Where", graph.op("Less", every, graph.ints(0)), nothing, nothing)
        graph.output(none, BECAUSE, TensorProto.STRING, shape)
        return
    assert model.weights is not None
    # A history may be shorter than the number of reasons: as many places of nothing are put behind it.
    rows = graph.op("Gather", graph.op("Shape", history.codes), graph.ints(0), axis=0)
    more = graph.op("Concat", rows, graph.ints(REASONS), axis=0)
    codes = graph.op("Concat", history.codes, graph.op("Expand", graph.ints(len(model.weights)), more), axis=1)
    names = graph.op("Concat", history.names, graph.op("Expand", nothing, more), axis=1)
    # In the catalogue's order, so that of equal weights the first item is told.
    ordered, at = graph.several("TopK", 2, codes, _width(graph, codes), axis=1, largest=0)
    weights = _add_weights(graph, ordered, model, item)
    strongest, place = graph.several("TopK", 2, weights, graph.ints(REASONS), axis=2)
    flat = graph.op("Reshape", place, graph.ints(0, answers * REASONS))
    told = graph.op("GatherElements", graph.op("GatherElements", names, at, axis=1), flat, axis=1)
    shaped = graph.op("Reshape", told, graph.ints(0, answers, REASONS))
    is_told = graph.op(
        "And", graph.op("Greater", strongest, graph.floats(0.0)), graph.op("Unsqueeze", is_item, graph.ints(2))
    )
    graph.output(graph.op("Where", is_told, shaped, nothing), BECAUSE, TensorProto.STRING, shape)


def _width(graph: GraphBuilder, value: str) -> str:
    """Number of columns, int64 [1]."""
    return graph.op("Gather", graph.op("Shape", value), graph.ints(1), axis=0)


def _add_best(graph: GraphBuilder, history: _History, scores: str, count: int) -> tuple[str, str]:
    """Scores double [N, count] and items int64 [N, count] of the best that are not owned."""
    is_owned = graph.op("Greater", history.owned, _double(graph, 0.0))
    masked = graph.op("Where", is_owned, _double(graph, -np.inf), scores)
    best, item = graph.several("TopK", 2, masked, graph.ints(count), axis=1)
    return best, item


def _add_reranked(graph: GraphBuilder, history: _History, model: Reranker, answers: int) -> tuple[str, str]:
    """The same of the best by the network."""
    signals = model.signals
    assert signals.popularity is not None
    first, *others = signals.models.values()
    count = min(signals.candidates, len(signals.popularity))
    best, item = _add_best(graph, history, _add_scores(graph, history, first), count)
    is_real = graph.op("Greater", best, _double(graph, NEVER))
    real = graph.op("Cast", is_real, to=TensorProto.DOUBLE)
    popular = graph.op("Gather", graph.constant(signals.popularity), item, axis=0)
    own = [graph.op("Where", is_real, best, _double(graph, 0.0))]
    own += [_add_scores_of(graph, history, one, item, popular) for one in others]
    columns = [*own, *(_add_standardised(graph, one, real) for one in own)]
    columns += [_add_log_rank(graph, one, is_real, count) for one in own]
    columns.append(graph.op("Gather", graph.constant(np.log1p(signals.popularity)), item, axis=0))
    length = graph.op("ReduceSum", history.owned, graph.ints(1), keepdims=1)
    log_length = graph.op("Log", graph.op("Add", length, _double(graph, 1.0)))
    columns.append(graph.op("Add", graph.op("Mul", real, _double(graph, 0.0)), log_length))
    stacked = [graph.op("Unsqueeze", column, graph.ints(2)) for column in columns]
    inputs = graph.op("Mul", graph.op("Concat", *stacked, axis=2), graph.op("Unsqueeze", real, graph.ints(2)))
    found = [_add_network(graph, inputs, module.network) for module in model.modules]
    total = found[0] if len(found) == 1 else graph.op("Sum", *found)
    network = graph.op("Div", total, _double(graph, float(len(found))))
    score = graph.op("Where", history.is_new, best, network)
    masked = graph.op("Where", is_real, score, _double(graph, -np.inf))
    ranked, place = graph.several("TopK", 2, masked, graph.ints(answers), axis=1)
    return ranked, graph.op("GatherElements", item, place, axis=1)


def _add_standardised(graph: GraphBuilder, score: str, real: str) -> str:
    """As `signals._standardised`, double [N, C]."""
    counted = graph.op("ReduceSum", real, graph.ints(1), keepdims=1)
    count = graph.op("Max", counted, _double(graph, 1.0))
    mean = graph.op("Div", graph.op("ReduceSum", graph.op("Mul", score, real), graph.ints(1), keepdims=1), count)
    centred = graph.op("Sub", score, mean)
    squares = graph.op("Mul", graph.op("Mul", centred, centred), real)
    variance = graph.op("Div", graph.op("ReduceSum", squares, graph.ints(1), keepdims=1), count)
    deviation = graph.op("Sqrt", variance)
    least = _double(graph, NO_SCORE)
    scaled = graph.op("Div", centred, graph.op("Max", deviation, least))
    return graph.op("Where", graph.op("Greater", deviation, least), scaled, _double(graph, 0.0))


def _add_log_rank(graph: GraphBuilder, score: str, is_real: str, count: int) -> str:
    """Logarithm of 1 + the place in the list by this score, double [N, C]."""
    masked = graph.op("Where", is_real, score, _double(graph, -np.inf))
    _, order = graph.several("TopK", 2, masked, graph.ints(count), axis=1)  # of equal ones the first is ahead
    zeros = graph.op("Mul", order, graph.ints(0))
    places = graph.op("Add", zeros, graph.constant(np.arange(count)))
    rank = graph.op("Cast", graph.op("ScatterElements", zeros, order, places, axis=1), to=TensorProto.DOUBLE)
    return graph.op("Log", graph.op("Add", rank, _double(graph, 1.0)))


def _add_network(graph: GraphBuilder, inputs: str, network: CandidateNetwork) -> str:
    """Scores of one network, double [N, C]."""
    mean, deviation = (graph.constant(buffer.double().numpy()) for buffer in (network.mean, network.deviation))
    x = graph.op("Div", graph.op("Sub", inputs, mean), deviation)
    for layer in network.layers:
        if isinstance(layer, nn.Linear):
            weight = graph.constant(layer.weight.detach().double().numpy().T.copy())
            x = graph.op("Add", graph.op("MatMul", x, weight), graph.constant(layer.bias.detach().double().numpy()))
        elif isinstance(layer, nn.GELU):
            x = _add_gelu(graph, x)
    return graph.op("Squeeze", x, graph.ints(2))


def _add_gelu(graph: GraphBuilder, x: str) -> str:
    """GELU by tanh (Hendrycks & Gimpel 2016); runtimes have Gelu itself for float32 alone."""
    cube = graph.op("Mul", graph.op("Mul", x, x), x)
    inner = graph.op("Add", x, graph.op("Mul", cube, _double(graph, 0.044715)))
    bent = graph.op("Tanh", graph.op("Mul", inner, _double(graph, np.sqrt(2 / np.pi))))
    half = graph.op("Mul", x, _double(graph, 0.5))
    return graph.op("Mul", half, graph.op("Add", bent, _double(graph, 1.0)))
