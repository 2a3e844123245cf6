"""The graph equals the training side: in onnxruntime and in onnx's reference evaluator, on hostile rows too."""

from __future__ import annotations

import json
import logging

import numpy as np
import onnxruntime as ort
import pytest
import torch
from ludocast.datamodules.fit_preprocessing import fit_preprocessing
from ludocast.datamodules.infer import RawColumns, describe, infer_schema, label_index, label_values, raw_columns
from ludocast.datamodules.read import from_frame
from ludocast.models.fitted import FittedClasses
from ludocast.models.table.deep import Training
from ludocast.models.table.learners import Job, learners
from ludocast.models.table.module import TabularModule
from ludocast.models.table.network import TabularNetwork
from ludocast.models.table.prepared import Learned
from ludocast.models.trainer import TrainerSettings
from ludocast.recipes.churn import CANDIDATES
from ludocast.serve.core import core_model
from ludocast.serve.export import PREPROCESSING
from ludocast.serve.graph import GraphBuilder
from ludocast.serve.graph_inputs import EncodedNames
from ludocast.serve.graph_learners import add_network
from ludocast.serve.graph_table import export_table
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from tests.serve.made_table import hostile, made_frame

TOLERANCE = 5e-6


@pytest.fixture(scope="module", params=[2, 3])
def case(request: pytest.FixtureRequest) -> tuple[FittedClasses, RawColumns]:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    classes = int(request.param)
    frame = made_frame(classes)
    rows = len(frame)
    table = from_frame(frame)
    schema = infer_schema(table, "y", "class 1" if classes == 2 else None)
    columns, _ = raw_columns(table, schema)
    label = label_index(label_values(table, "y", frozenset(schema.missing_tokens)), schema)
    schema = describe(schema, columns, np.arange(rows))
    # All candidates in the graph, whatever a blend would leave out.
    preprocessing, encoded = fit_preprocessing(schema, columns, label)
    assert preprocessing.products
    assert preprocessing.crosses
    job = Job(preprocessing, classes, training=Training(2, TrainerSettings(epochs=2)))
    every = {name: one.fit(encoded, label, 20) for name, one in learners(CANDIDATES["auto"], job).items()}
    weights = dict.fromkeys(every, 1 / len(every))
    return FittedClasses(schema, preprocessing, Learned(every), weights, 1.3, 0.4), columns


def feeds(fitted: FittedClasses, columns: RawColumns) -> dict[str, np.ndarray]:
    return {f"x{i}": columns[column.name][:, None] for i, column in enumerate(fitted.schema.inputs)}


def test_onnxruntime_equals_training(case: tuple[FittedClasses, RawColumns]) -> None:
    fitted, columns = case
    session = ort.InferenceSession(export_table(fitted).SerializeToString(), providers=["CPUExecutionProvider"])
    for rows in (columns, hostile(columns), {name: values[:1] for name, values in columns.items()}):
        label, p = session.run(["label", "probabilities"], feeds(fitted, rows))
        wanted = fitted.predict(rows)
        np.testing.assert_allclose(p, wanted, atol=TOLERANCE)
        np.testing.assert_array_equal(label, np.array(fitted.classes)[fitted.decide(wanted)])


@pytest.mark.parametrize(("numbers", "codes", "layers", "outputs"), [(3, 2, 1, 1), (0, 2, 2, 1), (2, 0, 3, 4)])
def test_the_network_alone_equals_torch(numbers: int, codes: int, layers: int, outputs: int) -> None:
    module = TabularModule(members=3)
    torch.manual_seed(0)
    network = TabularNetwork(
        numbers, [5] * codes, outputs, members=3, embedding=4, rank=2, cross_layers=layers, hidden=6
    )
    torch.nn.init.normal_(network.values)
    network.read_only(torch.rand(3, numbers) < 0.7, torch.rand(3, codes) < 0.7)
    module.averaged = network.eval()
    graph = GraphBuilder()
    names = EncodedNames(
        graph.input("numbers", TensorProto.FLOAT, numbers) if numbers else None,
        graph.input("codes", TensorProto.INT64, codes) if codes else None,
        None,
    )
    graph.output(add_network(graph, names, module, 0.5), "logits", TensorProto.FLOAT, ["N", "C"])
    model = graph.model("", {})
    generator = np.random.default_rng(0)
    x, code = generator.normal(size=(7, numbers)).astype(np.float32), generator.integers(0, 5, (7, codes))
    with torch.inference_mode():
        wanted = 0.5 * module(torch.from_numpy(x), torch.from_numpy(code)).numpy()
    found = {**({"numbers": x} if numbers else {}), **({"codes": code} if codes else {})}
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, found)[0], wanted, atol=TOLERANCE)
    (by_reference,) = ReferenceEvaluator(model).run(None, found)
    np.testing.assert_allclose(np.asarray(by_reference), wanted, atol=TOLERANCE)


def test_the_reference_evaluator_equals_training(case: tuple[FittedClasses, RawColumns]) -> None:
    fitted, columns = case
    evaluator = ReferenceEvaluator(export_table(fitted))
    few = hostile(columns, 200)  # a thousand times as slow as onnxruntime; `benchmarks/parity.py` takes all
    label, p = (np.asarray(value) for value in evaluator.run(None, feeds(fitted, few)))
    np.testing.assert_allclose(p, fitted.predict(few), atol=TOLERANCE)
    assert set(label.tolist()) <= set(fitted.classes)


def test_the_core_graph_equals_training_without_ml_operators(case: tuple[FittedClasses, RawColumns]) -> None:
    fitted, columns = case
    model = export_table(fitted)
    document = json.loads({entry.key: entry.value for entry in model.metadata_props}[PREPROCESSING])
    core = core_model(model, document)
    assert {opset.domain for opset in core.opset_import} == {""}
    assert not [node for node in core.graph.node if node.domain]
    session = ort.InferenceSession(core.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = hostile(columns, 500)  # trees without their own operator are slow
    encoded = fitted.preprocessing.encode(rows)
    sizes = document["sizes"]
    (p,) = session.run(
        None, {item.name: getattr(encoded, item.name)[:, : sizes[item.name]] for item in session.get_inputs()}
    )
    np.testing.assert_allclose(p, fitted.predict(rows), atol=TOLERANCE)
