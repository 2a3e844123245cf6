"""The learners in the graph: network, trees and linear model, from encoded inputs to logits."""

# N rows, M members, D numbers, S code columns, V codes of all columns, E embedding width, X = D + S·E, C outputs,
# T trees, L levels

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from ludocast.models.churn.boosting import Boosting, Tree
from ludocast.models.churn.linear import LIMIT, Linear
from ludocast.models.churn.module import ChurnModule
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_inputs import EncodedNames
from onnx import TensorProto


def add_network(graph: GraphBuilder, names: EncodedNames, module: ChurnModule, scale: float) -> str:
    """`scale` times the mean logits [N, C] of the members, all of them in batched products."""
    network = module.averaged
    assert network is not None
    weights = {name: value.detach().numpy() for name, value in network.named_parameters()}
    members = network.members
    x0 = _embedded(graph, names, weights["values"], network.offset.numpy(), members)
    used = network.used.numpy()
    if not used.all():
        x0 = graph.op("Mul", x0, graph.constant(used))
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


def add_boostings(graph: GraphBuilder, names: EncodedNames, scaled: Sequence[tuple[Boosting, float]]) -> str:
    """The sum [N, C] of boostings' logits, each times its scale, as one ensemble of trees."""
    parts = [] if names.raw is None else [names.raw]
    if names.codes is not None:
        parts.append(graph.op("Cast", names.codes, to=TensorProto.FLOAT))
    inputs = parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=1)
    base = np.sum([boosting.base * scale for boosting, scale in scaled], axis=0)
    trees = [replace(tree, value=tree.value * scale) for boosting, scale in scaled for tree in boosting.trees()]
    return graph.op("Add", add_trees(graph, inputs, trees, len(base)), graph.constant(base.astype(np.float32)))


def add_trees(graph: GraphBuilder, raw: str, trees: Sequence[Tree], outputs: int) -> str:
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
        target_weights=_joined([tree.value[leaf] for tree, leaf in zip(trees, leaves, strict=True)]),
    )


def _joined(parts: Sequence[np.ndarray]) -> list[int] | list[float]:
    joined: list[int] | list[float] = np.concatenate(parts).tolist()
    return joined
