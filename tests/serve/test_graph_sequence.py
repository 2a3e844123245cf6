"""The core graphs of a sequence network: ids and numbers in, probabilities out, equal to torch on each sequence."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import onnxruntime as ort
import pytest
import torch
from ludocast.models.stacked_rnn.recurrent import Kind, recurrent
from ludocast.serve.graph_sequence import SequenceNetwork, sequence_core, step_core
from onnx.reference import ReferenceEvaluator
from torch import nn

TOLERANCE = 1e-5
V, E, D, S, H = 9, 4, 2, 3, 6
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp:RuntimeWarning")
each_kind = pytest.mark.parametrize("kind", get_args(Kind))


def network(kind: Kind, classes: int = 1, each_step: bool = False, bidirectional: bool = False) -> SequenceNetwork:
    torch.manual_seed(0)
    static = 0 if each_step else S
    rnn = recurrent(kind, E + D, H, 2, batch_first=True, bidirectional=bidirectional)
    head = nn.Linear(H * (2 if bidirectional else 1) + static, classes)
    return SequenceNetwork(rnn, head, nn.Embedding(V, E), D, static, each_step)


def feed(net: SequenceNetwork, length: list[int]) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    N, T = len(length), max(length)
    fed: dict[str, np.ndarray] = {
        "tokens": generator.integers(0, V, (N, T)),
        "numbers": generator.normal(size=(N, T, D)).astype(np.float32),
        "length": np.array(length, np.int64),
    }
    if net.static:
        fed["static"] = generator.normal(size=(N, S)).astype(np.float32)
    return fed


@torch.no_grad()
def alone(net: SequenceNetwork, fed: dict[str, np.ndarray]) -> np.ndarray:
    """Probabilities by torch, one sequence at a time."""
    assert net.tokens is not None
    assert isinstance(net.head, nn.Linear)
    answers = []
    for i, length in enumerate(fed["length"].tolist()):
        tokens, numbers = (torch.from_numpy(fed[name][i, :length]) for name in ("tokens", "numbers"))
        out, state = net.rnn(torch.cat([net.tokens(tokens), numbers], 1))
        state = state[0] if isinstance(state, tuple) else state
        if net.each_step:
            logits = net.head(out)
        else:
            top = state[-2:].flatten() if net.rnn.bidirectional else state[-1]
            logits = net.head(torch.cat([top, torch.from_numpy(fed["static"][i])]))
        p = logits.sigmoid()
        p = torch.cat([1 - p, p], -1) if net.head.out_features == 1 else logits.softmax(-1)
        if net.each_step:
            p = nn.functional.pad(p, (0, 0, 0, fed["tokens"].shape[1] - length))
        answers.append(p.numpy())
    return np.stack(answers)


@each_kind
@pytest.mark.parametrize(
    ("classes", "each_step", "bidirectional"), [(1, False, False), (2, False, True), (4, True, True)]
)
def test_core_equals_torch(kind: Kind, classes: int, each_step: bool, bidirectional: bool) -> None:
    net = network(kind, classes, each_step, bidirectional)
    model, fed = sequence_core(net), feed(net, [5, 1, 3])
    wanted = alone(net, fed)
    (native,) = ort.InferenceSession(model.SerializeToString()).run(None, fed)
    (reference,) = list(ReferenceEvaluator(model).run(None, fed))
    for found in (native, reference):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE)


@each_kind
@pytest.mark.parametrize("each_step", [False, True])
def test_steps_answer_as_every_prefix_would(kind: Kind, each_step: bool) -> None:
    net = network(kind, 3, each_step)
    session, fed = ort.InferenceSession(step_core(net).SerializeToString()), feed(net, [6, 6])
    state = np.zeros((2, session.get_inputs()[-2 if net.static else -1].shape[1]), np.float32)
    for t in range(6):
        event: dict[str, Any] = {"tokens": fed["tokens"][:, t], "numbers": fed["numbers"][:, t], "state": state}
        if net.static:
            event["static"] = fed["static"]
        p, state = session.run(["probabilities", "new_state"], event)
        wanted = alone(net, fed | {"length": np.array([t + 1] * 2)})
        np.testing.assert_allclose(p, wanted[:, t] if each_step else wanted, rtol=0, atol=TOLERANCE)


@each_kind
def test_chunks_carry_the_state(kind: Kind) -> None:
    """Cut anywhere, at another step for each player, the second half goes on where the first stopped."""
    net = network(kind)
    fed = feed(net, [8, 5, 7])
    session = ort.InferenceSession(sequence_core(net, with_state=True).SerializeToString())
    cut = np.array([4, 0, 3])
    state = np.zeros((3, session.get_outputs()[1].shape[1]), np.float32)
    _, state = session.run(None, fed | {"length": cut, "state": state})
    rest = {
        name: np.stack([np.roll(row, -c, axis=0) for row, c in zip(fed[name], cut, strict=True)])
        for name in ("tokens", "numbers")
    }
    p, _ = session.run(None, fed | rest | {"length": fed["length"] - cut, "state": state})
    np.testing.assert_allclose(p, alone(net, fed), rtol=0, atol=TOLERANCE)


@each_kind
def test_openvino_gives_the_same(kind: Kind) -> None:
    openvino = pytest.importorskip("openvino", reason="a further runtime; pip install openvino")
    net = network(kind, bidirectional=True)
    fed = feed(net, [12, 1, 7])
    core = openvino.Core()
    for as_scan in (False, True):
        model = core.read_model(sequence_core(net, as_scan=as_scan).SerializeToString(), b"")
        # Without the hint it may compute in bfloat16.
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        np.testing.assert_allclose(compiled(fed)["probabilities"], alone(net, fed), rtol=0, atol=TOLERANCE)


def test_parts_that_do_not_fit_are_refused() -> None:
    rnn = recurrent("gru", 6, H)
    with pytest.raises(ValueError, match="read 5 inputs and the head 6 \\+ 0, however: 6 and 6"):
        SequenceNetwork(rnn, nn.Linear(H, 1), nn.Embedding(V, 5))
    with pytest.raises(ValueError, match="one answer a sequence"):
        SequenceNetwork(rnn, nn.Linear(H + 1, 1), nn.Embedding(V, 6), static=1, each_step=True)
