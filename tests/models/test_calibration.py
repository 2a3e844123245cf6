from __future__ import annotations

import numpy as np
import pytest
from ludocast.models.calibration import (
    class_log_loss,
    class_probabilities,
    cost_threshold,
    f1_threshold,
    fit_drifting_temperature,
    fit_temperature,
)


def test_log_loss_by_hand() -> None:
    assert class_log_loss(np.array([[0.0], [np.log(3)]]), np.array([1, 0])) == pytest.approx(
        (np.log(2) + np.log(4)) / 2
    )
    assert class_log_loss(np.zeros((2, 3)), np.array([0, 2])) == pytest.approx(np.log(3))
    np.testing.assert_allclose(class_probabilities(np.array([[np.log(3)]])), [[0.25, 0.75]])


def test_temperature_is_found_again() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(40_000, 1)) * 2
    label = (generator.random(40_000) < 1 / (1 + np.exp(-logits[:, 0]))).astype(int)
    assert fit_temperature(logits * 3, label) == pytest.approx(3.0, rel=0.05)


def test_rows_that_are_all_told_apart_leave_half_a_row_of_doubt() -> None:
    """Of logits ±z / T the loss is log(1 + e^(−z/T)) + (z/T) · doubt / 2, least where σ(−z/T) = doubt / 2."""
    label = np.arange(50) % 2
    logits = np.where(label == 1, 8.0, -8.0)[:, None]
    wrong = 0.5 / 50 / 2
    wanted = 8.0 / np.log((1 - wrong) / wrong)
    assert fit_temperature(logits, label) == pytest.approx(wanted, rel=1e-4)
    assert fit_temperature(np.hstack([-logits / 2, logits / 2]), label) == pytest.approx(wanted, rel=1e-4)


def test_a_temperature_is_found_again_where_the_share_of_positives_drifts() -> None:
    generator = np.random.default_rng(0)
    time = np.repeat([0, 14, 28, 42], 20_000)
    true = generator.normal(-1.5, 1.5, size=len(time)) + np.array([-0.6, -0.2, -0.4, -0.5])[time // 14]
    label = (generator.random(len(time)) < 1 / (1 + np.exp(-true))).astype(int)
    said = (true - np.array([-0.6, -0.2, -0.4, -0.5])[time // 14]) * 1.3  # knows nothing of the drift
    assert fit_drifting_temperature(said, label, time) == pytest.approx(1.3, rel=0.03)
    assert fit_temperature(said[:, None], label) < 1.2  # the drift passes for logits that are not sharp enough
    assert fit_drifting_temperature(said, label, np.zeros(len(time))) == pytest.approx(1.3, rel=0.06)


def test_thresholds_by_hand() -> None:
    assert cost_threshold(3.0, 1.0) == 0.25
    p, hit = np.array([0.9, 0.8, 0.4, 0.2]), np.array([True, True, False, False])
    assert f1_threshold(p, hit) == pytest.approx(0.6)
    assert f1_threshold(p, np.array([True, False, True, False])) == pytest.approx(0.3)
