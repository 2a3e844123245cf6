import math
import time
from collections.abc import Callable

import numpy as np
import pytest
from ludocast.models.curves import (
    calibration_curve,
    confusion,
    gain_curve,
    precision_recall_curve,
    reached_by,
    roc_curve,
    wilson_interval,
)
from ludocast.models.metrics import (
    NAMES,
    bootstrap,
    classification_metrics,
    compare,
    equal_mass_bins,
    log_loss,
    macro_auc,
)
from sklearn import metrics as reference


def binary(rows: int, seed: int = 0, digits: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    label = (generator.random(rows) < 0.3).astype(np.int64)
    chance = 1 / (1 + np.exp(-(generator.normal(size=rows) + 1.5 * label - 1.2)))
    if digits is not None:
        chance = np.round(chance, digits)
    return np.stack([1 - chance, chance], axis=1), label


def several(rows: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(classes), rows)
    return probabilities, np.array([generator.choice(classes, p=row) for row in probabilities])


def test_four_rows_by_hand() -> None:
    chance = np.array([0.1, 0.4, 0.35, 0.8])
    label = np.array([0, 0, 1, 1])
    found = classification_metrics(
        np.stack([1 - chance, chance], axis=1), label, 1, (chance >= 0.5).astype(int), resamples=20
    )
    assert tuple(found) == NAMES
    values = {name: interval.value for name, interval in found.items()}
    assert values["auc"] == pytest.approx(3 / 4)  # of the 4 pairs, (0.35, 0.4) is the wrong way round
    assert values["average_precision"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert values["log_loss"] == pytest.approx(-(math.log(0.9) + math.log(0.6) + math.log(0.35) + math.log(0.8)) / 4)
    assert values["brier"] == pytest.approx((0.01 + 0.16 + 0.4225 + 0.04) / 4)
    assert values["ece"] == pytest.approx((0.1 + 0.4 + 0.65 + 0.2) / 4)  # each row is a bin of its own
    assert (values["precision"], values["recall"]) == (1.0, 0.5)
    assert values["f1"] == pytest.approx(2 / 3)
    assert values["accuracy"] == 0.75


@pytest.mark.parametrize("digits", [None, 1])
def test_binary_measures_are_those_of_scikit_learn(digits: int | None) -> None:
    probabilities, label = binary(700, digits=digits)
    chance, predicted = probabilities[:, 1], (probabilities[:, 1] > 0.4).astype(int)
    found = classification_metrics(probabilities, label, 1, predicted, resamples=2)
    expected = {
        "auc": reference.roc_auc_score(label, chance),
        "average_precision": reference.average_precision_score(label, chance),
        "log_loss": reference.log_loss(label, probabilities),
        "brier": reference.brier_score_loss(label, chance),
        "f1": reference.f1_score(label, predicted),
        "precision": reference.precision_score(label, predicted),
        "recall": reference.recall_score(label, predicted),
        "accuracy": reference.accuracy_score(label, predicted),
    }
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, abs=1e-12), name


def test_multiclass_measures_are_those_of_scikit_learn() -> None:
    probabilities, label = several(600, 4)
    predicted = probabilities.argmax(axis=1)
    found = classification_metrics(probabilities, label, None, predicted, resamples=2)
    expected = {
        "auc": reference.roc_auc_score(label, probabilities, multi_class="ovr", average="macro"),
        "average_precision": reference.average_precision_score(np.eye(4)[label], probabilities, average="macro"),
        "log_loss": reference.log_loss(label, probabilities),
        "brier": ((probabilities - np.eye(4)[label]) ** 2).sum(axis=1).mean(),
        "f1": reference.f1_score(label, predicted, average="macro"),
        "precision": reference.precision_score(label, predicted, average="macro"),
        "recall": reference.recall_score(label, predicted, average="macro"),
        "accuracy": reference.accuracy_score(label, predicted),
    }
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, abs=1e-12), name
    assert macro_auc(probabilities, label, None) == pytest.approx(expected["auc"])
    assert log_loss(probabilities, label) == pytest.approx(expected["log_loss"])


