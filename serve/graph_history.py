"""The history of a recommender's graph: ids become numbers of items, each once, and who owns what."""

# N histories, T ids of the longest, I items

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from ludocast.serve.core_recommend import CORE_CODES
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.recommend_names import HISTORY, LENGTH
from onnx import TensorProto


@dataclass(frozen=True)
class History:
    """What the graph knows of a history.

    Attributes:
        owned: 1 where an item is in it, double [N, I].
        codes: Its items, each once, int64 [N, T]; I for what is unknown, repeated, or beyond the length.
        is_new: Whether it has no known item, bool [N, 1].
        names: As they came, strings [N, T].
        cold: Scores of those that are new, by their attributes, double [N, I]; None where popularity is their answer.
    """

    owned: str
    codes: str
    is_new: str
    names: str
    cold: str | None = None


def add_history(graph: GraphBuilder, texts: Sequence[str]) -> History:
    """The inputs `history` and `length`, and what they say.

    Args:
        graph: That gets them.
        texts: Of the items, in the catalogue's order [I].
    """
    names = graph.input(HISTORY, TensorProto.STRING, "T")
    length = graph.input(LENGTH, TensorProto.INT64)
    count = len(texts)
    code = graph.op(
        "LabelEncoder", names, name=CORE_CODES, keys_strings=list(texts), values_int64s=list(range(count)),
        default_int64=count,
    )  # fmt: skip
    return _of_codes(graph, code, length, count, names)


def _of_codes(graph: GraphBuilder, code: str, length: str, count: int, names: str) -> History:
    """A history of numbers of items, int64 [N, T], `count` for unknown ones."""
    shape = graph.op("Shape", code)
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
    return History(owned, codes, graph.op("Equal", most, graph.doubles(0.0)), names)
