import os
import time

import numpy as np
import pytest
from ludocast.datamodules.preprocess import Encoded
from ludocast.models.baselines import BOOSTING, FOREST, LOGISTIC, available_cores, baselines, one_hot
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score


def encoded(rows: int, seed: int) -> tuple[Encoded, np.ndarray]:
    """One number with a linear effect, one code whose middle value alone matters, a missing value here and there."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=rows).astype(np.float32)
    code = generator.integers(2, 5, rows)
    label = (generator.random(rows) < 1 / (1 + np.exp(-(x + 3.0 * (code == 3) - 1)))).astype(np.int64)
    raw = np.stack([np.where(generator.random(rows) < 0.1, np.nan, x), code], axis=1).astype(np.float32)
    return Encoded(x[:, None], code[:, None], raw), label


def test_each_learns_what_there_is_to_learn() -> None:
    train, label = encoded(3_000, 0)
    test, truth = encoded(3_000, 1)
    found = baselines(train, label, test, 2, seed=0)
    assert list(found) == [LOGISTIC, FOREST, BOOSTING]
    best = roc_auc_score(truth, test.numbers[:, 0] + 3.0 * (test.codes[:, 0] == 3))
    for name, probabilities in found.items():
        assert probabilities.shape == (3_000, 2)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
        assert best - 0.05 < roc_auc_score(truth, probabilities[:, 1]) < best + 0.005, name


def test_the_logistic_regression_is_that_of_dense_dummies() -> None:
    train, label = encoded(500, 0)
    test, _ = encoded(200, 1)
    dense = [np.column_stack([part.numbers, np.eye(5)[part.codes[:, 0]]]) for part in (train, test)]
    model = LogisticRegression(max_iter=200).fit(dense[0], label)
    found = baselines(train, label, test, 2, seed=0)[LOGISTIC]
    np.testing.assert_allclose(found, model.predict_proba(dense[1]), atol=1e-3)


def test_one_hot_by_hand_with_a_code_never_seen() -> None:
    rows = Encoded(np.array([[0.5], [1.5]], np.float32), np.array([[0, 2], [3, 1]]), np.zeros((2, 0), np.float32))
    expected = [[0.5, 1, 0, 0, 0, 1], [1.5, 0, 0, 0, 1, 0]]
    assert one_hot(rows, np.array([2 + 1, 2])).toarray().tolist() == [
        [0.5, 1, 0, 0, 0, 0],
        [1.5, 0, 0, 0, 0, 1],
    ]
    assert one_hot(rows, np.array([2, 3])).toarray().tolist() == expected


def test_a_class_absent_from_training_has_probability_zero() -> None:
    train, label = encoded(400, 0)
    found = baselines(train, label * 2, train, 4, seed=0)
    for probabilities in found.values():
        assert probabilities.shape == (400, 4)
        assert (probabilities[:, [1, 3]] == 0).all()
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_equal_seeds_give_equal_predictions() -> None:
    train, label = encoded(400, 0)
    first, second = (baselines(train, label, train, 2, seed=4) for _ in range(2))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_a_table_without_codes_works() -> None:
    train, label = encoded(400, 0)
    bare = Encoded(train.numbers, np.zeros((400, 0), np.int64), train.raw)
    assert all(found.shape == (400, 2) for found in baselines(bare, label, bare, 2, seed=0).values())


def test_cores_are_those_of_this_process() -> None:
    assert 1 <= available_cores() <= min(8, os.cpu_count() or 1)


@pytest.mark.slow
def test_26000_rows_take_less_than_25_cpu_seconds() -> None:
    generator = np.random.default_rng(0)
    numbers = generator.normal(size=(26_000, 14)).astype(np.float32)
    codes = generator.integers(2, 80, (26_000, 12))
    label = (generator.random(26_000) < 1 / (1 + np.exp(-numbers[:, 0] - numbers[:, 1] * numbers[:, 2]))).astype(int)
    rows = Encoded(numbers, codes, numbers)
    start = time.process_time()
    baselines(rows, label, rows.rows(np.arange(6_500)), 2, seed=0)
    assert time.process_time() - start < 25
