"""The graph of segments equals the training side: in onnxruntime and in onnx's reference evaluator."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime as ort
import pytest
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.simulate_segments import simulate_segments
from ludocast.models.segments.fit import fit_points
from ludocast.models.segments.methods import METHODS
from ludocast.models.segments.segmentation import Segmentation
from ludocast.serve.core import core_model
from ludocast.serve.export import PREPROCESSING
from ludocast.serve.graph_inputs import schema_inputs
from ludocast.serve.segments_export import export_segments
from onnx.reference import ReferenceEvaluator

from tests.models.segments.made import fitted, made, read
from tests.serve.foreign import core_inputs

TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=METHODS)
def case(request: pytest.FixtureRequest) -> tuple[Segmentation, RawColumns]:
    columns, points, _ = made(1500, 3)
    return fitted(points, columns, request.param, 4), columns


def hostile(columns: RawColumns) -> RawColumns:
    """Rows of missing, extreme and never seen values, one column at a time and all at once."""
    rows = 40
    found = {name: values[:rows].copy() for name, values in columns.items()}
    for i, values in enumerate(found.values()):
        strange = ["", "never seen", "\u0000", "日本"] if values.dtype == object else [np.nan, 3e38, -3e38, 0.0]
        values[4 * i : 4 * i + 4] = strange
        values[-4:] = strange
    return found


def feeds(fitted: Segmentation, columns: RawColumns) -> dict[str, np.ndarray]:
    return {item.tensor: columns[item.column][:, None] for item in schema_inputs(fitted.schema)}


def check(fitted: Segmentation, columns: RawColumns, segment: np.ndarray, measures: np.ndarray) -> None:
    index, measured, scores = fitted.predict(columns)
    assert scores is not None
    np.testing.assert_allclose(measures, np.column_stack([measured, scores]), rtol=TOLERANCE, atol=TOLERANCE)
    assert segment.tolist() == [fitted.names[i] for i in index]


def test_onnxruntime_equals_the_training_side(case: tuple[Segmentation, RawColumns]) -> None:
    fitted, columns = case
    session = ort.InferenceSession(export_segments(fitted).SerializeToString(), providers=["CPUExecutionProvider"])
    for rows in (columns, hostile(columns)):
        check(fitted, rows, *session.run(["segment", "measures"], feeds(fitted, rows)))


def test_the_reference_evaluator_agrees(case: tuple[Segmentation, RawColumns]) -> None:
    fitted, columns = case
    rows = hostile(columns)
    check(fitted, rows, *ReferenceEvaluator(export_segments(fitted)).run(["segment", "measures"], feeds(fitted, rows)))


def test_the_core_graph_equals_the_training_side(case: tuple[Segmentation, RawColumns]) -> None:
    """In plain operators, fed with what preprocessing.json says, worked out by another program."""
    fitted, columns = case
    model = export_segments(fitted)
    document = json.loads({entry.key: entry.value for entry in model.metadata_props}[PREPROCESSING])
    core = core_model(model, document)
    assert {opset.domain for opset in core.opset_import} == {""}
    assert not [node for node in core.graph.node if node.domain]
    session = ort.InferenceSession(core.SerializeToString(), providers=["CPUExecutionProvider"])
    for rows in (columns, hostile(columns)):
        inputs = core_inputs(document, rows)
        (measures,) = session.run(["measures"], {item.name: inputs[item.name] for item in session.get_inputs()})
        wide = len(document["classes"])
        nearest = (
            measures[:, :wide].argmin(1) if document["measures"][0] == "distances" else measures[:, :wide].argmax(1)
        )
        check(fitted, rows, np.array(document["classes"], object)[nearest], measures)


@pytest.mark.parametrize("kept", [["level"], ["country"], ["country", "subscribed"], ["joined", "days_played"]])
@pytest.mark.parametrize("method", METHODS)
def test_columns_of_one_kind_alone_are_enough(method: str, kept: list[str]) -> None:
    schema, columns = read(simulate_segments(400, 1)[0].select(["player_id", *kept]))
    segments = fitted(fit_points(schema, columns, 0), columns, method, 2)
    session = ort.InferenceSession(export_segments(segments).SerializeToString(), providers=["CPUExecutionProvider"])
    for rows in (columns, hostile(columns)):
        check(segments, rows, *session.run(["segment", "measures"], feeds(segments, rows)))
