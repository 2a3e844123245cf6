"""The learners in the graph: network, trees and linear model, from encoded inputs to logits."""

# N rows, M members, D numbers, S code columns, V codes of all columns, E embedding width, X = D + S·E, C outputs,
# T trees, L levels

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from ludocast.models.table.boosting import Boosting
from ludocast.models.table.linear import LIMIT, Linear
from ludocast.models.table.module import TabularModule
from ludocast.models.table.network import TabularNetwork
from ludocast.models.table.tree import Tree
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_inputs import EncodedNames
from onnx import TensorProto


def add_network(graph: GraphBuilder, names: EncodedNames, module: TabularModule, scale: float | np.ndarray) -> str:
    """`scale`, or one for each output, times the mean logits [N, C] of the members, all in batched products.

    The inputs x₀ begin with a 1, so that biases are rows of the weights and cost no pass over the values.
    """
    network = module.averaged
    assert network is not None
    weights = {name: value.detach().numpy() for name, value in network.named_parameters()}
    # The head is linear: the mean over members, the candidate's weight and the temperature are folded into it.
    head, bias = (weights[f"head.{part}"] * np.float32(scale / network.members) for part in ("weight", "bias"))
    inputs = weights["hidden.weight"].shape[1]
    parts = ("down.weight", "up.weight", "up.bias")
    layers = [[weights[f"cross.{i}.{part}"] for part in parts] for i in range(len(network.cross))]
    x = x0 = _embedded(graph, names, network)
    for layer in layers[:-1]:
        x = _cross(graph, x0, x, layer)
    of_x = _cross_logits(graph, x0, x, layers[-1], head[:, :inputs], bias)
    hidden = np.concatenate([weights["hidden.bias"], weights["hidden.weight"]], axis=1)
    h = graph.op("Gelu", _product(graph, x0, hidden))
    of_h = graph.op("ReduceSum", _product(graph, h, head[:, inputs:]), graph.ints(0), keepdims=0)
    return graph.op("Add", of_x, of_h)


def _embedded(graph: GraphBuilder, names: EncodedNames, network: TabularNetwork) -> str:
    """x₀ [M, N, 1 + X]: a 1, the numbers, the embeddings; 0 where a member does not read an input."""
    values, offset, used = (part.detach().numpy() for part in (network.values, network.offset, network.used))
    embedding = values.shape[2]
    width = used.shape[2] - len(offset) * embedding
    numbers = names.numbers
    if numbers is None:
        assert names.codes is not None
        none = graph.op("Slice", names.codes, graph.ints(0), graph.ints(0), graph.ints(1))
        numbers = graph.op("Cast", none, to=TensorProto.FLOAT)
    numbers = graph.op("Pad", numbers, graph.ints(0, 1, 0, 0), graph.constant(np.array(1, np.float32)))
    # A product copies the numbers for each member; Expand would need the number of rows.
    parts = [
        graph.op("Mul", numbers, graph.constant(np.pad(used[..., :width], ((0, 0), (0, 0), (1, 0)), constant_values=1)))
    ]
    if names.codes is not None:
        sizes = np.diff(offset, append=values.shape[1])
        table = values * np.repeat(used[:, 0, width::embedding], sizes, axis=1)[..., None]
        rows = graph.op("Add", names.codes, graph.constant(offset))
        looked_up = graph.op("Gather", graph.constant(table), rows, axis=1)
        parts.append(graph.op("Reshape", looked_up, graph.ints(0, 0, len(offset) * embedding)))
    return parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=2)


def _cross(graph: GraphBuilder, x0: str, x: str, layer: Sequence[np.ndarray]) -> str:
    """x₀ ⊙ (x V U + b) + x; the first layer, whose x is x₀, adds it by a bias of b + 1."""
    down, up, bias = layer
    own = float(x is x0)
    product = _product(graph, _product(graph, x, _block(1.0, 0.0, down)), _block(own, bias + np.float32(own), up))
    crossed = graph.op("Mul", x0, product)
    return crossed if own else graph.op("Add", crossed, x)


