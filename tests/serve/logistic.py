"""Small models whose answers can be worked out by hand, as bundles; for the tests and benchmarks of serving."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ludocast.serve.bundle import write_bundle
from ludocast.serve.manifest import Input
from ludocast.serve.manifest_labels import LabelValues
from onnx import TensorProto, helper, numpy_helper

ORIGIN = 1_700_000_000  # 2023-11-14T22:13:20Z
_TYPES = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "string": TensorProto.STRING}


@dataclass(frozen=True)
class Term:
    """What one column adds to the log odds.

    Attributes:
        weight: Of a number, or of days since `ORIGIN`; unused for text.
        missing: Added where the value is missing.
        values: Text to what it adds; others add 0.
    """

    input: Input
    weight: float = 0.0
    missing: float = 0.0
    values: dict[str, float] = field(default_factory=dict)


TERMS = (
    Term(Input("age", "x0", "number", None, (10, 60)), weight=0.1, missing=0.25),
    Term(
        Input("plan", "x1", "category", ("basic", "pro")), missing=0.5, values={"basic": -1.0, "pro": 1.0, "요금": 2.0}
    ),
    Term(Input("active", "x2", "boolean", ("true", "false")), missing=-0.5, values={"true": -2.0, "false": 0.0}),
    Term(Input("last seen ", "x3", "timestamp", None, (ORIGIN, ORIGIN + 864_000)), weight=0.5, missing=-1.0),
)
BIAS = -2.0


def by_hand(age: float | None, plan: str, active: str, day: float | None) -> float:
    """The probability of "Y" by `TERMS`, in plain Python."""
    logit = BIAS + (0.25 if age is None else 0.1 * age) + (-1.0 if day is None else 0.5 * day)
    logit += {"": 0.5, "basic": -1.0, "pro": 1.0, "요금": 2.0}.get(plan, 0.0)
    logit += {"": -0.5, "true": -2.0, "false": 0.0}[active]
    return 1 / (1 + math.exp(-logit))


def logistic_model(terms: Sequence[Term] = TERMS, bias: float = BIAS, threshold: float = 0.5) -> bytes:
    """ONNX of a logistic model of the classes N and Y."""
    graph = _Graph()
    parts = [graph.part(term) for term in terms]
    odds = graph.op("Concat", parts, axis=1) if len(parts) > 1 else parts[0]
    weights = graph.constant(np.ones((len(parts), 1), np.float32))
    logit = graph.op("Add", [graph.op("MatMul", [odds, weights]), graph.constant(np.array([bias], np.float32))])
    p = graph.op("Sigmoid", [logit])
    graph.op("Concat", [graph.op("Sub", [graph.constant(np.array([1], np.float32)), p]), p], "probabilities", axis=1)
    above = graph.op("Not", [graph.op("Less", [p, graph.constant(np.array([threshold], np.float32))])])
    number = graph.op(
        "Cast", [graph.op("Squeeze", [above, graph.constant(np.array([1], np.int64))])], to=TensorProto.INT64
    )
    graph.op("LabelEncoder", [number], "label", keys_int64s=[0, 1], values_strings=["N", "Y"], default_string="?")
    return graph.model([term.input for term in terms], _classes(2))


def softmax_model() -> bytes:
    """ONNX of three classes a, b, c whose log odds are 0, age and −age; missing is 0."""
    graph = _Graph()
    x = graph.part(Term(SOFTMAX_INPUT, weight=1.0))
    scores = graph.op("MatMul", [x, graph.constant(np.array([[0, 1, -1]], np.float32))])
    graph.op("Softmax", [scores], "probabilities", axis=1)
    best = graph.op("ArgMax", [scores], axis=1, keepdims=0)
    graph.op("LabelEncoder", [best], "label", keys_int64s=[0, 1, 2], values_strings=list("abc"), default_string="?")
    return graph.model([SOFTMAX_INPUT], _classes(3))


def _classes(count: int) -> list[tuple[str, int, list[str | int]]]:
    return [("label", TensorProto.STRING, ["N"]), ("probabilities", TensorProto.FLOAT, ["N", count])]


SOFTMAX_INPUT = Input("age", "x0", "number", None, (-2, 2))


def write_logistic(folder: Path, **changes: Any) -> Path:
    """A bundle of `logistic_model`."""
    terms = changes.pop("terms", TERMS)
    fields: dict[str, Any] = {
        "name": "demo",
        "inputs": [term.input for term in terms],
        "classes": ["N", "Y"],
        "positive": "Y",
        "threshold": 0.5,
        **changes,
    }
    write_bundle(folder, logistic_model(terms), **fields)
    return folder


def write_softmax(folder: Path) -> Path:
    """A bundle of `softmax_model`."""
    write_bundle(folder, softmax_model(), name="three", inputs=[SOFTMAX_INPUT], classes=list("abc"))
    return folder


def write_numbers(folder: Path) -> Path:
    """A bundle of "regression": value 100 · age (missing is 0), and bounds 50 below and 100 above."""
    graph = _Graph()
    x = graph.part(Term(SOFTMAX_INPUT, weight=1.0))
    value = graph.op("Mul", [x, graph.constant(np.array([100], np.float32))])
    graph.op("Add", [value, graph.constant(np.array([[-50, 100]], np.float32))], "bounds")
    graph.op("Squeeze", [value, graph.constant(np.array([1], np.int64))], "value")
    outputs: list[tuple[str, int, list[str | int]]] = [
        ("value", TensorProto.FLOAT, ["N"]),
        ("bounds", TensorProto.FLOAT, ["N", 2]),
    ]
    model = graph.model([SOFTMAX_INPUT], outputs)
    fields: dict[str, Any] = {"inputs": [SOFTMAX_INPUT], "classes": [], "task": "regression", "coverage": 0.9}
    write_bundle(folder, model, name="numbers", **fields)
    return folder


def write_segments(folder: Path) -> Path:
    """A bundle of "segments": near -1, near 1, told by distances of age (missing is 0); anomaly a tenth of |age|."""
    graph = _Graph()
    x = graph.part(Term(SOFTMAX_INPUT, weight=1.0))
    distances = graph.op("Abs", [graph.op("Sub", [x, graph.constant(np.array([[-1, 1]], np.float32))])])
    odd = graph.op("Abs", [graph.op("Mul", [x, graph.constant(np.array([0.1], np.float32))])])
    graph.op("Concat", [distances, odd], "measures", axis=1)
    nearest = graph.op("ArgMin", [distances], axis=1, keepdims=0)
    graph.op("LabelEncoder", [nearest], "segment", keys_int64s=[0, 1], values_strings=["1", "2"], default_string="?")
    outputs: list[tuple[str, int, list[str | int]]] = [
        ("segment", TensorProto.STRING, ["N"]),
        ("measures", TensorProto.FLOAT, ["N", 3]),
    ]
    fields: dict[str, Any] = {"inputs": [SOFTMAX_INPUT], "classes": ["1", "2"], "task": "segments"}
    model = graph.model([SOFTMAX_INPUT], outputs)
    write_bundle(folder, model, name="segments", measures=("distances", "anomaly"), **fields)
    return folder


def write_labels(folder: Path) -> Path:
    """A bundle of "labels": of 2 age and of -age (missing is 0), from 0.5 and from 0.7 on."""
    graph = _Graph()
    x = graph.part(Term(SOFTMAX_INPUT, weight=1.0))
    p = graph.op("Sigmoid", [graph.op("Mul", [x, graph.constant(np.array([[2, -1]], np.float32))])], "probabilities")
    graph.op("GreaterOrEqual", [p, graph.constant(np.array([0.5, 0.7], np.float32))], "labels")
    outputs: list[tuple[str, int, list[str | int]]] = [
        ("labels", TensorProto.BOOL, ["N", 2]),
        ("probabilities", TensorProto.FLOAT, ["N", 2]),
    ]
    values = [LabelValues("no", "yes", 0.5), LabelValues("0", "1", 0.7)]
    fields: dict[str, Any] = {"inputs": [SOFTMAX_INPUT], "classes": ["old", "young"], "task": "labels"}
    write_bundle(folder, graph.model([SOFTMAX_INPUT], outputs), name="labels", labels=values, **fields)
    return folder


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, array: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def op(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}" if output is None else output
        domain = "ai.onnx.ml" if kind == "LabelEncoder" else ""
        self.nodes.append(helper.make_node(kind, inputs, [name], domain=domain, **attributes))
        return name

    def part(self, term: Term) -> str:
        x, kind = term.input.tensor, term.input.kind
        if kind in ("category", "boolean"):
            weights = {**term.values, "": term.missing}
            return self.op(
                "LabelEncoder", [x], keys_strings=list(weights), values_floats=list(weights.values()), default_float=0.0
            )
        if kind == "timestamp":
            seconds = self.op("Sub", [x, self.constant(np.array([ORIGIN], np.float64))])
            days = self.op("Div", [seconds, self.constant(np.array([86_400], np.float64))])
            x = self.op("Cast", [days], to=TensorProto.FLOAT)
        product = self.op("Mul", [x, self.constant(np.array([term.weight], np.float32))])
        return self.op("Where", [self.op("IsNaN", [x]), self.constant(np.array([term.missing], np.float32)), product])

    def model(self, inputs: Sequence[Input], outputs: Sequence[tuple[str, int, list[str | int]]]) -> bytes:
        graph = helper.make_graph(
            self.nodes,
            "logistic",
            [helper.make_tensor_value_info(item.tensor, _TYPES[item.dtype], ["N", 1]) for item in inputs],
            [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in outputs],
            self.constants,
        )
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 3)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())
