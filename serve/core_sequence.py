"""The graph of a bundle of sequences behind its names and times, and how its inputs are made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import onnx
from ludocast.datamodules.step_inputs import StepInputs
from ludocast.datamodules.time_features import HOUR
from ludocast.datamodules.vocabulary import FIRST, PADDING, UNKNOWN
from onnx import TensorProto, helper

TOKENS, NUMBERS, STEPS, LAST_AGE, ANSWER = "tokens", "numbers", "steps", "last_age", "probabilities"
# Before the names of the values of the bundle's graph at which it is cut: there `sequence_export` puts it.
CUT = "core_"


def sequence_document(inputs: StepInputs, task: str, classes: Sequence[str]) -> dict[str, Any]:
    """What a foreign runtime has to do before the core graph, as plain JSON.

    `tokens` int64 [N, T]: the number of each name. `numbers` float [N, T, D]: as listed, in this order; log1p is
    log(1 + seconds / unit), sines and cosines are those of 2π times the part of a day since midnight or of a week since
    Monday, in UTC, and a missing value of a column is its mean. `steps` int64 [N]: how many steps are real.
    `last_age` float [N, 1]: of the last event, as the log1p of an age.
    """
    numbers: list[dict[str, Any]] = []
    if inputs.days_per_step is not None:
        numbers.append({"days": inputs.days_per_step, "value": "1 where the day has an event, the oldest day first"})
    if inputs.has_gaps:
        numbers.append({"log1p": "since the event before, 0 for the first", "unit": HOUR})
    if inputs.has_ages:
        numbers.append({"log1p": "from the event to now", "unit": HOUR})
    if inputs.has_calendar:
        numbers += [{wave: period} for period in ("day", "week") for wave in ("sine", "cosine")]
    for column, mean, deviation in zip(inputs.numbers, *(inputs.scale or ((), ())), strict=True):
        numbers.append({"column": column, "mean": float(mean), "deviation": float(deviation)})
    document: dict[str, Any] = {
        "format": 1, "task": task, NUMBERS: numbers, "observe": inputs.observe, "pause": inputs.pause,
        LAST_AGE: {"log1p": "from the last event to now", "unit": HOUR} if inputs.has_last_age else None,
        ANSWER: list(classes),
    }  # fmt: skip
    if inputs.vocabulary is not None:
        values = {name: FIRST + i for i, name in enumerate(inputs.vocabulary.tokens)}
        document[TOKENS] = {"column": inputs.name, "padding": PADDING, "unknown": UNKNOWN, "values": values}
    if task == "next":  # one an id
        document[ANSWER] = [None] * FIRST + list(classes)
    return document


def cut_sequence_model(model: onnx.ModelProto, document: dict[str, Any]) -> onnx.ModelProto:
    """Cut the graph of whole sequences at what `sequence_document` describes; `probabilities` come out."""
    kinds: dict[str, tuple[int, list[int | str]]] = {
        TOKENS: (TensorProto.INT64, ["N", "T"]),
        NUMBERS: (TensorProto.FLOAT, ["N", "T", "D"]),
        STEPS: (TensorProto.INT64, ["N"]),
        LAST_AGE: (TensorProto.FLOAT, ["N", 1]),
    }
    wanted, kept = {CUT + ANSWER}, []
    for node in reversed(model.graph.node):
        if set(node.output) & wanted and node.output[0] not in {CUT + name for name in kinds}:
            kept.append(node)
            wanted |= set(_read(node))
    read = [name for name in kinds if CUT + name in wanted]
    nodes = [
        *(helper.make_node("Identity", [name], [CUT + name]) for name in read),
        *kept[::-1],
        helper.make_node("Identity", [CUT + ANSWER], [ANSWER]),
    ]
    inputs = [helper.make_tensor_value_info(name, *kinds[name]) for name in read]
    shape: list[int | str] = ["N", *(["T"] if document["task"] == "tags" else []), len(document[ANSWER])]
    outputs = [helper.make_tensor_value_info(ANSWER, TensorProto.FLOAT, shape)]
    constants = [constant for constant in model.graph.initializer if constant.name in wanted]
    graph = helper.make_graph(nodes, "ludocast_core", inputs, outputs, constants)
    opsets = [opset for opset in model.opset_import if opset.domain == ""]
    core = helper.make_model(graph, opset_imports=opsets, ir_version=model.ir_version, producer_name="ludocast")
    onnx.checker.check_model(core)
    return core


def _read(node: onnx.NodeProto) -> Iterable[str]:
    """Names that a node reads, those inside of a Scan's body too."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _read(inner)
