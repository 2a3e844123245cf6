"""Recurrent stacks in the graph: native operators, and explicit ones for all that depends on a sequence's length."""

# N sequences of a batch, T steps of the longest, D inputs a step, H hidden units, G gates, W = directions · H outputs,
# S states of H numbers, K = S · H numbers of a player's state
#
# Not every runtime knows the operators' activations and `sequence_lens`: tract passes over the former, onnx's reference
# evaluator over the latter and has no Sigmoid among the former. So the operators run all T steps with their default
# activations, forwards; padding lies behind the real steps and cannot reach them. A sigmoid RNN is the tanh RNN in
# g = 2h − 1 (models/stacked_rnn/coordinates.py).
#
# With `as_scan` an RNN is a Scan instead, its inputs projected for all steps at once: in onnxruntime several times
# as fast for many rows (benchmarks/recurrent_graph.py). GRU and LSTM are slower that way: there the operators stay.
#
# A state is [N, K] float32: for each layer, for each direction, the H numbers of h; of an LSTM then the same of c.
# That is torch's state [S, B, H] with a player's numbers side by side. Zeros are the state before the first step.

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ludocast.models.stacked_rnn.sigmoid_rnn import SigmoidRNN
from ludocast.serve.graph import GraphBuilder
from onnx import TensorProto, helper
from torch import nn

# torch's mode: the operator, and the operator's gates as places among torch's.
OPERATORS = {"RNN_TANH": ("RNN", (0,)), "GRU": ("GRU", (1, 0, 2)), "LSTM": ("LSTM", (0, 3, 1, 2))}
SHUT = np.float32(-1e4)  # added to a gate: its logistic function is exactly 0; with the other sign exactly 1


@dataclass(frozen=True)
class Lengths:
    """What layers read of the lengths.

    Attributes:
        length: Real steps, int64 [N].
        is_real: bool [T, N, 1].
        last: The last real step as a row of [T·N, H], int64 [N]; the first step where there is none.
        has_steps: bool [N, 1].
    """

    length: str
    is_real: str
    last: str
    has_steps: str


@dataclass(frozen=True)
class Recurrent:
    """What a stack gave.

    Attributes:
        outputs: Of the top layer, [T, N, H] a direction, in the coordinates that `is_g` tells; anything at padding.
        last: States after the last real step, [N, H] a layer and direction, in the same coordinates.
        cells: The same of an LSTM's c; empty unless asked for.
        is_g: Whether those are g = 2h − 1.
        lengths: As read.
    """

    outputs: list[str]
    last: list[str]
    cells: list[str]
    is_g: bool
    lengths: Lengths


def state_size(rnn: nn.RNNBase) -> int:
    """K, the float32 numbers of one player's state."""
    return rnn.num_layers * (2 if rnn.bidirectional else 1) * (2 if rnn.mode == "LSTM" else 1) * rnn.hidden_size


def add_recurrent(
    graph: GraphBuilder,
    rnn: nn.RNNBase,
    x_NTD: str,
    length_N: str,
    state_NK: str = "",
    with_cells: bool = False,
    as_scan: bool = False,
) -> Recurrent:
    """A stack over ragged sequences, padded behind their ends; what stands at padding, NaN too, reaches nothing.

    Args:
        graph: To append to.
        rnn: Of `ludocast.models.stacked_rnn.recurrent.recurrent`.
        x_NTD: Inputs; a T of 0 is 1 from here on.
        length_N: Real steps of each, int64, from 0 to T.
        state_NK: State before the first step; "" for zeros.
        with_cells: Whether an LSTM's c after the last real step is wanted too, which `add_last_state` needs.
        as_scan: Whether a tanh or sigmoid RNN is a Scan rather than an RNN operator; of no effect on GRU and LSTM.

    Raises:
        ValueError: If the stack has an operator that there is none for.
    """
    layers, is_g = _layers(rnn, as_scan)
    x = _at_least_one_step(graph, graph.op("Transpose", x_NTD, perm=[1, 0, 2]))
    lengths = _lengths(graph, x, length_N)
    states = _initial(graph, rnn, state_NK, x, is_g, as_scan)
    holds = with_cells and rnn.mode == "LSTM"
    outputs: list[str] = []
    found: list[tuple[str, str]] = []
    for layer in layers:
        if outputs:
            x = _joined(graph, outputs, axis=2)
        if holds:
            x = _with_padding_flag(graph, x, lengths)
        outputs = []
        for direction, weights in enumerate(layer):
            own = x if direction == 0 else _reversed(graph, x, lengths)
            h0, c0 = states[len(found)]
            h, _, c = weights.add(graph, own, h0, c0, holds)
            found.append((_at_last(graph, h, h0, lengths), graph.op("Squeeze", c, graph.ints(0)) if holds else ""))
            outputs.append(h if direction == 0 else _reversed(graph, h, lengths))
    return Recurrent(outputs, [h for h, _ in found], [c for _, c in found] if holds else [], is_g, lengths)


