"""Recurrent stacks as graphs: torch on each sequence alone is what onnxruntime and onnx's evaluator have to answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from ludocast.models.stacked_rnn.recurrent import Kind, recurrent
from ludocast.serve.graph import OPSET, GraphBuilder
from ludocast.serve.graph_recurrent import (
    add_last,
    add_last_state,
    add_outputs,
    add_recurrent,
    add_step,
    state_size,
)
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from torch import nn

TOLERANCE = 1e-5
D, H = 5, 8
STACKS: list[tuple[Kind, str | None]] = [
    ("sigmoid", "sigmoid"),
    ("sigmoid", "tanh"),
    ("tanh", None),
    ("gru", None),
    ("lstm", None),
]
each_stack = pytest.mark.parametrize(("kind", "coordinates"), STACKS)
# onnx's own logistic function, at the gates that hold an LSTM's c over padding; its answer, 0, is right.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")


def make(kind: Kind, coordinates: Any, layers: int = 2, bidirectional: bool = True, bias: bool = True) -> nn.RNNBase:
    torch.manual_seed(0)
    rnn = recurrent(kind, D, H, layers, bias, True, bidirectional=bidirectional, coordinates=coordinates)
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.mul_(2)  # so that steps matter
    return rnn.eval()


def whole(rnn: nn.RNNBase, has_state: bool = True, as_scan: bool = False) -> onnx.ModelProto:
    graph = GraphBuilder()
    size, width = state_size(rnn), H * (2 if rnn.bidirectional else 1)
    x, length = graph.input("x", TensorProto.FLOAT, "T", D), graph.input("length", TensorProto.INT64)
    state = graph.input("state", TensorProto.FLOAT, size) if has_state else ""
    stack = add_recurrent(graph, rnn, x, length, state, with_cells=True, as_scan=as_scan)
    graph.output(add_outputs(graph, stack), "h", TensorProto.FLOAT, ["N", "T", width])
    graph.output(add_last(graph, stack), "last", TensorProto.FLOAT, ["N", width])
    graph.output(add_last_state(graph, stack), "new_state", TensorProto.FLOAT, ["N", size])
    return graph.model("", {})


def step(rnn: nn.RNNBase) -> onnx.ModelProto:
    graph = GraphBuilder()
    x, state = graph.input("x", TensorProto.FLOAT, D), graph.input("state", TensorProto.FLOAT, state_size(rnn))
    h, new_state = add_step(graph, rnn, x, state)
    graph.output(h, "h", TensorProto.FLOAT, ["N", H])
    graph.output(new_state, "new_state", TensorProto.FLOAT, ["N", state_size(rnn)])
    return graph.model("", {})


def feed(rnn: nn.RNNBase, length: list[int], has_state: bool = True) -> dict[str, np.ndarray]:
    """NaN at padding, so that whatever reads it shows."""
    generator = np.random.default_rng(0)
    N, T = len(length), max(length)
    x = generator.normal(size=(N, T, D)).astype(np.float32)
    x[np.arange(T) >= np.array(length)[:, None]] = np.nan
    state = {"state": generator.random((N, state_size(rnn)), np.float32)} if has_state else {}
    return {"x": x, "length": np.array(length, np.int64), **state}


def alone(rnn: nn.RNNBase, fed: dict[str, np.ndarray]) -> list[np.ndarray]:
    """h, last and new_state by torch, one sequence at a time and without padding."""
    N, T, _ = fed["x"].shape
    width = H * (2 if rnn.bidirectional else 1)
    h, last = np.zeros((N, T, width), np.float32), np.zeros((N, width), np.float32)
    state = fed["state"] if "state" in fed else np.zeros((N, state_size(rnn)), np.float32)
    new_state = state.copy()
    for i, length in enumerate(fed["length"].tolist()):
        parts = torch.from_numpy(state[i].reshape(-1, H))
        if length:
            with torch.no_grad():
                before = tuple(parts.chunk(2)) if rnn.mode == "LSTM" else parts
                out, after = rnn(torch.from_numpy(fed["x"][i, :length]), before)
            h[i, :length] = out.numpy()
            parts = torch.cat(after) if rnn.mode == "LSTM" else after
            new_state[i] = parts.numpy().ravel()
        cells = len(parts) // 2 if rnn.mode == "LSTM" else 0
        last[i] = parts[: len(parts) - cells].numpy().ravel()[-width:]
    return [h, last, new_state]


def run(model: onnx.ModelProto, fed: dict[str, np.ndarray]) -> list[Any]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return list(ort.InferenceSession(model.SerializeToString(), options).run(None, fed))


def assert_same(found: list[Any], wanted: list[np.ndarray]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE)


@each_stack
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("has_state", [False, True])
def test_ragged_sequences_equal_torch_in_both_evaluators(
    kind: Kind, coordinates: str | None, bidirectional: bool, bias: bool, has_state: bool
) -> None:
    rnn = make(kind, coordinates, 2, bidirectional, bias)
    model = whole(rnn, has_state)
    fed = feed(rnn, [7, 3, 1, 0, 7, 6], has_state)
    wanted = alone(rnn, fed)
    assert_same(run(model, fed), wanted)
    assert_same(list(ReferenceEvaluator(model).run(None, fed)), wanted)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("has_state", [False, True])
@pytest.mark.parametrize(("kind", "coordinates"), STACKS[:3])
def test_a_scan_gives_the_same(
    kind: Kind, coordinates: str | None, bidirectional: bool, bias: bool, has_state: bool
) -> None:
    rnn = make(kind, coordinates, 2, bidirectional, bias)
    model = whole(rnn, has_state, as_scan=True)
    assert {node.op_type for node in model.graph.node} & {"Scan", "RNN"} == {"Scan"}
    for length in ([7, 3, 1, 0, 7, 6], [40] * 3, [600, 2]):
        fed = feed(rnn, length, has_state)
        wanted = alone(rnn, fed)
        assert_same(run(model, fed), wanted)
        if max(length) < 10:
            assert_same(list(ReferenceEvaluator(model).run(None, fed)), wanted)


@each_stack
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (1, True), (3, True)])
def test_one_and_three_layers(kind: Kind, coordinates: str | None, layers: int, bidirectional: bool) -> None:
    rnn = make(kind, coordinates, layers, bidirectional)
    fed = feed(rnn, [4, 2])
    assert_same(run(whole(rnn), fed), alone(rnn, fed))


@each_stack
@pytest.mark.parametrize("length", [[2000, 3, 700], [1], [33, 33], [*range(1, 9)] * 125], ids=len)
def test_batches_and_lengths(kind: Kind, coordinates: str | None, length: list[int]) -> None:
    rnn = make(kind, coordinates)
    fed = feed(rnn, length)
    assert_same(run(whole(rnn), fed), alone(rnn, fed))


@each_stack
def test_steps_equal_the_whole_sequence(kind: Kind, coordinates: str | None) -> None:
    for layers in (1, 2):
        rnn = make(kind, coordinates, layers, bidirectional=False)
        fed = feed(rnn, [20] * 3)
        h, _, new_state = alone(rnn, fed)
        model, state = step(rnn), fed["state"]
        session, reference = ort.InferenceSession(model.SerializeToString()), ReferenceEvaluator(model)
        for t in range(20):
            one = {"x": fed["x"][:, t], "state": state}
            found = [session.run(None, one), list(reference.run(None, one))]
            for out, _ in found:
                np.testing.assert_allclose(out, h[:, t], rtol=0, atol=TOLERANCE)
            np.testing.assert_allclose(found[1][1], found[0][1], rtol=0, atol=TOLERANCE)
            state = found[0][1]
        np.testing.assert_allclose(state, new_state, rtol=0, atol=TOLERANCE)


@each_stack
def test_a_whole_sequence_goes_on_in_steps(kind: Kind, coordinates: str | None) -> None:
    """The state that leaves ragged sequences is the one that the step graph takes, an LSTM's c among it."""
    rnn = make(kind, coordinates, bidirectional=False)
    fed = feed(rnn, [9, 5, 1], has_state=False)
    x = np.nan_to_num(fed["x"])
    state = run(whole(rnn, has_state=False), {"x": x, "length": fed["length"] - 1})[2]
    last_x = x[np.arange(3), fed["length"] - 1]
    h, state = run(step(rnn), {"x": last_x, "state": state})
    _, last, new_state = alone(rnn, fed)
    assert_same([h, state], [last, new_state])


