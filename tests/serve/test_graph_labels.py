"""Several labels by every learner: the graph and its core equal the training side, on all rows and on hostile ones."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest
from ludocast.datamodules.infer import RawColumns, describe, raw_columns
from ludocast.datamodules.label_columns import infer_label_schema, label_matrix
from ludocast.datamodules.read import from_frame
from ludocast.models.fitted import FittedLabels
from ludocast.models.table.deep import Training
from ludocast.models.table.fit import FittedTable, fit_table
from ludocast.models.table.learners import learner_names
from ludocast.models.trainer import TrainerSettings
from ludocast.serve.core import core_model
from ludocast.serve.export import PREPROCESSING
from ludocast.serve.graph_table import export_table

from tests.serve.foreign import core_inputs
from tests.serve.made_labels import LABELS, made_labels
from tests.serve.made_table import hostile

# CatBoost takes half of the time of all, and its graph of a label is that of two classes (tests/serve/test_graph_table.py).
NAMES = [name for name in learner_names("all", 2) if name != "catboost"]
QUICK = Training(members=2, settings=TrainerSettings(epochs=2))


@pytest.fixture(scope="module")
def case() -> tuple[FittedTable, RawColumns]:
    """Fitted on 160 rows, which 80 others judge."""
    table = from_frame(made_labels(240).drop(columns="guild"))
    schema = infer_label_schema(table, LABELS)
    columns, _ = raw_columns(table, schema)
    label = label_matrix(table, schema.labels, frozenset(schema.missing_tokens))
    schema = describe(schema, columns, np.arange(160))
    own, held = ({name: values[rows] for name, values in columns.items()} for rows in (slice(160), slice(160, 240)))
    return fit_table(schema, own, label[:160], (held, label[160:]), names=NAMES, training=QUICK), held


def test_every_learner_is_fitted(case: tuple[FittedTable, RawColumns]) -> None:
    found, _ = case
    assert not [row for row in found.leaderboard if row.failed]
    assert set(found.every) == set(NAMES)


def test_graphs_equal_training(case: tuple[FittedTable, RawColumns]) -> None:
    found, columns = case
    odd = hostile(columns, 1_000)
    cut = {"tree", "boosting", "network", "knn"}  # whose parts are in all other core graphs
    for fitted in (*found.every.values(), found.model):
        assert isinstance(fitted, FittedLabels)
        fitted = replace(fitted, thresholds=np.array([0.3, 0.5, 0.7]))
        who = str(dict(fitted.weights))
        model = export_table(fitted)
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        for rows in (columns, odd, {name: values[:1] for name, values in columns.items()}):
            fed = {f"x{i}": rows[column.name][:, None] for i, column in enumerate(fitted.schema.inputs)}
            labels, p = session.run(["labels", "probabilities"], fed)
            np.testing.assert_allclose(p, fitted.predict(rows), atol=1e-5, err_msg=who)
            np.testing.assert_array_equal(labels, p >= np.array([0.3, 0.5, 0.7], np.float32))
        if not set(fitted.weights) <= cut:
            continue
        document = json.loads({entry.key: entry.value for entry in model.metadata_props}[PREPROCESSING])
        assert (document["classes"], document["thresholds"]) == (list(LABELS), [0.3, 0.5, 0.7])
        core = core_model(model, document)
        assert not [node for node in core.graph.node if node.domain]
        session = ort.InferenceSession(core.SerializeToString(), providers=["CPUExecutionProvider"])
        inputs = core_inputs(document, odd)
        answer = session.run(["probabilities"], {item.name: inputs[item.name] for item in session.get_inputs()})[0]
        np.testing.assert_allclose(answer, fitted.predict(odd), atol=1e-5, err_msg=who)


def test_what_labels_share_is_in_the_graph_once(case: tuple[FittedTable, RawColumns]) -> None:
    """Neighbours of three labels are the same points: kept once, looked for once."""
    graph = export_table(case[0].every["knn"]).graph
    assert len([node for node in graph.node if node.op_type == "TopK"]) == len(
        {model.count for model in case[0].every["knn"].candidates.models["knn"].models}  # type: ignore[attr-defined]
    )
    assert len([one for one in graph.initializer if one.dims[1:] == [160]]) == 1