def slow_ece(chance: np.ndarray, event: np.ndarray, bins: int) -> float:
    order = np.argsort(chance)
    parts = np.array_split(order, bins)
    return sum(abs(float(chance[part].mean() - event[part].mean())) * len(part) / len(order) for part in parts)


def test_ece_is_that_of_a_slow_loop_over_15_bins_of_equal_mass() -> None:
    probabilities, label = binary(1_500)
    found = classification_metrics(probabilities, label, 1, label, resamples=2)
    assert found["ece"].value == pytest.approx(slow_ece(probabilities[:, 1], label, 15), abs=1e-12)
    probabilities, label = several(1_500, 3)
    found = classification_metrics(probabilities, label, None, label, resamples=2)
    hit = probabilities.argmax(axis=1) == label
    assert found["ece"].value == pytest.approx(slow_ece(probabilities.max(axis=1), hit, 15), abs=1e-12)


def test_the_ece_interval_of_a_calibrated_model_comes_near_zero() -> None:
    probabilities, label = several(3_000, 2, seed=5)
    ece = classification_metrics(probabilities, label, 1, probabilities.argmax(axis=1), resamples=200)["ece"]
    assert 0 <= ece.low < 0.005
    assert ece.low <= ece.value <= ece.high < 0.05


def test_each_resample_is_what_scikit_learn_says_of_the_repeated_rows() -> None:
    probabilities, label = binary(80, digits=1)
    weights = bootstrap(lambda counts: counts, 80, seed=3, resamples=12)
    assert weights.shape == (12, 80)
    assert (weights.sum(axis=1) == 80).all()
    predicted = (probabilities[:, 1] > 0.4).astype(int)
    found = classification_metrics(probabilities, label, 1, predicted, seed=3, resamples=12)
    measures: dict[str, Callable[[np.ndarray], float]] = {
        "auc": lambda rows: reference.roc_auc_score(label[rows], probabilities[rows, 1]),
        "average_precision": lambda rows: reference.average_precision_score(label[rows], probabilities[rows, 1]),
        "f1": lambda rows: reference.f1_score(label[rows], predicted[rows]),
        "log_loss": lambda rows: reference.log_loss(label[rows], probabilities[rows]),
    }
    for name, measure in measures.items():
        values = [measure(np.repeat(np.arange(80), counts.astype(int))) for counts in weights]
        low, high = np.percentile(values, [2.5, 97.5])
        assert (found[name].low, found[name].high) == pytest.approx((low, high), abs=1e-12), name


def test_the_interval_is_as_wide_as_the_standard_error_says() -> None:
    generator = np.random.default_rng(0)
    label = generator.integers(0, 2, 4_000)
    predicted = np.where(generator.random(4_000) < 0.8, label, 1 - label)
    accuracy = classification_metrics(np.eye(2)[predicted], label, 1, predicted)["accuracy"]
    error = math.sqrt(accuracy.value * (1 - accuracy.value) / 4_000)
    assert accuracy.high - accuracy.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_measures_that_are_not_defined_are_left_out() -> None:
    chance = np.array([0.2, 0.3, 0.4])
    found = classification_metrics(
        np.stack([1 - chance, chance], axis=1), np.zeros(3, int), 1, np.zeros(3, int), resamples=10
    )
    assert "auc" not in found
    assert "average_precision" not in found
    assert "recall" not in found
    assert found["accuracy"].value == 1.0
    assert all(math.isfinite(interval.low + interval.high) for interval in found.values())


def test_a_certain_and_wrong_prediction_has_the_log_loss_of_the_clip() -> None:
    assert log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-math.log(np.finfo(float).eps))


def test_compare_gives_zero_for_an_equal_and_more_for_a_worse_candidate() -> None:
    probabilities, label = binary(2_000)
    worse = np.random.default_rng(1).permutation(probabilities)
    first, same, other = compare({"a": probabilities, "b": probabilities**1, "c": worse}, label, 1, resamples=200)
    assert first.auc_behind is None
    assert first.log_loss_behind is None
    assert same.auc_behind is not None
    assert (same.auc_behind.low, same.auc_behind.value, same.auc_behind.high) == (0, 0, 0)
    assert other.auc_behind is not None
    assert other.log_loss_behind is not None
    assert other.auc_behind.value == pytest.approx(first.auc.value - other.auc.value)
    assert other.auc_behind.low > 0.1
    assert other.log_loss_behind.value == pytest.approx(other.log_loss.value - first.log_loss.value)
    assert first.auc.value == pytest.approx(reference.roc_auc_score(label, probabilities[:, 1]))


