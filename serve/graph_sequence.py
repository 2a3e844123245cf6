"""The core graphs of a sequence network, of whole sequences and of one step: ids and numbers in, probabilities out."""

# N sequences of a batch, T steps of the longest, V ids, E embedding width, D numbers a step, S static numbers,
# W outputs of the stack, K numbers of a player's state, C classes

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_learners import add_probabilities
from ludocast.serve.graph_recurrent import add_last, add_last_state, add_outputs, add_recurrent, add_step, state_size
from ludocast.serve.graph_steps import add_is_real
from onnx import TensorProto
from torch import Tensor, nn


@dataclass(frozen=True)
class AdaptiveLayers:
    """The layers of an adaptive softmax, `ludocast.models.sequence.softmax.AdaptiveHead`.

    Attributes:
        first: Answers of the first group, then one for each further group.
        groups: Two layers for each of these, the narrow one first.
    """

    first: nn.Linear
    groups: tuple[tuple[nn.Linear, nn.Linear], ...]

    @property
    def in_features(self) -> int:
        """Numbers that are read."""
        return self.first.in_features

    @property
    def out_features(self) -> int:
        """Answers."""
        return self.first.out_features - len(self.groups) + sum(wide.out_features for _, wide in self.groups)


@dataclass(frozen=True)
class SequenceNetwork:
    """The parts of a network, whatever module holds them.

    Attributes:
        rnn: Of `ludocast.models.stacked_rnn.recurrent.recurrent`; reads embedding and numbers side by side.
        head: One output for two classes, else one a class; reads the stack's outputs, then the static numbers.
        tokens: Table [V, E]; None where there are no tokens.
        numbers: D.
        static: S.
        each_step: Whether every step has an answer, rather than the sequence.
        window: Tokens on either side that a step reads beside its own.

    Raises:
        ValueError: If the parts do not fit each other.
    """

    rnn: nn.RNNBase
    head: nn.Linear | AdaptiveLayers
    tokens: nn.Embedding | None = None
    numbers: int = 0
    static: int = 0
    each_step: bool = False
    window: int = 0

    def __post_init__(self) -> None:
        read = self.numbers + (0 if self.tokens is None else (2 * self.window + 1) * self.tokens.embedding_dim)
        outputs = self.rnn.hidden_size * (2 if self.rnn.bidirectional else 1)
        if read != self.rnn.input_size or self.head.in_features != outputs + self.static:
            raise ValueError(
                f"the stack has to read {read} inputs and the head {outputs} + {self.static}, however: "
                f"{self.rnn.input_size} and {self.head.in_features}"
            )
        if self.each_step and self.static:
            raise ValueError("static numbers go with one answer a sequence, not with one a step; drop either")

    @property
    def classes(self) -> int:
        """C."""
        return max(2, self.head.out_features)


def sequence_core(
    network: SequenceNetwork, description: str = "", with_state: bool = False, as_scan: bool = False
) -> onnx.ModelProto:
    """The graph over whole sequences, padded behind their ends.

    Inputs, as far as the network reads them: `tokens` int64 [N, T], `numbers` float [N, T, D], `length` int64 [N],
    `static` float [N, S]; with `with_state` also `state` float [N, K]. What stands at padding is not read, but tokens
    have to be ids there too. N has to be at least 1: without a row onnxruntime's GRU and LSTM end the process.

    Outputs: `probabilities` [N, C], or with `each_step` [N, T, C], 0 beyond the length; with `with_state` `new_state`
    [N, K], from which the next events of the same players go on here or in `step_core`.

    Args:
        network: What the graph is made of.
        description: Of the model.
        with_state: Whether states go in and come out.
        as_scan: As of `add_recurrent`.
    """
    graph = GraphBuilder()
    tokens, numbers = _inputs(graph, network, "T")
    length = graph.input("length", TensorProto.INT64)
    x_NTD = add_read(graph, network, tokens, numbers, length)
    size = state_size(network.rnn)
    state = graph.input("state", TensorProto.FLOAT, size) if with_state else ""
    stack = add_recurrent(graph, network.rnn, x_NTD, length, state, with_state, as_scan)
    if network.each_step:
        probabilities = add_answer(graph, network, add_outputs(graph, stack))
        is_real = graph.op("Transpose", stack.lengths.is_real, perm=[1, 0, 2])
        probabilities = graph.op("Where", is_real, probabilities, graph.floats(0.0))
        graph.output(probabilities, "probabilities", TensorProto.FLOAT, ["N", "T", network.classes])
    else:
        static = graph.input("static", TensorProto.FLOAT, network.static) if network.static else ""
        probabilities = add_answer(graph, network, add_last(graph, stack), static)
        graph.output(probabilities, "probabilities", TensorProto.FLOAT, ["N", network.classes])
    if with_state:
        graph.output(add_last_state(graph, stack), "new_state", TensorProto.FLOAT, ["N", size])
    return graph.model(description, {})


