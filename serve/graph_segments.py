"""Segments in the graph: points, distances and densities in double, operation by operation as on the training side."""

# N rows, D components, P prototypes, K segments

from __future__ import annotations

import numpy as np
from ludocast.models.segments.anomalies import Anomalies
from ludocast.models.segments.partition import Mixture, Prototypes
from ludocast.models.segments.space import Space
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_inputs import EncodedNames
from ludocast.serve.graph_learners import add_trees
from onnx import TensorProto


def add_points(graph: GraphBuilder, space: Space, names: EncodedNames) -> str:
    """Double [N, D]."""
    parts = []
    if names.numbers is not None:
        numbers = graph.op("Cast", names.numbers, to=TensorProto.DOUBLE)
        parts.append(graph.op("MatMul", numbers, graph.constant(space.numbers)))
    if names.codes is not None:
        rows = graph.op("Add", names.codes, graph.constant(space.offset))
        places = graph.op("Gather", graph.constant(space.codes), rows, axis=0)
        parts.append(graph.op("ReduceSum", places, graph.ints(1), keepdims=0))
    total = parts[0] if len(parts) == 1 else graph.op("Add", *parts)
    return graph.op("Sub", total, graph.constant(space.origin))


def add_distances(graph: GraphBuilder, prototypes: Prototypes, z: str) -> str:
    """Distance to the nearest prototype of each segment, double [N, K]."""
    centres = prototypes.centres
    own = graph.op("ReduceSum", graph.op("Mul", z, z), graph.ints(1), keepdims=1)
    mixed = graph.op("MatMul", z, graph.constant(-2 * centres.T))
    square = graph.op("Add", graph.op("Add", own, mixed), graph.constant((centres**2).sum(axis=1)))
    parts = []
    for k in range(prototypes.size):
        owned = graph.op("Gather", square, graph.constant(np.flatnonzero(prototypes.owner == k)), axis=1)
        parts.append(graph.op("ReduceMin", owned, graph.ints(1), keepdims=1))
    nearest = graph.op("Max", graph.op("Concat", *parts, axis=1), graph.doubles(0.0))
    return graph.op("Sqrt", nearest)


def add_memberships(graph: GraphBuilder, mixture: Mixture, z: str) -> str:
    """Probability of each segment, double [N, K]; all factors side by side in one product."""
    size, width = mixture.means.shape
    side_by_side = np.concatenate(list(mixture.factors), axis=1)
    shift = np.concatenate([mean @ factor for mean, factor in zip(mixture.means, mixture.factors, strict=True)])
    turned = graph.op("Sub", graph.op("MatMul", z, graph.constant(side_by_side)), graph.constant(shift))
    # Sums by a product: behind a ReduceSum OpenVINO takes the constants' doubles for floats.
    halves = graph.constant(np.kron(np.eye(size), np.full((width, 1), -0.5)))
    total = graph.op("MatMul", graph.op("Mul", turned, turned), halves)
    logs = graph.op("Add", total, graph.constant(mixture.constants()))
    return graph.op("Softmax", logs, axis=1)


def add_anomaly(graph: GraphBuilder, anomalies: Anomalies, names: EncodedNames) -> str:
    """The anomaly score, float [N, 1]."""
    parts = [] if names.numbers is None else [names.numbers]
    if names.codes is not None:
        rows = graph.op("Add", names.codes, graph.constant(anomalies.offset))
        parts.append(graph.op("Gather", graph.constant(anomalies.rarity), rows, axis=0))
    inputs = parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=1)
    depth = add_trees(graph, inputs, anomalies.trees(), 1)
    return graph.op("Pow", graph.floats(2.0), graph.op("Mul", depth, graph.floats(-1 / anomalies.expected)))