def test_paired_differences_are_narrower_than_unpaired_ones() -> None:
    probabilities, label = binary(1_000)
    near = np.round(probabilities, 2)
    first, second = compare({"a": probabilities, "b": near}, label, 1, resamples=300)
    assert second.auc_behind is not None
    assert second.auc_behind.high - second.auc_behind.low < 0.2 * (first.auc.high - first.auc.low)


def test_all_of_it_takes_less_than_five_seconds_at_6500_rows() -> None:
    probabilities, label = binary(6_500)
    start = time.process_time()
    classification_metrics(probabilities, label, 1, probabilities.argmax(axis=1))
    assert time.process_time() - start < 5


def test_equal_mass_bins_keep_equal_scores_together() -> None:
    assert equal_mass_bins(np.array([0.4, 0.1, 0.2, 0.3]), 2).tolist() == [1, 0, 0, 1]
    assert equal_mass_bins(np.array([0.5, 0.5, 0.5, 0.9]), 4).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("digits", [None, 2])
def test_roc_and_precision_recall_points_lie_on_scikit_learns(digits: int | None) -> None:
    probabilities, label = binary(3_000, digits=digits)
    score, positive = probabilities[:, 1], label == 1
    x, y, _ = reference.roc_curve(positive, score, drop_intermediate=False)
    found = roc_curve(score, positive)
    assert len(found.x) <= 200
    assert (found.x[0], found.y[0], found.x[-1], found.y[-1]) == (0, 0, 1, 1)
    assert {*zip(found.x.round(9), found.y.round(9), strict=True)} <= {*zip(x.round(9), y.round(9), strict=True)}
    assert np.trapezoid(found.y, found.x) == pytest.approx(reference.roc_auc_score(positive, score), abs=2e-3)
    precision, recall, _ = reference.precision_recall_curve(positive, score)
    line = precision_recall_curve(score, positive)
    assert len(line.x) <= 200
    points = {*zip(recall.round(9), precision.round(9), strict=True)}
    assert {*zip(line.x.round(9), line.y.round(9), strict=True)} <= points


def test_calibration_by_hand() -> None:
    found = calibration_curve(np.array([0.1, 0.3, 0.6, 0.8]), np.array([0, 1, 1, 1]), bins=2)
    np.testing.assert_allclose(found.predicted, [0.2, 0.7])
    np.testing.assert_allclose(found.observed, [0.5, 1.0])
    assert found.counts.tolist() == [2, 2]


def test_wilson_interval_is_that_of_the_literature() -> None:
    # Newcombe (1998), Table I: 81 of 263, and 0 of 20.
    low, high = wilson_interval(np.array([81, 0]), np.array([263, 20]))
    np.testing.assert_allclose(low, [0.2553, 0.0], atol=5e-5)
    np.testing.assert_allclose(high, [0.3662, 0.1611], atol=5e-5)


def test_gain_and_lift_by_hand() -> None:
    score = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0])
    positive = np.array([1, 1, 0, 1, 0, 0, 0, 0, 0, 1], bool)
    gain = gain_curve(score, positive, points=11)
    np.testing.assert_allclose(gain.reached, [0, 0.25, 0.5, 0.5, 0.75, 0.75, 0.75, 0.75, 0.75, 0.75, 1])
    np.testing.assert_allclose(gain.lift[:4], [2.5, 2.5, 5 / 3, 1.875])


def test_equal_scores_are_contacted_in_no_order() -> None:
    found = reached_by(np.zeros(8), np.array([1, 1, 0, 0, 0, 0, 0, 0], bool), np.array([0.0, 0.25, 1.0]))
    np.testing.assert_allclose(found, [0, 0.25, 1])


def test_confusion_counts_what_was_by_what_was_said() -> None:
    found = confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert found.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