def _cross_logits(
    graph: GraphBuilder, x0: str, x: str, layer: Sequence[np.ndarray], head: np.ndarray, head_bias: np.ndarray
) -> str:
    """The head W, B [N, C] of the last layer x₀ ⊙ (x V U + b) + x, without a value of its width.

    Σᵢ wᵢ (x₀ᵢ Σₖ (x V)ₖ Uₖᵢ + x₀ᵢ bᵢ + xᵢ) = 1 · x₀·(w ⊙ b) + Σₖ (x V)ₖ · x₀·(w ⊙ Uₖ) + x·w · 1.
    """
    down, up, bias = layer
    members, rank, inputs = up.shape
    outputs = head.shape[2]
    left = _block(1.0, 0.0, np.concatenate([down, head], axis=2))
    right = np.zeros((members, 1 + inputs, outputs, 1 + rank + outputs), np.float32)
    right[:, 0, :, 0] = head_bias[:, 0]
    right[:, 1:, :, 0] = head * bias.transpose(0, 2, 1)
    right[:, 1:, :, 1 : 1 + rank] = head[..., None] * up.transpose(0, 2, 1)[:, :, None]
    right[:, 0, :, 1 + rank :] = np.eye(outputs)
    of_x = graph.op("Unsqueeze", _product(graph, x, left), graph.ints(2))
    of_x0 = _product(graph, x0, right.reshape(members, 1 + inputs, -1))
    of_x0 = graph.op("Reshape", of_x0, graph.ints(0, 0, outputs, -1))
    return graph.op("ReduceSum", graph.op("Mul", of_x, of_x0), graph.ints(0, 3), keepdims=0)


def _product(graph: GraphBuilder, x: str, weight: np.ndarray) -> str:
    return graph.op("MatMul", x, graph.constant(weight))


def _block(corner: float, row: np.ndarray | float, weight: np.ndarray) -> np.ndarray:
    """[[corner, row], [0, weight]] of each member: with a 1 in front of the inputs and, by corner, of the outputs."""
    members, inputs, outputs = weight.shape
    out = np.zeros((members, 1 + inputs, 1 + outputs), np.float32)
    out[:, 0, 0] = corner
    out[:, :1, 1:] = row
    out[:, 1:, 1:] = weight
    return out


def add_linear(graph: GraphBuilder, names: EncodedNames, linear: Linear, scale: float) -> str:
    """`scale` times the logits [N, C] of the linear model."""
    parts = []
    if names.numbers is not None:
        parts.append(_product(graph, names.numbers, (linear.number_weight * scale).astype(np.float32)))
    if names.raw is not None:
        plain = add_plain_values(graph, names.raw, linear.centre, linear.width)
        parts.append(graph.op("MatMul", plain, _scaled(graph, linear.raw_weight, scale)))
    if names.codes is not None:
        rows = graph.op("Add", names.codes, graph.constant(linear.offset))
        looked_up = graph.op("Gather", _scaled(graph, linear.code_weight, scale), rows, axis=0)
        columns, outputs = len(linear.offset), linear.code_weight.shape[1]
        each = graph.op("Reshape", looked_up, graph.ints(0, columns * outputs))
        # The sum over columns as a product, which is several times as fast.
        parts.append(_product(graph, each, np.tile(np.eye(outputs, dtype=np.float32), (columns, 1))))
    return add_up(graph, [*parts, graph.constant((linear.bias * scale).astype(np.float32))])


def add_plain_values(graph: GraphBuilder, raw: str, centre: np.ndarray, width: np.ndarray) -> str:
    """What `models.table.linear.plain_values` gives, float [N, R]."""
    centred = graph.op("Sub", raw, graph.constant(centre.astype(np.float32)))
    wide = graph.op("Mul", centred, graph.constant((1 / width).astype(np.float32)))
    inside = graph.op("Min", graph.op("Max", wide, graph.floats(-LIMIT)), graph.floats(LIMIT))
    return graph.op("Where", graph.op("IsNaN", raw), graph.floats(0.0), inside)


