"""Learners held as arrays answer as scikit-learn's own do."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from ludocast.datamodules.fit_preprocessing import fit_preprocessing
from ludocast.datamodules.infer import infer_schema, label_index, label_values, raw_columns
from ludocast.datamodules.number_label import number_label, strata
from ludocast.datamodules.preprocess import Encoded, Preprocessing
from ludocast.datamodules.read import from_frame
from ludocast.models.calibration import logits_of
from ludocast.models.number_loss import NumberLoss
from ludocast.models.table.bayes import SMOOTHING, fit_bayes
from ludocast.models.table.design import HALF, fit_design
from ludocast.models.table.kernel import fit_kernel
from ludocast.models.table.layers import fit_neural
from ludocast.models.table.learners import learner_names
from ludocast.models.table.neighbours import fit_neighbours, lowest
from ludocast.models.table.trees import fit_forest
from sklearn.naive_bayes import CategoricalNB, GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.svm import SVC

from tests.serve.made_table import made_frame

Case = tuple[Preprocessing, Encoded, np.ndarray]


def case(classes: int) -> Case:
    table = from_frame(made_frame(classes, 300))
    schema = infer_schema(table, "y", task="auto")
    columns, _ = raw_columns(table, schema)
    missing = frozenset(schema.missing_tokens)
    label = label_index(label_values(table, "y", missing), schema) if classes else number_label(table, "y", missing)
    return (*fit_preprocessing(schema, columns, label), label)


def test_the_kernel_of_few_rows_is_the_support_vector_machine() -> None:
    preprocessing, encoded, label = case(2)
    design = fit_design(encoded, preprocessing, plain=False, hot=HALF)
    x = design.matrix(encoded).toarray()
    machine = SVC(C=1.0, gamma="scale").fit(x, label)
    found = fit_kernel(design, encoded, label, 2, 1.0, 0)
    np.testing.assert_allclose(found.scores(encoded)[:, 0], machine.decision_function(x), atol=1e-8)


def test_neighbours_are_those_of_scikit_learn() -> None:
    preprocessing, encoded, label = case(0)
    design = fit_design(encoded, preprocessing, plain=False, hot=HALF)
    x = design.matrix(encoded).toarray()
    found = fit_neighbours(design, encoded, label, 0, 7, 1_000, 0, 0)
    wanted = KNeighborsRegressor(7, algorithm="brute").fit(x, label).predict(x)
    np.testing.assert_allclose(found.scores(encoded)[:, 0], wanted, rtol=1e-9)


@pytest.mark.parametrize("distinct", [2, 30, 10_000])
@pytest.mark.parametrize("count", [1, 7, 200])
def test_the_lowest_are_those_of_a_stable_sort(distinct: int, count: int) -> None:
    """Whatever values tie."""
    values = np.random.default_rng(0).integers(0, distinct, (60, 200)).astype(float)
    np.testing.assert_array_equal(lowest(values, count), np.argsort(values, axis=1, kind="stable")[:, :count])


def test_naive_bayes_adds_up_what_numbers_and_codes_say() -> None:
    """The joint log likelihoods of both, the prior counted once."""
    preprocessing, encoded, label = case(3)
    numbers = GaussianNB(var_smoothing=SMOOTHING).fit(encoded.numbers.astype(np.float64), label)
    codes = CategoricalNB(min_categories=np.array(preprocessing.code_sizes)).fit(encoded.codes, label)
    joint = numbers.predict_joint_log_proba(encoded.numbers) + codes.predict_joint_log_proba(encoded.codes)
    joint -= np.log(np.bincount(label) / len(label))
    np.testing.assert_allclose(fit_bayes(encoded, label, 3, preprocessing).scores(encoded), joint, rtol=1e-9)


def test_layers_are_those_of_the_network() -> None:
    preprocessing, encoded, label = case(0)
    scaled = (label - label.mean()) / label.std()
    design = fit_design(encoded, preprocessing, plain=True)
    found = fit_neural(design, encoded, scaled, 0, 1.0, 0)
    x = design.matrix(encoded).toarray()
    for row in range(3):  # one row at a time, one unit at a time
        h = x[row]
        for weight, bias in zip(found.weights[:-1], found.biases[:-1], strict=True):
            h = np.array([max(0.0, float(h @ weight[:, k] + bias[k])) for k in range(len(bias))])
        wanted = float(h @ found.weights[-1][:, 0] + found.biases[-1][0])
        assert found.scores(encoded.rows(np.array([row])))[0, 0] == pytest.approx(wanted)
    assert np.corrcoef(found.scores(encoded)[:, 0], scaled)[0, 1] > 0.7


def test_the_trees_of_a_forest_add_up_to_its_shares() -> None:
    """Each row walked through each tree by hand."""
    _, encoded, label = case(3)
    found = fit_forest(encoded, label, 3, 0)
    trees, inputs = found.trees(), encoded.trees
    for row in range(5):
        total = np.zeros(3)
        for tree in trees:
            node = 0
            while tree.feature[node] >= 0:
                x = inputs[row, tree.feature[node]]
                left = tree.missing_left[node] if np.isnan(x) else x <= tree.threshold[node]
                node = tree.left[node] if left else tree.right[node]
            total += tree.value[node]
        np.testing.assert_allclose(logits_of(total[None]), found.scores(encoded.rows(np.array([row]))), atol=1e-9)


def test_numbers_are_parted_in_tenths_and_classes_not_at_all() -> None:
    assert np.bincount(strata(np.arange(100.0))).tolist() == [10] * 10
    assert strata(np.array([2, 0, 1])).tolist() == [2, 0, 1]
    assert set(strata(np.array([0.0] * 95 + [1.0] * 5))) == {0, 1}  # mostly zeros


def test_a_library_that_is_absent_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "catboost", None)  # as Python has what cannot be imported
    assert "catboost" not in learner_names("all", 2)
    with pytest.raises(ValueError, match=r'"catboost" is not installed; pip install "ludocast\[boosting\]"'):
        learner_names("tree,catboost", 2)


def test_names_of_learners() -> None:
    assert learner_names("all", 2)[-1] == "logistic"
    assert learner_names("all", 0)[-1] == "linear"
    assert learner_names("knn, tree,knn", 3) == ("knn", "tree")
    with pytest.raises(ValueError, match='"logistic" does not predict numbers; "linear" does'):
        learner_names("logistic", 0)
    assert {"network", "svm"} <= set(learner_names("all", 0, NumberLoss("absolute")))
    assert {"tree", "neural"}.isdisjoint(learner_names("all", 0, NumberLoss("absolute")))
