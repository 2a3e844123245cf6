"""The network that scores a candidate, as nodes of a graph."""

# N histories, C candidates, F inputs of a candidate, H units

from __future__ import annotations

from ludocast.models.recommend.network import CandidateNetwork
from ludocast.serve.graph import GraphBuilder
from torch import Tensor, nn


def add_network(graph: GraphBuilder, inputs: str, real: str, network: CandidateNetwork) -> str:
    """Scores of one network, double [N, C].

    Args:
        graph: That gets it.
        inputs: Double [N, C, F].
        real: 1 for a candidate, 0 where a list has no further one, double [N, C].
        network: Trained.
    """
    x = graph.op("Div", graph.op("Sub", inputs, _double(graph, network.mean)), _double(graph, network.deviation))
    h = _add_silu(graph, _add_linear(graph, x, network.first))
    counted = graph.op("Max", graph.op("ReduceSum", real, graph.ints(1), keepdims=1), graph.doubles(1.0))
    share = graph.op("Unsqueeze", graph.op("Div", real, counted), graph.ints(1))
    of_list = _add_linear(graph, graph.op("MatMul", share, h), network.of_list)  # [N, 1, H]
    h = _add_silu(graph, graph.op("Add", _add_linear(graph, h, network.second), of_list))
    return graph.op("Squeeze", _add_linear(graph, h, network.last), graph.ints(2))


def _double(graph: GraphBuilder, values: Tensor) -> str:
    return graph.constant(values.detach().double().numpy().copy())


def _add_linear(graph: GraphBuilder, x: str, layer: nn.Linear) -> str:
    product = graph.op("MatMul", x, _double(graph, layer.weight.T))
    return product if layer.bias is None else graph.op("Add", product, _double(graph, layer.bias))


def _add_silu(graph: GraphBuilder, x: str) -> str:
    return graph.op("Mul", x, graph.op("Sigmoid", x))