def _scaled(graph: GraphBuilder, weight: np.ndarray, scale: float) -> str:
    return graph.constant((weight * scale).astype(np.float32))


def add_up(graph: GraphBuilder, parts: Sequence[str]) -> str:
    """The sum of values."""
    total = parts[0]
    for part in parts[1:]:
        total = graph.op("Add", total, part)
    return total


def add_boostings(graph: GraphBuilder, names: EncodedNames, scaled: Sequence[tuple[Boosting, float]]) -> str:
    """The sum [N, C] of boostings' logits, each times its scale, as one ensemble of trees."""
    inputs = add_tree_inputs(graph, names)
    base = np.sum([boosting.base * scale for boosting, scale in scaled], axis=0)
    trees = [replace(tree, value=tree.value * scale) for boosting, scale in scaled for tree in boosting.trees()]
    return graph.op("Add", add_trees(graph, inputs, trees, len(base)), graph.constant(base.astype(np.float32)))


def add_tree_inputs(graph: GraphBuilder, names: EncodedNames) -> str:
    """What trees split on, float [N, R + S]: `Encoded.trees`."""
    parts = [] if names.raw is None else [names.raw]
    if names.codes is not None:
        parts.append(graph.op("Cast", names.codes, to=TensorProto.FLOAT))
    return parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=1)


def add_trees(graph: GraphBuilder, raw: str, trees: Sequence[Tree], outputs: int) -> str:
    """The sum [N, C] of the trees as one `TreeEnsembleRegressor`."""
    sizes = [len(tree.feature) for tree in trees]
    leaves = [np.flatnonzero(tree.feature < 0) for tree in trees]
    values = [tree.value[leaf].reshape(len(leaf), -1) for tree, leaf in zip(trees, leaves, strict=True)]
    return graph.op(
        "TreeEnsembleRegressor",
        raw,
        n_targets=outputs,
        nodes_treeids=_joined([np.full(size, t) for t, size in enumerate(sizes)]),
        nodes_nodeids=_joined([np.arange(size) for size in sizes]),
        nodes_featureids=_joined([np.maximum(tree.feature, 0) for tree in trees]),
        nodes_values=_joined([tree.threshold.astype(float) for tree in trees]),
        nodes_modes=["LEAF" if feature < 0 else "BRANCH_LEQ" for tree in trees for feature in tree.feature],
        nodes_truenodeids=_joined([tree.left for tree in trees]),
        nodes_falsenodeids=_joined([tree.right for tree in trees]),
        nodes_missing_value_tracks_true=_joined([tree.missing_left.astype(int) for tree in trees]),
        target_treeids=_joined([np.full(value.size, t) for t, value in enumerate(values)]),
        target_nodeids=_joined([np.repeat(at, one.shape[1]) for at, one in zip(leaves, values, strict=True)]),
        target_ids=_joined(
            [np.tile(t.output + np.arange(one.shape[1]), len(one)) for t, one in zip(trees, values, strict=True)]
        ),
        target_weights=_joined([value.ravel() for value in values]),
    )


def _joined(parts: Sequence[np.ndarray]) -> list[int] | list[float]:
    joined: list[int] | list[float] = np.concatenate(parts).tolist()
    return joined


def add_probabilities(graph: GraphBuilder, logits: str, outputs: int) -> str:
    """Probabilities [..., C] of logits [..., outputs]; one output is the log odds of the second of two classes."""
    if outputs > 1:
        return graph.op("Softmax", logits, axis=-1)
    p = graph.op("Sigmoid", logits)
    return graph.op("Concat", graph.op("Sub", graph.floats(1.0), p), p, axis=-1)
