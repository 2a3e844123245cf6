"""Measures of several labels, beside scikit-learn's and beside loops over resampled rows."""

from __future__ import annotations

import numpy as np
import pytest
from ludocast.models.calibration import row_losses
from ludocast.models.comparison import LabelAnswers, compare_label_answers, rows_of_mean
from ludocast.models.importance import label_importance
from ludocast.models.label_metrics import (
    compare_labels,
    label_measure_names,
    label_measures_of_weights,
    label_metrics,
    of_label,
)
from ludocast.models.metrics import bootstrap
from sklearn import metrics

NAMES = ("a", "b", "c")


def answers(rows: int = 300, off: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, labels, and what is answered."""
    generator = np.random.default_rng(1)
    wish = generator.normal(size=(rows, 1)) + generator.normal(size=(rows, 3))
    label = (wish + generator.normal(size=(rows, 3)) > [0, 1, -1]).astype(np.int64)
    noise = off * np.random.default_rng(2).normal(size=(rows, 3))
    p = 1 / (1 + np.exp([0, 1, -1] - wish + noise))
    return p, label, p >= [0.5, 0.3, 0.6]


def test_values_are_those_of_scikit_learn() -> None:
    p, label, said = answers()
    found = label_metrics(p, label, said, NAMES, resamples=200)
    wanted = {
        "auc": metrics.roc_auc_score(label, p, average="macro"),
        "average_precision": metrics.average_precision_score(label, p, average="macro"),
        "log_loss": np.mean([metrics.log_loss(label[:, k], p[:, k]) for k in range(3)]),
        "brier": np.mean([metrics.brier_score_loss(label[:, k], p[:, k]) for k in range(3)]),
        "f1": metrics.f1_score(label, said, average="macro"),
        "precision": metrics.precision_score(label, said, average="macro"),
        "recall": metrics.recall_score(label, said, average="macro"),
        "micro_auc": metrics.roc_auc_score(label, p, average="micro"),
        "micro_f1": metrics.f1_score(label, said, average="micro"),
        "subset_accuracy": metrics.accuracy_score(label, said),
        "hamming_loss": metrics.hamming_loss(label, said),
        "auc:b": metrics.roc_auc_score(label[:, 1], p[:, 1]),
        "log_loss:c": metrics.log_loss(label[:, 2], p[:, 2]),
        "f1:a": metrics.f1_score(label[:, 0], said[:, 0]),
        "accuracy:b": metrics.accuracy_score(label[:, 1], said[:, 1]),
    }
    for name, value in wanted.items():
        assert found[name].value == pytest.approx(value, rel=1e-9), name
        assert found[name].low < found[name].value < found[name].high
    assert set(found) == set(label_measure_names(NAMES))


def test_resamples_are_those_of_a_loop_over_rows() -> None:
    p, label, said = answers(80)
    drawn = bootstrap(label_measures_of_weights(p, label, said), 80, 5, 6)
    generator = np.random.default_rng(5)
    rows = generator.integers(80, size=(6, 80))
    names = label_measure_names(NAMES)
    for found, own in zip(drawn, rows, strict=True):
        assert found[names.index("auc")] == pytest.approx(metrics.roc_auc_score(label[own], p[own]))
        micro = metrics.roc_auc_score(label[own], p[own], average="micro")
        assert found[names.index("micro_auc")] == pytest.approx(micro)
        assert found[names.index("micro_f1")] == pytest.approx(metrics.f1_score(label[own], said[own], average="micro"))
        assert found[names.index("hamming_loss")] == pytest.approx(metrics.hamming_loss(label[own], said[own]))


def test_a_label_that_no_row_has_is_left_out_of_the_mean() -> None:
    p, label, said = answers()
    label[:, 1] = 0
    found = label_metrics(p, label, said, NAMES, resamples=10)
    assert "auc:b" not in found
    assert found["auc"].value == pytest.approx(metrics.roc_auc_score(label[:, [0, 2]], p[:, [0, 2]]))
    assert found["log_loss:b"].value == pytest.approx(-np.log1p(-p[:, 1]).mean())


def test_the_loss_of_rows_is_the_mean_of_the_labels() -> None:
    p, label, _ = answers()
    logits = np.log(p) - np.log1p(-p)
    wanted = [np.mean([-np.log(q if y else 1 - q) for q, y in zip(*row, strict=True)]) for row in zip(p, label)]  # noqa: B905
    np.testing.assert_allclose(row_losses(logits, label), wanted, rtol=1e-9)


def test_models_of_labels_are_compared_on_the_same_rows() -> None:
    p, label, said = answers()
    worse, _, worse_said = answers(off=1.0)
    ours, other = compare_labels({"ours": p, "other": worse}, label, resamples=200)
    assert ours.log_loss_behind is None
    assert other.log_loss_behind is not None
    assert other.log_loss_behind.value == pytest.approx(other.log_loss.value - ours.log_loss.value)
    found = compare_label_answers(
        LabelAnswers(p, label, said), LabelAnswers(worse, label, worse_said), NAMES, resamples=200
    )
    assert found["log_loss"].verdict == "worse"
    assert found[of_label("log_loss", "a")].verdict == "worse"
    assert found["hamming_loss"].verdict == "worse"
    ours_again = LabelAnswers(p, label, said)
    same = compare_label_answers(ours_again, ours_again, NAMES, resamples=50)
    assert {one.verdict for one in same.values()} == {"open"}
    assert not [name for name in found if name.startswith("ece")]


def test_a_mean_of_labels_counts_as_many_rows_as_its_variance_knows() -> None:
    assert rows_of_mean([48] * 5) == 240  # alike: all together
    assert rows_of_mean([8, 100_000]) == 8  # the rare one makes the sum's variance
    assert rows_of_mean([10, 20]) == 20  # 0.15² / (0.1³ + 0.05³)


def test_importance_tells_which_label_a_column_is_for() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 500)).astype(np.float32)
    label = np.stack([x > 0, y > 0], axis=1).astype(np.int64)
    found = label_importance(
        lambda rows: 1 / (1 + np.exp(-3 * np.stack([rows["x"], rows["y"]], axis=1).astype(float))),
        {"x": x, "y": y, "none": x}, label,
    )  # fmt: skip
    by_name = {entry.column: (entry.rise, each) for entry, each in found}
    assert by_name["none"][0] == 0
    rise, (of_first, of_second) = by_name["x"]
    assert of_second == 0
    assert rise == pytest.approx(of_first / 2)