def step_core(network: SequenceNetwork, description: str = "") -> onnx.ModelProto:
    """The graph of one event of each of N players: (state, event) in, (new state, answer) out.

    Inputs: `state` float [N, K], zeros for a new player, and as of `sequence_core` without T: `tokens` int64 [N],
    `numbers` float [N, D], `static` float [N, S]. Outputs: `probabilities` [N, C] and `new_state` [N, K].

    Raises:
        ValueError: If the stack reads backwards too, or neighbouring tokens.
    """
    graph = GraphBuilder()
    x_ND = add_read(graph, network, *_inputs(graph, network))
    size = state_size(network.rnn)
    h_NW, state = add_step(graph, network.rnn, x_ND, graph.input("state", TensorProto.FLOAT, size))
    static = graph.input("static", TensorProto.FLOAT, network.static) if network.static else ""
    graph.output(add_answer(graph, network, h_NW, static), "probabilities", TensorProto.FLOAT, ["N", network.classes])
    graph.output(state, "new_state", TensorProto.FLOAT, ["N", size])
    return graph.model(description, {})


def add_embedding(graph: GraphBuilder, table: nn.Embedding, tokens: str) -> str:
    """Rows [..., E] of the table."""
    return graph.op("Gather", graph.constant(_values(table.weight)), tokens, axis=0)


def add_head(graph: GraphBuilder, head: nn.Linear, h: str) -> str:
    """Logits [..., C] of h [..., W]."""
    product = graph.op("MatMul", h, graph.constant(_values(head.weight.T)))
    return product if head.bias is None else graph.op("Add", product, graph.constant(_values(head.bias)))


def add_read(graph: GraphBuilder, network: SequenceNetwork, tokens: str, numbers: str, length_N: str = "") -> str:
    """What the stack reads, [N, T, ...] of whole sequences or [N, ...] of one step of each.

    Args:
        graph: To append to.
        network: Whose embedding and window.
        tokens: Ids; "" where there are none.
        numbers: The same.
        length_N: Real steps of whole sequences, which neighbouring tokens need.

    Raises:
        ValueError: If neighbouring tokens are read and there are no whole sequences.
    """
    parts = []
    if network.tokens is not None:
        embedded = add_embedding(graph, network.tokens, tokens)
        if network.window:
            if not length_N:
                raise ValueError("a network that reads neighbouring tokens has no step: it needs the token to come")
            embedded = _add_neighbours(graph, embedded, add_is_real(graph, tokens, length_N), network.window)
        parts.append(embedded)
    if network.numbers:
        parts.append(numbers)
    return parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=-1)


def add_answer(graph: GraphBuilder, network: SequenceNetwork, h: str, static: str = "") -> str:
    """Probabilities [..., C] of the top layer's outputs and, where the head reads some, static numbers [N, S]."""
    if network.static:
        h = graph.op("Concat", h, static, axis=-1)
    if isinstance(network.head, AdaptiveLayers):
        return _add_adaptive(graph, network.head, h)
    return add_probabilities(graph, add_head(graph, network.head, h), network.head.out_features)


def _add_adaptive(graph: GraphBuilder, head: AdaptiveLayers, h: str) -> str:
    """Probabilities of the first group, then of each further one, times that of the group."""
    first = graph.op("Softmax", add_head(graph, head.first, h), axis=-1)
    count = head.first.out_features - len(head.groups)
    parts = [graph.op("Slice", first, graph.ints(0), graph.ints(count), graph.ints(-1))]
    for place, (narrow, wide) in enumerate(head.groups, count):
        own = graph.op("Softmax", add_head(graph, wide, add_head(graph, narrow, h)), axis=-1)
        of_group = graph.op("Slice", first, graph.ints(place), graph.ints(place + 1), graph.ints(-1))
        parts.append(graph.op("Mul", own, of_group))
    return graph.op("Concat", *parts, axis=-1)


def _add_neighbours(graph: GraphBuilder, x_NTE: str, is_real_NT: str, window: int) -> str:
    """As `neighbours` of the training side: zeros beyond both ends, [N, T, (2w + 1) · E]."""
    known = graph.op("Where", graph.op("Unsqueeze", is_real_NT, graph.ints(2)), x_NTE, graph.floats(0.0))
    padded = graph.op("Pad", known, graph.ints(0, window, 0, 0, window, 0))
    ends = [k - 2 * window if k < 2 * window else np.iinfo(np.int64).max for k in range(2 * window + 1)]
    parts = [graph.op("Slice", padded, graph.ints(k), graph.ints(end), graph.ints(1)) for k, end in enumerate(ends)]
    return graph.op("Concat", *parts, axis=2)


def _inputs(graph: GraphBuilder, network: SequenceNetwork, *steps: str) -> tuple[str, str]:
    tokens = graph.input("tokens", TensorProto.INT64, *steps) if network.tokens is not None else ""
    return tokens, graph.input("numbers", TensorProto.FLOAT, *steps, network.numbers) if network.numbers else ""


def _values(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().float().numpy())
