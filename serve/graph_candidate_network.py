"""The network that scores a candidate, as nodes of a graph."""

# N histories, C candidates, F inputs of a candidate

from __future__ import annotations

import numpy as np
from ludocast.models.recommend.network import CandidateNetwork
from ludocast.serve.graph import GraphBuilder
from torch import nn


def add_network(graph: GraphBuilder, inputs: str, network: CandidateNetwork) -> str:
    """Scores of one network, double [N, C]."""
    mean, deviation = (graph.constant(buffer.double().numpy()) for buffer in (network.mean, network.deviation))
    x = graph.op("Div", graph.op("Sub", inputs, mean), deviation)
    for layer in network.layers:
        if isinstance(layer, nn.Linear):
            weight = graph.constant(layer.weight.detach().double().numpy().T.copy())
            x = graph.op("Add", graph.op("MatMul", x, weight), graph.constant(layer.bias.detach().double().numpy()))
        elif isinstance(layer, nn.GELU):
            x = _add_gelu(graph, x)
    return graph.op("Squeeze", x, graph.ints(2))


def _add_gelu(graph: GraphBuilder, x: str) -> str:
    """GELU by tanh (Hendrycks & Gimpel 2016); runtimes have Gelu itself for float32 alone."""
    cube = graph.op("Mul", graph.op("Mul", x, x), x)
    inner = graph.op("Add", x, graph.op("Mul", cube, graph.doubles(0.044715)))
    bent = graph.op("Tanh", graph.op("Mul", inner, graph.doubles(np.sqrt(2 / np.pi))))
    half = graph.op("Mul", x, graph.doubles(0.5))
    return graph.op("Mul", half, graph.op("Add", bent, graph.doubles(1.0)))