def test_a_sigmoid_unit_by_hand() -> None:
    """σ(0) = ½, then σ(2·½ − 1) = ½, and at x = ln 3: σ(ln 3 + 2·½ − 1) = ¾."""
    rnn = recurrent("sigmoid", 1, 1, coordinates="sigmoid")
    for name, value in {"weight_ih_l0": 1.0, "weight_hh_l0": 2.0, "bias_ih_l0": -1.0, "bias_hh_l0": 0.0}.items():
        nn.init.constant_(getattr(rnn, name), value)
    graph = GraphBuilder()
    x, length = graph.input("x", TensorProto.FLOAT, "T", 1), graph.input("length", TensorProto.INT64)
    stack = add_recurrent(graph, rnn, x, length)
    graph.output(add_outputs(graph, stack), "h", TensorProto.FLOAT, ["N", "T", 1])
    graph.output(add_last_state(graph, stack), "state", TensorProto.FLOAT, ["N", 1])
    x_NT1 = np.array([[1.0, 0.0, np.log(3), 5.0]], np.float32)[..., None]
    h, state = run(graph.model("", {}), {"x": x_NT1, "length": np.array([3])})
    np.testing.assert_allclose(h.ravel(), [0.5, 0.5, 0.75, 0.0], atol=1e-6)
    np.testing.assert_allclose(state, [[0.75]], atol=1e-6)


@each_stack
def test_no_step_at_all_keeps_the_state(kind: Kind, coordinates: str | None) -> None:
    rnn = make(kind, coordinates)
    state = np.random.default_rng(0).random((2, state_size(rnn)), np.float32)
    fed: dict[str, np.ndarray] = {"x": np.zeros((2, 0, D), np.float32), "length": np.zeros(2, np.int64), "state": state}
    np.testing.assert_allclose(run(whole(rnn), fed)[2], state, atol=1e-6)


def test_plain_operators_with_default_activations_alone() -> None:
    for kind, coordinates in STACKS:
        rnn = make(kind, coordinates)
        for model in (whole(rnn), step(make(kind, coordinates, bidirectional=False))):
            assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]
            for node in model.graph.node:
                if node.op_type in ("RNN", "GRU", "LSTM"):
                    assert {item.name for item in node.attribute} <= {"hidden_size", "linear_before_reset"}
                    assert node.input[4] == "", "sequence_lens"


def test_refused() -> None:
    graph = GraphBuilder()
    with pytest.raises(ValueError, match="no step: it needs the steps to come"):
        add_step(graph, make("gru", None), "x", "state")
    for rnn in (nn.RNN(D, H, nonlinearity="relu"), nn.LSTM(D, H, proj_size=3)):
        with pytest.raises(ValueError, match="without projection, however"):
            add_recurrent(graph, rnn, "x", "length")
