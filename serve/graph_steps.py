"""Raw events to the steps of a network in the graph: what `StepInputs` says, operation by operation."""

# N sequences of a batch, T events of the longest, S steps, D numbers a step
#
# Events are ascending in time and lie before their padding. Where a window of days or a pause cuts a sequence, its
# events from there on are moved to the front, so that the layers behind begin with them.

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from ludocast.datamodules.step_inputs import StepInputs
from ludocast.datamodules.time_features import DAY, HOUR
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_events import add_ids, add_log_ages, add_log_gaps, add_periodic
from onnx import TensorProto

NAMES, TIMES, LENGTH, NOW = "names", "times", "length", "now"


@dataclass(frozen=True)
class RawEvents:
    """Tensors of raw events, "" for what there is not.

    Attributes:
        names: Strings [N, T].
        times: Seconds, float64 [N, T].
        numbers: A tensor [N, T] a column.
        length: Events of each sequence, int64 [N].
        now: Moment of the question, float64 [N, 1].
    """

    names: str
    times: str
    numbers: tuple[str, ...]
    length: str
    now: str


@dataclass(frozen=True)
class Steps:
    """What a network reads, "" for what it does not.

    Attributes:
        tokens: Ids, int64 [N, S].
        numbers: float [N, S, D].
        length: Real steps, int64 [N].
        last_age: Log age of the last of them at the moment of the question, float [N, 1].
    """

    tokens: str
    numbers: str
    length: str
    last_age: str = ""


def number_tensors(inputs: StepInputs) -> tuple[str, ...]:
    """Names of the tensors of the columns of numbers."""
    return tuple(f"x{i}" for i in range(len(inputs.numbers)))


def add_raw_events(graph: GraphBuilder, inputs: StepInputs, length: int | str = "T") -> RawEvents:
    """The graph's inputs, as far as steps are made of them; with a length of 1 an event of each sequence, or none."""
    return RawEvents(
        graph.input(NAMES, TensorProto.STRING, length) if inputs.vocabulary is not None else "",
        graph.input(TIMES, TensorProto.DOUBLE, length) if inputs.time is not None else "",
        tuple(graph.input(name, TensorProto.FLOAT, length) for name in number_tensors(inputs)),
        graph.input(LENGTH, TensorProto.INT64) if length != 1 or inputs.has_now else "",
        graph.input(NOW, TensorProto.DOUBLE, 1) if inputs.has_now else "",
    )


def add_steps(graph: GraphBuilder, inputs: StepInputs, raw: RawEvents) -> Steps:
    """The steps of whole sequences."""
    if inputs.days_per_step is not None:
        return _add_days(graph, inputs, raw)
    tokens = add_ids(graph, inputs.vocabulary, raw.names) if inputs.vocabulary is not None else ""
    known = _known(graph, inputs, replace(raw, names=tokens))
    age = add_last_age(graph, _last_time(graph, known), known.now) if inputs.has_last_age else ""
    return Steps(known.names, add_numbers(graph, inputs, known), known.length, age)


def add_numbers(graph: GraphBuilder, inputs: StepInputs, events: RawEvents, last_N1: str = "") -> str:
    """What is read of times and numbers, float [N, T, D]; "" if nothing is.

    Args:
        graph: To append to.
        inputs: What is read.
        events: Of which it is read.
        last_N1: As of `add_log_gaps`.
    """
    parts = []
    if inputs.has_gaps:
        parts.append(graph.op("Unsqueeze", add_log_gaps(graph, events.times, last_N1), graph.ints(2)))
    if inputs.has_ages:
        parts.append(graph.op("Unsqueeze", add_log_ages(graph, events.times, events.now), graph.ints(2)))
    if inputs.has_calendar:
        parts.append(add_periodic(graph, events.times))
    if inputs.numbers:
        assert inputs.scale is not None
        for values, mean, deviation in zip(events.numbers, *inputs.scale, strict=True):
            scaled = graph.op("Div", graph.op("Sub", values, graph.floats(mean)), graph.floats(deviation))
            known = graph.op("Where", graph.op("IsNaN", scaled), graph.floats(0.0), scaled)
            parts.append(graph.op("Unsqueeze", known, graph.ints(2)))
    if len(parts) < 2:
        return parts[0] if parts else ""
    return graph.op("Concat", *parts, axis=2)


def add_last_age(graph: GraphBuilder, last_N1: str, now_N1: str) -> str:
    """Log age of the last event, float [N, 1]; 0 rather than below, where there is no event before now."""
    return add_log_ages(graph, graph.op("Min", last_N1, now_N1), now_N1)


def _last_time(graph: GraphBuilder, events: RawEvents) -> str:
    place = graph.op("Max", graph.op("Sub", events.length, graph.ints(1)), graph.ints(0))
    return graph.op("GatherElements", events.times, graph.op("Unsqueeze", place, graph.ints(1)), axis=1)


def add_is_real(graph: GraphBuilder, like_NT: str, length_N: str) -> str:
    """Which steps lie before the padding, bool [N, T]."""
    steps = graph.op("Squeeze", graph.op("Shape", like_NT, start=1, end=2))
    place = graph.op("Range", graph.constant(np.array(0)), steps, graph.constant(np.array(1)))
    return graph.op("Less", place, graph.op("Unsqueeze", length_N, graph.ints(1)))


