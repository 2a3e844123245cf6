"""The learners in the graph: network, trees and linear model, from encoded inputs to logits."""

# N rows, M members, D numbers, S code columns, V codes of all columns, E embedding width, X = D + S·E, C outputs,
# T trees, L levels

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ludocast.models.churn.boosting import Boosting, Tree
from ludocast.models.churn.linear import LIMIT, Linear
from ludocast.models.churn.module import ChurnModule
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_inputs import EncodedNames

TreeAdder = Callable[[GraphBuilder, str, Sequence[Tree], int, float], str]


def add_network(graph: GraphBuilder, names: EncodedNames, module: ChurnModule, scale: float) -> str:
    """`scale` times the mean logits [N, C] of the members, all of them in batched products."""
    network = module.averaged
    assert network is not None
    weights = {name: value.detach().numpy() for name, value in network.named_parameters()}
    members = network.members
    x0 = _embedded(graph, names, weights["values"], network.offset.numpy(), members)
    x = x0
    for i in range(len(network.cross)):
        down = graph.op("MatMul", x, graph.constant(weights[f"cross.{i}.down.weight"]))
        up = _affine(graph, down, weights[f"cross.{i}.up.weight"], weights[f"cross.{i}.up.bias"])
        x = graph.op("Add", graph.op("Mul", x0, up), x)
    h = graph.op("Gelu", _affine(graph, x0, weights["hidden.weight"], weights["hidden.bias"]))
    # The head is linear: the mean over members, the candidate's weight and the temperature are folded into it.
    head = weights["head.weight"] * np.float32(scale / members)
    inputs = weights["hidden.weight"].shape[1]
    of_x = graph.op("MatMul", x, graph.constant(head[:, :inputs]))
    of_h = graph.op("MatMul", h, graph.constant(head[:, inputs:]))
    summed = graph.op("ReduceSum", graph.op("Add", of_x, of_h), graph.ints(0), keepdims=0)
    return graph.op("Add", summed, graph.constant(weights["head.bias"].mean(axis=0) * np.float32(scale)))


def _affine(graph: GraphBuilder, x: str, weight: np.ndarray, bias: np.ndarray) -> str:
    return graph.op("Add", graph.op("MatMul", x, graph.constant(weight)), graph.constant(bias))


def _embedded(graph: GraphBuilder, names: EncodedNames, values: np.ndarray, offset: np.ndarray, members: int) -> str:
    parts = []
    if names.numbers is not None:
        # A product with ones copies the numbers for each member; Expand would need the number of rows.
        parts.append(graph.op("Mul", names.numbers, graph.constant(np.ones((members, 1, 1), np.float32))))
    if names.codes is not None:
        rows = graph.op("Add", names.codes, graph.constant(offset))
        looked_up = graph.op("Gather", graph.constant(values), rows, axis=1)
        parts.append(graph.op("Reshape", looked_up, graph.ints(0, 0, len(offset) * values.shape[2])))
    return parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=2)


def add_linear(graph: GraphBuilder, names: EncodedNames, linear: Linear, scale: float) -> str:
    """`scale` times the logits [N, C] of the linear model."""
    parts = []
    if names.numbers is not None:
        parts.append(graph.op("MatMul", names.numbers, _scaled(graph, linear.number_weight, scale)))
    if names.raw is not None:
        centred = graph.op("Sub", names.raw, graph.constant(linear.centre.astype(np.float32)))
        wide = graph.op("Mul", centred, graph.constant((1 / linear.width).astype(np.float32)))
        inside = graph.op("Min", graph.op("Max", wide, graph.floats(-LIMIT)), graph.floats(LIMIT))
        plain = graph.op("Where", graph.op("IsNaN", names.raw), graph.floats(0.0), inside)
        parts.append(graph.op("MatMul", plain, _scaled(graph, linear.raw_weight, scale)))
    if names.codes is not None:
        rows = graph.op("Add", names.codes, graph.constant(linear.offset))
        looked_up = graph.op("Gather", _scaled(graph, linear.code_weight, scale), rows, axis=0)
        parts.append(graph.op("ReduceSum", looked_up, graph.ints(1), keepdims=0))
    return add_up(graph, [*parts, graph.constant((linear.bias * scale).astype(np.float32))])


