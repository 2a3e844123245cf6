"""Raw events in the graph: names to ids, times to the numbers of `datamodules.time_features`, seconds in float64."""

# N sequences of a batch, T steps of the longest

from __future__ import annotations

import numpy as np
from ludocast.datamodules.time_features import DAY, HOUR, MONDAY
from ludocast.datamodules.vocabulary import FIRST, UNKNOWN, Vocabulary
from ludocast.serve.graph import GraphBuilder
from onnx import TensorProto


def add_ids(graph: GraphBuilder, vocabulary: Vocabulary, names: str) -> str:
    """Ids int64 of names (strings of any shape); what stands at padding gets that of unknown ones."""
    codes = list(range(FIRST, len(vocabulary)))
    return graph.op(
        "LabelEncoder", names, keys_strings=list(vocabulary.tokens), values_int64s=codes, default_int64=UNKNOWN
    )


def add_log_gaps(graph: GraphBuilder, time_NT: str, last_N1: str = "", unit: float = HOUR) -> str:
    """log(1 + gap / unit) since the event before, float [N, T].

    Args:
        graph: To append to.
        time_NT: Seconds, float64, ascending.
        last_N1: Time of the event before the first, float64; NaN, or "" for all, where there is none and the gap is 0.
        unit: Seconds.
    """
    first = graph.op("Slice", time_NT, graph.ints(0), graph.ints(1), graph.ints(1))
    if last_N1:
        first = graph.op("Where", graph.op("IsNaN", last_N1), first, last_N1)
    earlier = graph.op("Slice", time_NT, graph.ints(0), graph.ints(-1), graph.ints(1))
    before = graph.op("Concat", first, earlier, axis=1)
    return _log1p(graph, graph.op("Sub", time_NT, before), unit)


def add_log_ages(graph: GraphBuilder, time_NT: str, now_N1: str, unit: float = HOUR) -> str:
    """log(1 + age / unit) at the moment of the question, float [N, T]; both times float64 seconds."""
    return _log1p(graph, graph.op("Sub", now_N1, time_NT), unit)


def add_periodic(graph: GraphBuilder, time_NT: str) -> str:
    """Sine and cosine of the day and of the week, float [N, T, 4], of float64 seconds since 1970."""
    parts = []
    for start, period in ((0.0, DAY), (MONDAY, 7 * DAY)):
        turns = graph.op("Div", graph.op("Sub", time_NT, _double(graph, start)), _double(graph, period))
        part = graph.op("Sub", turns, graph.op("Floor", turns))  # in [0, 1), which float32 holds well
        angle = graph.op("Mul", graph.op("Cast", part, to=TensorProto.FLOAT), graph.floats(2 * np.pi))
        parts += [graph.op("Unsqueeze", graph.op(wave, angle), graph.ints(2)) for wave in ("Sin", "Cos")]
    return graph.op("Concat", *parts, axis=2)


def _log1p(graph: GraphBuilder, seconds: str, unit: float) -> str:
    grown = graph.op("Add", graph.op("Div", seconds, _double(graph, unit)), _double(graph, 1.0))
    return graph.op("Cast", graph.op("Log", grown), to=TensorProto.FLOAT)


def _double(graph: GraphBuilder, value: float) -> str:
    return graph.constant(np.array([value]))