def add_outputs(graph: GraphBuilder, stack: Recurrent) -> str:
    """Outputs h [N, T, W] of the top layer, 0 beyond the length."""
    h_TNW = _to_h(graph, _joined(graph, stack.outputs, axis=2), stack.is_g)
    kept = graph.op("Where", stack.lengths.is_real, h_TNW, graph.floats(0.0))
    return graph.op("Transpose", kept, perm=[1, 0, 2])


def add_last(graph: GraphBuilder, stack: Recurrent) -> str:
    """Outputs h [N, W] of the top layer when each direction has read all that is real."""
    return _to_h(graph, _joined(graph, stack.last[-len(stack.outputs) :], axis=1), stack.is_g)


def add_last_state(graph: GraphBuilder, stack: Recurrent) -> str:
    """The state [N, K] after the last real step, of an LSTM only from `with_cells`."""
    return _to_h(graph, _joined(graph, stack.last + stack.cells, axis=1), stack.is_g)


def add_step(graph: GraphBuilder, rnn: nn.RNNBase, x_ND: str, state_NK: str) -> tuple[str, str]:
    """One step of a stack that reads forwards.

    Args:
        graph: To append to.
        rnn: As of `add_recurrent`.
        x_ND: The step's inputs.
        state_NK: State before it.

    Returns:
        h [N, H] of the top layer and the new state [N, K].

    Raises:
        ValueError: If the stack reads backwards too, or as `add_recurrent`.
    """
    if rnn.bidirectional:
        raise ValueError("a stack that reads backwards too has no step: it needs the steps to come; train it forwards")
    layers, is_g = _layers(rnn, as_scan=False)
    x = graph.op("Unsqueeze", x_ND, graph.ints(0))
    states = _initial(graph, rnn, state_NK, x, is_g)
    new_h, new_c = [], []
    for (weights,), (h0, c0) in zip(layers, states, strict=True):
        _, x, c = weights.add(graph, x, h0, c0)  # the last h [1, N, H] is at once the next layer's one step
        new_h.append(graph.op("Squeeze", x, graph.ints(0)))
        new_c += [graph.op("Squeeze", c, graph.ints(0))] if c else []
    if len(new_h + new_c) == 1:
        h_NH = _to_h(graph, new_h[0], is_g)
        return h_NH, h_NH
    return _to_h(graph, new_h[-1], is_g), _to_h(graph, _joined(graph, new_h + new_c, axis=1), is_g)