def _known(graph: GraphBuilder, inputs: StepInputs, events: RawEvents) -> RawEvents:
    """The events that belong to the sequence, moved to the front."""
    if not inputs.has_now and inputs.pause is None:
        return events
    is_real = add_is_real(graph, events.times, events.length)
    length_N1 = graph.op("Unsqueeze", events.length, graph.ints(1))
    begin_N1 = ""
    if inputs.has_now:
        length_N1 = _count(graph, graph.op("Less", events.times, events.now), is_real)
    if inputs.observe is not None:
        begin = graph.op("Sub", events.now, graph.constant(np.array([inputs.observe * DAY])))
        begin_N1 = _count(graph, graph.op("Less", events.times, begin), is_real)
    elif inputs.pause is not None:
        begin_N1 = _session_begin(graph, events.times, is_real, inputs.pause)
    if not begin_N1:
        return replace(events, length=graph.op("Squeeze", length_N1, graph.ints(1)))
    steps = graph.op("Shape", events.times, start=1, end=2)
    zero, one = graph.constant(np.array(0)), graph.constant(np.array(1))
    place = graph.op("Range", zero, graph.op("Squeeze", steps), one)
    last = graph.op("Sub", steps, graph.ints(1))
    index_NT = graph.op("Min", graph.op("Add", place, begin_N1), last)

    def moved(values: str) -> str:
        return graph.op("GatherElements", values, index_NT, axis=1) if values else ""

    return RawEvents(
        moved(events.names),
        moved(events.times),
        tuple(moved(values) for values in events.numbers),
        graph.op("Squeeze", graph.op("Sub", length_N1, begin_N1), graph.ints(1)),
        events.now,
    )


def _count(graph: GraphBuilder, which_NT: str, is_real: str) -> str:
    counted = graph.op("Cast", graph.op("And", which_NT, is_real), to=TensorProto.INT64)
    return graph.op("ReduceSum", counted, graph.ints(1), keepdims=1)


def _session_begin(graph: GraphBuilder, times_NT: str, is_real: str, pause: float) -> str:
    """Place of the first event after the last pause of more than so many hours, int64 [N, 1]."""
    end = graph.ints(np.iinfo(np.int64).max)
    later = graph.op("Slice", times_NT, graph.ints(1), end, graph.ints(1))
    earlier = graph.op("Slice", times_NT, graph.ints(0), graph.ints(-1), graph.ints(1))
    is_long = graph.op("Greater", graph.op("Sub", later, earlier), graph.constant(np.array([pause * HOUR])))
    begins = graph.op("And", is_long, graph.op("Slice", is_real, graph.ints(1), end, graph.ints(1)))
    # The first event begins the first session; its place, 0, is there even where there is no second one.
    first = graph.op("Slice", is_real, graph.ints(0), graph.ints(1), graph.ints(1))
    begins = graph.op("Cast", graph.op("Concat", first, begins, axis=1), to=TensorProto.INT64)
    zero, one = graph.constant(np.array(0)), graph.constant(np.array(1))
    place = graph.op("Range", zero, graph.op("Squeeze", graph.op("Shape", times_NT, start=1, end=2)), one)
    return graph.op("ReduceMax", graph.op("Mul", begins, place), graph.ints(1), keepdims=1)


def _add_days(graph: GraphBuilder, inputs: StepInputs, raw: RawEvents) -> Steps:
    """Bits of `daily_activity_bits`, so many days a step, the oldest first."""
    assert inputs.observe is not None
    assert inputs.days_per_step is not None
    days, width = int(inputs.observe), inputs.days_per_step
    since = graph.op("Div", graph.op("Sub", raw.times, raw.now), graph.constant(np.array([DAY])))
    day = graph.op("Add", graph.op("Floor", since), graph.constant(np.array([float(days)])))
    inside = graph.op("GreaterOrEqual", day, graph.constant(np.array([0.0])))
    inside = graph.op("And", inside, graph.op("Less", day, graph.constant(np.array([float(days)]))))
    inside = graph.op("And", inside, add_is_real(graph, raw.times, raw.length))
    # What lies outside is marked on one day more, which is cut off.
    place = graph.op("Where", inside, day, graph.constant(np.array([float(days)])))
    rows = graph.op("Shape", raw.times, start=0, end=1)
    empty = graph.op("Expand", graph.floats(0.0), graph.op("Concat", rows, graph.ints(days + 1), axis=0))
    marks = graph.op("Expand", graph.floats(1.0), graph.op("Shape", raw.times))
    marked = graph.op("ScatterElements", empty, graph.op("Cast", place, to=TensorProto.INT64), marks, axis=1)
    bits = graph.op("Slice", marked, graph.ints(0), graph.ints(days), graph.ints(1))
    numbers = graph.op("Reshape", bits, graph.ints(0, days // width, width))
    return Steps("", numbers, graph.op("Expand", graph.ints(days // width), rows))
