"""A fitted segmentation as one ONNX graph: raw columns in; the segment, and a number a segment out."""

from __future__ import annotations

import numpy as np
import onnx
from ludocast.models.segments.partition import Mixture, Prototypes
from ludocast.models.segments.segmentation import Segmentation
from ludocast.serve.export import preprocessing_metadata
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_inputs import add_inputs, add_preprocessing
from ludocast.serve.graph_segments import add_anomaly, add_distances, add_memberships, add_points
from onnx import TensorProto


def export_segments(fitted: Segmentation, description: str = "") -> onnx.ModelProto:
    """The graph of a bundle.

    Out come `segment` [N], and `measures` [N, K]: distances or probabilities, and in one column more the anomaly score
    where there is one.
    """
    graph = GraphBuilder()
    names = add_preprocessing(graph, fitted.preprocessing, add_inputs(graph, fitted.schema))
    z = add_points(graph, fitted.space, names)
    partition = fitted.partition
    if isinstance(partition, Prototypes):
        measured = add_distances(graph, partition, z)
        chosen = graph.op("ArgMin", measured, axis=1, keepdims=0)
    else:
        assert isinstance(partition, Mixture)
        measured = add_memberships(graph, partition, z)
        chosen = graph.op("ArgMax", measured, axis=1, keepdims=0)
    segment = graph.op("Gather", graph.constant(np.array(fitted.names, dtype=object)), chosen, axis=0)
    measures = graph.op("Cast", measured, to=TensorProto.FLOAT)
    if fitted.anomalies is not None:
        measures = graph.op("Concat", measures, add_anomaly(graph, fitted.anomalies, names), axis=1)
    graph.output(segment, "segment", TensorProto.STRING, ["N"])
    width = len(fitted.names) + (fitted.anomalies is not None)
    graph.output(measures, "measures", TensorProto.FLOAT, ["N", width])
    return graph.model(description, preprocessing_metadata(fitted))