@dataclass(frozen=True)
class _Layer:
    """Weights of a layer and direction as the operator has them: W [1, G·H, D], R [1, G·H, H], B [1, 2·G·H] or none."""

    operator: str  # "Scan" is an RNN as one
    W: np.ndarray
    R: np.ndarray
    B: np.ndarray | None

    def add(self, graph: GraphBuilder, x_TND: str, h0: str, c0: str, holds: bool = False) -> tuple[str, str, str]:
        """Outputs [T, N, H], the last of them and, of an LSTM, the last c, [1, N, H] both; states "" are zeros."""
        if self.operator == "Scan":
            return *self._scan(graph, x_TND, h0), ""
        W = np.concatenate([self.W, self._hold()], axis=2) if holds else self.W
        inputs = [
            *(x_TND, graph.constant(W), graph.constant(self.R)),
            *("" if self.B is None else graph.constant(self.B), "", h0),
        ]
        options = {"hidden_size": self.R.shape[2], **({"linear_before_reset": 1} if self.operator == "GRU" else {})}
        if self.operator == "LSTM":
            h, last, c = graph.several("LSTM", 3, *inputs, c0, **options)
        else:
            (h, last), c = graph.several(self.operator, 2, *inputs, **options), ""
        return graph.op("Squeeze", h, graph.ints(1)), last, c

    def _scan(self, graph: GraphBuilder, x_TND: str, h0: str) -> tuple[str, str]:
        read = graph.op("MatMul", x_TND, graph.constant(self.W[0].T))
        if self.B is not None:
            read = graph.op("Add", read, graph.constant(self.B[0].reshape(2, -1).sum(0)))
        R = graph.constant(self.R[0].T)
        name = f"{read}_scan_"  # names inside have to differ from all outside
        nodes = [
            helper.make_node("MatMul", [f"{name}h", R], [f"{name}Rh"]),
            helper.make_node("Add", [f"{name}Rh", f"{name}read"], [f"{name}sum"]),
            helper.make_node("Tanh", [f"{name}sum"], [f"{name}new"]),
            helper.make_node("Identity", [f"{name}new"], [f"{name}out"]),
        ]
        (*inputs, new, out) = (
            helper.make_tensor_value_info(f"{name}{part}", TensorProto.FLOAT, ["N", self.R.shape[2]])
            for part in ("h", "read", "new", "out")
        )
        body = helper.make_graph(nodes, f"{name}step", inputs, [new, out])
        before = graph.op("Squeeze", h0, graph.ints(0))
        last_NH, h_TNH = graph.several("Scan", 2, before, read, body=body, num_scan_inputs=1)
        return h_TNH, last_NH

    def _hold(self) -> np.ndarray:
        """Weights [1, 4·H, 1] of the padding flag: nothing comes into c and nothing leaves it."""
        return np.repeat(np.array([SHUT, 0, -SHUT, 0], np.float32), self.R.shape[2])[None, :, None]


def _layers(rnn: nn.RNNBase, as_scan: bool) -> tuple[list[list[_Layer]], bool]:
    """Weights by layer and direction, and whether they are those of g."""
    if rnn.mode not in OPERATORS or rnn.proj_size:
        raise ValueError(f"exported are tanh and sigmoid RNN, GRU and LSTM without projection, however: {rnn}")
    is_g = isinstance(rnn, SigmoidRNN)
    named = rnn.tanh_parameters() if isinstance(rnn, SigmoidRNN) else dict(rnn.named_parameters())
    values = {name: tensor.detach().cpu().float().numpy() for name, tensor in named.items()}
    operator, order = OPERATORS[rnn.mode]
    if as_scan and operator == "RNN":
        operator = "Scan"

    def part(name: str) -> np.ndarray:
        gates = values[name].reshape(len(order), rnn.hidden_size, -1)[list(order)]
        return gates.reshape(1, len(order) * rnn.hidden_size, -1)

    def layer(ending: str) -> _Layer:
        biases = [part(f"{name}{ending}")[..., 0] for name in ("bias_ih", "bias_hh") if f"{name}{ending}" in values]
        B = np.concatenate(biases, axis=1) if biases else None
        return _Layer(operator, part(f"weight_ih{ending}"), part(f"weight_hh{ending}"), B)

    endings = ("", "_reverse") if rnn.bidirectional else ("",)
    return [[layer(f"_l{i}{ending}") for ending in endings] for i in range(rnn.num_layers)], is_g


def _at_least_one_step(graph: GraphBuilder, x_TND: str) -> str:
    """Without a step onnxruntime's GRU and LSTM end the whole process."""
    steps = graph.op("Shape", x_TND, start=0, end=1)
    missing = graph.op("Max", graph.op("Sub", graph.ints(1), steps), graph.ints(0))
    pads = graph.op("Concat", graph.ints(0, 0, 0), missing, graph.ints(0, 0), axis=0)
    return graph.op("Pad", x_TND, pads)


