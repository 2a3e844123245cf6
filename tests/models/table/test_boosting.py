"""Trees for export add up to what the library says, missing values included; rounds count from the first."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from ludocast.models.number_loss import LossName, NumberLoss
from ludocast.models.table.boosting import Boosting, Shape
from ludocast.models.table.fit_boosting import Library, fit_boosting
from ludocast.models.table.tree import Tree

SHAPE = Shape(leaves=6, rate=0.2, rounds=12)
LIBRARIES: tuple[Library, ...] = ("scikit-learn", "lightgbm", "xgboost", "catboost")


def walk(tree: Tree, row: np.ndarray) -> np.ndarray:
    """What a row's leaf holds, [C] or [1]."""
    node = 0
    while tree.feature[node] >= 0:
        x = row[tree.feature[node]]
        goes_left = bool(tree.missing_left[node]) if np.isnan(x) else bool(x <= tree.threshold[node])
        node = int(tree.left[node] if goes_left else tree.right[node])
    return np.atleast_1d(tree.value[node])


def added_up(model: Boosting, rows: np.ndarray) -> np.ndarray:
    total = np.tile(model.base, (len(rows), 1))
    for tree in model.trees():
        for n, row in enumerate(rows):
            value = walk(tree, row)
            total[n, tree.output : tree.output + len(value)] += value
    return total


def data(classes: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    raw = generator.normal(size=(400, 4)).astype(np.float32)
    raw[generator.random(400) < 0.2, 1] = np.nan  # column 1 has gaps, column 0 none
    raw[:, 2] = np.round(raw[:, 2] * 2) / 2  # values that thresholds may be equal to
    kind = (raw[:, 0] > 0).astype(int) + (np.nan_to_num(raw[:, 1]) > 0.5) + (raw[:, 2] >= 0.5)
    return raw, kind % classes if classes else kind + generator.normal(0, 0.1, 400)


@pytest.mark.parametrize(
    ("classes", "loss"), [(2, "squared"), (3, "squared"), *((0, loss) for loss in get_args(LossName))]
)
@pytest.mark.parametrize("library", LIBRARIES)
def test_the_trees_add_up_to_the_logits(library: Library, classes: int, loss: LossName) -> None:
    if library != "scikit-learn":
        pytest.importorskip(library, reason="the extra [boosting] is not installed")
    raw, label = data(classes)
    by = NumberLoss(loss)
    label = np.abs(label) if by.is_of_amounts else label
    model = fit_boosting(raw, label, classes, SHAPE, 12, loss=by, library=library)
    logits = model.logits(raw)
    said = np.exp(logits[:, 0]) if by.is_of_amounts else logits[:, 0] if not classes else None
    assert said is None or np.mean((said - label) ** 2) < 0.6 * np.var(label)
    model = Boosting(model.model, model.base, 7)
    some = raw[:60].copy()
    some[:5, 0] = np.nan  # missing where training had none
    some[5:8, 1] = (np.inf, -np.inf, 1e30)
    thresholds = np.concatenate([tree.threshold[tree.feature == 3] for tree in model.trees()])[:10]
    some[10 : 10 + len(thresholds), 3] = thresholds  # the very numbers, and those next to them
    some[20 : 20 + len(thresholds), 3] = np.nextafter(thresholds, np.float32(np.inf))
    wanted = added_up(model, some)
    assert len({tree.output for tree in model.trees()}) == (3 if classes == 3 and library != "catboost" else 1)
    tolerance = 1e-6 if library == "xgboost" else 1e-9  # which adds up in float32
    np.testing.assert_allclose(model.logits(some), wanted, atol=tolerance)
    np.testing.assert_allclose(model.staged_logits(some, [3, 7])[1], wanted, atol=tolerance)
    assert not np.allclose(model.staged_logits(some, [3, 7])[0], wanted)


@pytest.mark.parametrize("classes", [2, 3, 0])
def test_catboost_answers_as_its_trees(classes: int) -> None:
    """The library itself, where it takes the rows: equal to a millionth of a millionth."""
    catboost = pytest.importorskip("catboost", reason="the extra [boosting] is not installed")
    raw, label = data(classes)
    loss = {2: "Logloss", 3: "MultiClass", 0: "RMSE"}[classes]
    settings = {"loss_function": loss, "iterations": 12, "learning_rate": 0.2, "depth": 3, "l2_leaf_reg": 1.0}
    same = {"nan_mode": "Min", "random_seed": 0, "thread_count": 1, "allow_writing_files": False, "verbose": False}
    model = catboost.CatBoost({**settings, **same}).fit(catboost.Pool(raw, label))
    wanted = np.asarray(model.predict(raw, prediction_type="RawFormulaVal")).reshape(len(raw), -1)
    found = fit_boosting(raw, label, classes, SHAPE, 12, library="catboost").logits(raw)
    np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize("library", LIBRARIES[1:])
def test_held_out_rows_stop_it_and_a_class_may_be_absent(library: Library) -> None:
    pytest.importorskip(library, reason="the extra [boosting] is not installed")
    raw, label = data(3)
    noise = np.random.default_rng(1).permutation(label)
    shape = Shape(leaves=6, rate=0.3, rounds=200, patience=5)
    model = fit_boosting(raw, noise, 3, shape, 200, held_out=(raw[::2], noise[::-2]), library=library)
    assert len(model.trees()) < 200 * 3 / 2
    two = label < 2
    absent = fit_boosting(raw[two], label[two], 3, SHAPE, 12, library=library).logits(raw)
    assert absent.shape == (400, 3)
    assert (absent.argmax(axis=1) < 2).all()
