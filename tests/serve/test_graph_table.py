"""Every classic learner for every task: the graph equals the training side, on all rows and on hostile ones."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
import pytest
from ludocast.datamodules.infer import RawColumns, describe, infer_schema, label_index, label_values, raw_columns
from ludocast.datamodules.number_label import number_label
from ludocast.datamodules.read import from_frame
from ludocast.models.fitted import Fitted, FittedClasses, FittedNumbers
from ludocast.models.number_loss import SQUARED, NumberLoss
from ludocast.models.table.deep import Training
from ludocast.models.table.fit import FittedTable, fit_table
from ludocast.models.table.kernel import LANDMARKS
from ludocast.models.table.learners import learner_names
from ludocast.models.trainer import TrainerSettings
from ludocast.serve.core import core_model
from ludocast.serve.export import PREPROCESSING
from ludocast.serve.graph_table import export_table

from tests.serve.foreign import core_inputs
from tests.serve.made_table import hostile, made_frame

FEWEST = {2: "logistic", 0: "linear"}
QUICK = Training(members=2, settings=TrainerSettings(epochs=2))
MANY = 1_000
TOLERANCE = 1e-5  # of probabilities; of numbers, in deviations of the label


def fitted_table(
    classes: int,
    names: str = "all",
    rows: int = 900,
    prototypes: int = 0,
    loss: NumberLoss = SQUARED,
    kept: Sequence[str] = ("spent", "level", "gap", "power", "국가 ", "guild", "paid", "since"),
    lumped: bool = False,
) -> tuple[FittedTable, RawColumns]:
    table = from_frame(made_frame(classes, rows)[[*kept, "y"]])
    schema = infer_schema(table, "y", "class 1" if classes == 2 else None, task="auto")
    columns, _ = raw_columns(table, schema)
    missing = frozenset(schema.missing_tokens)
    label = label_index(label_values(table, "y", missing), schema) if classes else number_label(table, "y", missing)
    # Of many rows a third is held out: each learner is then fitted twice, and not once a fold as well.
    held_out = np.arange(len(label)) % 3 == 2 if rows >= MANY else np.zeros(len(label), bool)
    schema = describe(schema, columns, np.flatnonzero(~held_out))
    if loss.is_of_amounts:
        label = np.round(np.exp((label - label.mean()) / label.std()))  # counts, many of them 0
    if lumped:
        label = np.maximum(label, np.quantile(label, 0.3))  # many rows have the lowest number
    known, asked = ({name: values[part] for name, values in columns.items()} for part in (~held_out, held_out))
    found = fit_table(
        schema,
        known,
        label[~held_out],
        (asked, label[held_out]) if held_out.any() else None,
        names=names,
        combine="blend",
        prototypes=prototypes,
        training=QUICK,
        loss=loss,
    )
    return found, columns


@pytest.fixture(scope="module", params=[2, 3, 0], ids=["binary", "multiclass", "regression"])
def case(request: pytest.FixtureRequest) -> tuple[FittedTable, RawColumns]:
    return fitted_table(int(request.param), rows=MANY)


def test_every_learner_is_fitted(case: tuple[FittedTable, RawColumns]) -> None:
    found, _ = case
    assert not [row for row in found.leaderboard if row.failed]
    assert set(found.every) == set(learner_names("all", len(found.model.schema.classes)))


def test_onnxruntime_equals_training(case: tuple[FittedTable, RawColumns]) -> None:
    found, columns = case
    for fitted in (*found.every.values(), found.model):
        equal(fitted, columns)


def test_the_core_graph_equals_training_without_ml_operators(case: tuple[FittedTable, RawColumns]) -> None:
    """Fed with what preprocessing.json says, worked out by another program."""
    found, columns = case
    rows = hostile(columns, 200)
    for fitted in (*found.every.values(), found.model):
        model = export_table(fitted)
        document = json.loads({entry.key: entry.value for entry in model.metadata_props}[PREPROCESSING])
        core = core_model(model, document)
        assert {opset.domain for opset in core.opset_import} == {""}
        assert not [node for node in core.graph.node if node.domain]
        session = ort.InferenceSession(core.SerializeToString(), providers=["CPUExecutionProvider"])
        inputs = core_inputs(document, rows)
        answer = session.run(None, {item.name: inputs[item.name] for item in session.get_inputs()})
        wanted, who = fitted.predict(rows), str(dict(fitted.weights))
        if isinstance(fitted, FittedClasses):
            np.testing.assert_allclose(answer[0], wanted, atol=TOLERANCE, err_msg=who)
            continue
        assert isinstance(fitted, FittedNumbers)
        np.testing.assert_allclose(answer[0], wanted, atol=TOLERANCE * fitted.width, err_msg=who)
        np.testing.assert_allclose(answer[1], fitted.bounds(wanted), atol=3 * TOLERANCE * fitted.width, err_msg=who)


@pytest.mark.parametrize(
    ("loss", "names"),
    [(NumberLoss("quantile", 0.9), "network,linear"), (NumberLoss("poisson"), "network,boosting,linear,tree,knn")],
)
def test_other_losses_of_numbers_are_no_exception(loss: NumberLoss, names: str) -> None:
    found, columns = fitted_table(0, names, 250, loss=loss)
    assert not [row for row in found.leaderboard if row.failed]
    for fitted in (*found.every.values(), found.model):
        equal(fitted, columns)


def test_a_lower_bound_ends_at_the_lowest_number_of_many_rows() -> None:
    found, columns = fitted_table(0, "linear,tree", 400, lumped=True)
    for fitted in (*found.every.values(), found.model):
        assert isinstance(fitted, FittedNumbers)
        equal(fitted, columns)
        session = ort.InferenceSession(export_table(fitted).SerializeToString(), providers=["CPUExecutionProvider"])
        fed = {f"x{i}": columns[column.name][:, None] for i, column in enumerate(fitted.schema.inputs)}
        value, bounds = session.run(None, fed)
        assert fitted.lowest == np.float32(fitted.lowest)
        assert value.min() >= fitted.lowest
        assert (bounds[:, 0] >= fitted.lowest).all()
        assert (bounds[:, 0] == np.float32(fitted.lowest)).mean() > 0.3


@pytest.mark.parametrize("classes", [3, 0])
def test_the_svm_of_many_rows_and_prototypes_are_no_exception(classes: int) -> None:
    """Nyström features in place of all rows, k-means centres in place of neighbours."""
    found, columns = fitted_table(classes, "svm,knn", rows=3_600, prototypes=50)
    svm, knn = (found.every[name].candidates.models[name] for name in ("svm", "knn"))  # type: ignore[attr-defined]
    assert len(svm.landmarks) == LANDMARKS
    assert len(knn.points) == 50
    for fitted in found.every.values():
        equal(fitted, columns)


@pytest.mark.parametrize("classes", [2, 0])
@pytest.mark.parametrize(
    ("kept", "rows"),
    [(["국가 ", "guild", "paid"], 120), (["since"], 120), (["spent", "power"], 120), (["paid", "gap"], 24)],
)
def test_texts_times_or_numbers_alone_and_few_rows(kept: list[str], rows: int, classes: int) -> None:
    """Leaves that are sure, inputs that are not there."""
    found, columns = fitted_table(classes, f"network,tree,svm,naive_bayes,knn,{FEWEST[classes]}", rows, kept=kept)
    assert not [row for row in found.leaderboard if row.failed]
    for fitted in found.every.values():
        equal(fitted, columns)


def equal(fitted: Fitted, columns: RawColumns) -> None:
    """On all rows, hostile ones, and one alone."""
    session = ort.InferenceSession(export_table(fitted).SerializeToString(), providers=["CPUExecutionProvider"])
    who = str(dict(fitted.weights))
    for rows in (columns, hostile(columns, 2_000), {name: values[:1] for name, values in columns.items()}):
        fed = {f"x{i}": rows[column.name][:, None] for i, column in enumerate(fitted.schema.inputs)}
        first, second = session.run(None, fed)
        wanted = fitted.predict(rows)
        if isinstance(fitted, FittedClasses):
            np.testing.assert_allclose(second, wanted, atol=TOLERANCE, err_msg=who)
            continue
        assert isinstance(fitted, FittedNumbers)
        # An exponential makes a difference of logarithms a share of the amount.
        share = TOLERANCE if fitted.loss.is_of_amounts else 0.0
        np.testing.assert_allclose(first, wanted, rtol=share, atol=TOLERANCE * fitted.width, err_msg=who)
        wanted_bounds = fitted.bounds(wanted)
        np.testing.assert_allclose(second, wanted_bounds, rtol=share, atol=3 * TOLERANCE * fitted.width, err_msg=who)
        assert (second[:, 0] <= first).all()
        assert (first <= second[:, 1]).all()