def _scaled(graph: GraphBuilder, weight: np.ndarray, scale: float) -> str:
    return graph.constant((weight * scale).astype(np.float32))


def add_up(graph: GraphBuilder, parts: Sequence[str]) -> str:
    """The sum of values."""
    total = parts[0]
    for part in parts[1:]:
        total = graph.op("Add", total, part)
    return total


def add_boosting(graph: GraphBuilder, names: EncodedNames, boosting: Boosting, scale: float, add: TreeAdder) -> str:
    """`scale` times the logits [N, C] of the boosting, its trees added by `add`."""
    assert names.raw is not None
    summed = add(graph, names.raw, boosting.trees(), len(boosting.base), scale)
    return graph.op("Add", summed, graph.constant((boosting.base * scale).astype(np.float32)))


def add_tree_ensemble(graph: GraphBuilder, raw: str, trees: Sequence[Tree], outputs: int, scale: float) -> str:
    """The sum [N, C] of the trees as one `TreeEnsembleRegressor`."""
    sizes = [len(tree.feature) for tree in trees]
    leaves = [np.flatnonzero(tree.feature < 0) for tree in trees]
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
        target_treeids=_joined([np.full(len(leaf), t) for t, leaf in enumerate(leaves)]),
        target_nodeids=_joined(leaves),
        target_ids=_joined([np.full(len(leaf), tree.output) for tree, leaf in zip(trees, leaves, strict=True)]),
        target_weights=_joined([tree.value[leaf] * scale for tree, leaf in zip(trees, leaves, strict=True)]),
    )


def _joined(parts: Sequence[np.ndarray]) -> list[int] | list[float]:
    joined: list[int] | list[float] = np.concatenate(parts).tolist()
    return joined


def add_tree_steps(graph: GraphBuilder, raw: str, trees: Sequence[Tree], outputs: int, scale: float) -> str:
    """The same sum without `ai.onnx.ml`: all trees walked level by level; a leaf leads to itself."""
    starts = np.cumsum([0, *(len(tree.feature) for tree in trees[:-1])])
    own = [np.arange(len(tree.feature)) + start for tree, start in zip(trees, starts, strict=True)]
    left = [
        np.where(tree.feature < 0, at, tree.left + start) for tree, at, start in zip(trees, own, starts, strict=True)
    ]
    right = [
        np.where(tree.feature < 0, at, tree.right + start) for tree, at, start in zip(trees, own, starts, strict=True)
    ]
    feature, threshold, gap_left, lefts, rights = (
        graph.constant(np.concatenate(part))
        for part in (
            [np.maximum(tree.feature, 0).astype(np.int64) for tree in trees],
            [tree.threshold for tree in trees],
            [tree.missing_left for tree in trees],
            [part.astype(np.int64) for part in left],
            [part.astype(np.int64) for part in right],
        )
    )
    # Zeros [N, 1] of the inputs' own number of rows, whatever they hold, make the roots [N, T].
    rows = graph.op("Gather", graph.op("Shape", raw), graph.ints(0), axis=0)
    shape = graph.op("Concat", rows, graph.ints(len(trees)), axis=0)
    node = graph.op("Expand", graph.constant(starts[None].astype(np.int64)), shape)
    for _ in range(max(_depth(tree) for tree in trees)):
        x = graph.op("GatherElements", raw, graph.op("Gather", feature, node), axis=1)
        low = graph.op("LessOrEqual", x, graph.op("Gather", threshold, node))
        gap = graph.op("And", graph.op("IsNaN", x), graph.op("Gather", gap_left, node))
        go_left = graph.op("Or", low, gap)
        node = graph.op("Where", go_left, graph.op("Gather", lefts, node), graph.op("Gather", rights, node))
    leaf = np.concatenate([tree.value * scale for tree in trees]).astype(np.float32)
    to_output = np.zeros((len(trees), outputs), np.float32)
    to_output[np.arange(len(trees)), [tree.output for tree in trees]] = 1
    return graph.op("MatMul", graph.op("Gather", graph.constant(leaf), node), graph.constant(to_output))


def _depth(tree: Tree) -> int:
    depth = np.zeros(len(tree.feature), int)
    for node in range(len(tree.feature)):  # children come after their parent
        if tree.feature[node] >= 0:
            depth[[tree.left[node], tree.right[node]]] = depth[node] + 1
    return int(depth.max())