def _lengths(graph: GraphBuilder, x_TND: str, length_N: str) -> Lengths:
    steps, rows = (graph.op("Shape", x_TND, start=axis, end=axis + 1) for axis in (0, 1))
    scalars = [graph.op("Squeeze", size) for size in (rows, steps)]
    zero, one = graph.constant(np.array(0)), graph.constant(np.array(1))
    row_N, step_T = (graph.op("Range", zero, size, one) for size in scalars)
    column_N1 = graph.op("Unsqueeze", length_N, graph.ints(1))
    is_real = graph.op("Less", graph.op("Unsqueeze", step_T, graph.ints(1, 2)), column_N1)
    before = graph.op("Max", graph.op("Sub", length_N, one), zero)
    last = graph.op("Add", graph.op("Mul", before, scalars[0]), row_N)
    return Lengths(length_N, is_real, last, graph.op("Greater", column_N1, zero))


def _initial(
    graph: GraphBuilder, rnn: nn.RNNBase, state_NK: str, x_TND: str, is_g: bool, as_scan: bool = False
) -> list[tuple[str, str]]:
    """States h and c [1, N, H] before the first step, for each layer and direction; "" for zeros and for no c."""
    cells = rnn.mode == "LSTM"
    count = state_size(rnn) // rnn.hidden_size // (2 if cells else 1)
    if state_NK:
        split = graph.op("Reshape", state_NK, graph.ints(0, -1, rnn.hidden_size))
        state_SNH = graph.op("Transpose", split, perm=[1, 0, 2])
        if is_g:
            doubled = graph.op("Mul", state_SNH, graph.floats(2.0))
            state_SNH = graph.op("Sub", doubled, graph.floats(1.0))
        if count == 1 and not cells:
            return [(state_SNH, "")]
        parts = [graph.op("Gather", state_SNH, graph.ints(i), axis=0) for i in range(count * (2 if cells else 1))]
        return list(zip(parts[:count], parts[count:] if cells else [""] * count, strict=True))
    if not is_g and not (as_scan and rnn.mode == "RNN_TANH"):  # a Scan has to be given its zeros
        return [("", "")] * count
    rows = graph.op("Shape", x_TND, start=1, end=2)
    shape = graph.op("Concat", graph.ints(1), rows, graph.ints(rnn.hidden_size), axis=0)
    nothing = graph.op("Expand", graph.floats(-1.0 if is_g else 0.0), shape)  # h = 0
    return [(nothing, "")] * count


def _at_last(graph: GraphBuilder, h_TNH: str, h0: str, lengths: Lengths) -> str:
    flat = graph.op("Flatten", h_TNH, axis=2)
    last_NH = graph.op("Gather", flat, lengths.last, axis=0)
    before = graph.op("Squeeze", h0, graph.ints(0)) if h0 else graph.floats(0.0)
    return graph.op("Where", lengths.has_steps, last_NH, before)


def _reversed(graph: GraphBuilder, x_TND: str, lengths: Lengths) -> str:
    """Each sequence's real steps in reverse order; padding stays behind."""
    return graph.op("ReverseSequence", x_TND, lengths.length, time_axis=0, batch_axis=1)


def _with_padding_flag(graph: GraphBuilder, x_TND: str, lengths: Lengths) -> str:
    """A further input that is 1 at padding, where all others become 0."""
    real = graph.op("Where", lengths.is_real, x_TND, graph.floats(0.0))
    flag = graph.op("Cast", graph.op("Not", lengths.is_real), to=TensorProto.FLOAT)
    return graph.op("Concat", real, flag, axis=2)


def _joined(graph: GraphBuilder, parts: list[str], axis: int) -> str:
    return parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=axis)


def _to_h(graph: GraphBuilder, g: str, is_g: bool) -> str:
    return graph.op("Add", graph.op("Mul", g, graph.floats(0.5)), graph.floats(0.5)) if is_g else g
