"""The options of a recommender's graph: inputs that have a default, so that they need not be fed."""

# N histories, I items, K answers at most

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_history import History
from ludocast.serve.recommend_names import ALLOWED, EXCLUDE_OWNED, K


@dataclass(frozen=True)
class Options:
    """Values of the graph.

    Attributes:
        allowed: Whether an item may be suggested, bool [1 or N, I].
        hidden: Whether items of a history are hidden because they are owned, bool [1 or N, I].
        k: Answers, int64 [1], from 1 to K.
    """

    allowed: str
    hidden: str
    k: str


def add_options(graph: GraphBuilder, count: int, answers: int, repeatable: np.ndarray | None) -> Options:
    """The inputs `allowed`, `exclude_owned` and `k`.

    In a file they are inputs whose default is an initializer of the same name: onnxruntime takes them or leaves them.

    Args:
        graph: That gets them.
        count: I.
        answers: K, the default of `k` too.
        repeatable: Items that are suggested though they are owned, bool [I]; None for none.
    """
    allowed = graph.optional_input(ALLOWED, np.ones((1, count), bool), ["allowed_rows", count])
    exclude = graph.optional_input(EXCLUDE_OWNED, np.ones((1, 1), bool), ["exclude_owned_rows", 1])
    k = graph.optional_input(K, np.array([answers], np.int64), [1])
    once = np.ones(count, bool) if repeatable is None else ~repeatable
    bounded = graph.op("Min", graph.op("Max", k, graph.ints(1)), graph.ints(answers))
    return Options(allowed, graph.op("And", exclude, graph.constant(once[None])), bounded)


def add_masked(graph: GraphBuilder, history: History, options: Options, scores: str) -> str:
    """Scores double [N, I], minus infinity where an item is not to be suggested."""
    is_owned = graph.op("Greater", history.owned, graph.doubles(0.0))
    is_hidden = graph.op("And", is_owned, options.hidden)
    is_open = graph.op("And", options.allowed, graph.op("Not", is_hidden))
    return graph.op("Where", is_open, scores, graph.doubles(-np.inf))
