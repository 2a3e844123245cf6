"""A fitted recommender as an ONNX graph: a history of item ids in, ranked items and their scores out.

What is owned is masked and the best items are taken inside the graph. Weights are stored as float32, or at the
precision that the model was given (`stored_weights.store_at`); all sums are taken in float64, as in training, so that
the order of close scores is the same in every runtime.
"""

# N histories, T ids of the longest, I items, K answers

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx
from ludocast.models.recommend.cold_start import ColdStart
from ludocast.models.recommend.ranking import Recommender
from ludocast.models.recommend.rerank import Reranker
from ludocast.models.recommend.stored_weights import item_models, stored_bytes
from ludocast.serve.core_recommend import CORE_ITEMS, CORE_SCORES, recommend_document
from ludocast.serve.export import PREPROCESSING
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_because import add_because
from ludocast.serve.graph_candidates import NEVER, add_best, add_reranked
from ludocast.serve.graph_cold_start import add_cold_start
from ludocast.serve.graph_history import add_history
from ludocast.serve.graph_item_weights import add_scores
from ludocast.serve.graph_options import add_options
from ludocast.serve.recommend_names import ITEMS, SCORES
from onnx import TensorProto

MOST_ANSWERS = 100
TWO_GB = 2**31 - 1  # what one protobuf file holds


@dataclass(frozen=True)
class RecommendExport:
    """A graph and what it answers.

    Attributes:
        model: Inputs `history` string [N, T] and `length` int64 [N], and with defaults `allowed` bool [1 or N, I],
            `exclude_owned` bool [1 or N, 1] and `k` int64 [1]; outputs `items` string [N, k], "" where no item is left,
            `scores` float32 [N, k], minus infinity there, and `because` string [N, k, 3], what of the history speaks
            most for each item, the strongest first, "" where nothing does.
        items: Texts of the ids, in the order of ties and of `allowed`.
        answers: K, the largest k, and the default.
    """

    model: onnx.ModelProto
    items: tuple[str, ...]
    answers: int


def export_recommender(
    model: Recommender,
    items: np.ndarray,
    answers: int = MOST_ANSWERS,
    description: str = "",
    repeatable: np.ndarray | None = None,
    cold: ColdStart | None = None,
) -> RecommendExport:
    """Export a fitted model.

    Args:
        model: Popularity, a model of items by items, or the re-ranker.
        items: Ids [I].
        answers: K; of a re-ranker at most its candidates, of a smaller catalogue all its items.
        description: Of the graph.
        repeatable: Items that are suggested though they are owned, bool [I]; None for none.
        cold: What answers records without history by attributes, which become inputs [N, 1]; None for popularity.

    Raises:
        ValueError: If the model has no graph, two ids have one text, or the file would pass 2 GB.
    """
    texts = tuple(str(item) for item in items.tolist())
    if "" in texts or len(set(texts)) < len(texts):
        raise ValueError("two items have one text for an id, or an empty one; rename one of them")
    if stored_bytes(model) > TWO_GB:
        raise ValueError(
            f"{len(item_models(model))} matrices of {len(texts):,} × {len(texts):,} items pass the 2 GB of one "
            "model.onnx; leave rare items out (--users-of-item), store fewer bits (--weights-precision float16 or "
            "int8), or take a model of one matrix (--model ease_weighted)"
        )
    graph = GraphBuilder()
    history = add_history(graph, texts)
    if cold is not None:
        history = replace(history, cold=add_cold_start(graph, cold))
    answers = min(answers, len(texts))
    if isinstance(model, Reranker):
        answers = min(answers, model.signals.candidates)
    options = add_options(graph, len(texts), answers, repeatable)
    if isinstance(model, Reranker):
        score, item = add_reranked(graph, history, options, model)
        speaking: Recommender = next(iter(model.signals.models.values()))
    else:
        score, item = add_best(graph, history, options, add_scores(graph, history, model), options.k)
        speaking = model
    item, score = graph.op("Identity", item, name=CORE_ITEMS), graph.op("Identity", score, name=CORE_SCORES)
    names = graph.op("Gather", graph.constant(np.array(texts, object)), item, axis=0)
    is_item = graph.op("Greater", score, graph.doubles(NEVER))
    shown = graph.op("Where", is_item, names, graph.constant(np.array([""], object)))
    graph.output(shown, ITEMS, TensorProto.STRING, ["N", "K"])
    graph.output(graph.op("Cast", score, to=TensorProto.FLOAT), SCORES, TensorProto.FLOAT, ["N", "K"])
    add_because(graph, history, speaking, item, is_item, texts)
    return RecommendExport(graph.model(description, {PREPROCESSING: recommend_document(answers)}), texts, answers)
