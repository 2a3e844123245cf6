"""The tabular network as a learner: of numbers as of classes, and held-out rows stay unseen."""

from __future__ import annotations

import numpy as np
import pytest
from ludocast.datamodules.preprocess import Encoded
from ludocast.models.table.deep import Training, network_learner
from ludocast.models.trainer import TrainerSettings

SIZES = {"numbers": 3, "code_sizes": [4], "loss": "squared"}


def rows(count: int, classes: int, seed: int = 0) -> tuple[Encoded, np.ndarray]:
    """The label is a product of two numbers plus what the code says, which no straight line tells."""
    generator = np.random.default_rng(seed)
    numbers = generator.normal(size=(count, 3)).astype(np.float32)
    codes = generator.integers(0, 4, (count, 1))
    y = numbers[:, 0] * numbers[:, 1] + (codes[:, 0] == 2) + 0.1 * generator.normal(size=count)
    label = y if classes == 0 else np.digitize(y, np.quantile(y, np.arange(1, classes) / classes))
    return Encoded(numbers, codes, np.zeros((count, 0), np.float32)), label


@pytest.mark.parametrize("classes", [0, 3])
def test_learns_what_no_straight_line_tells(classes: int) -> None:
    training = Training(2, TrainerSettings(epochs=20))
    learner = network_learner({**SIZES, "classes": classes}, 0, training)
    model = learner.fit(*rows(1_000, classes), 0.0)
    unseen, label = rows(500, classes, seed=1)
    scores = model.scores(unseen)
    if classes:
        assert np.mean(scores.argmax(axis=1) == label) > 0.8
    else:
        assert 1 - np.mean((scores[:, 0] - label) ** 2) / label.var() > 0.9


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_no_row_is_scored_by_who_saw_its_label(classes: int) -> None:
    encoded, label = rows(850, classes)
    fold = np.arange(850) % 4
    learner = network_learner({**SIZES, "classes": classes}, 0, Training(settings=TrainerSettings(epochs=1)))
    assert learner.hold_out is not None
    clean = learner.hold_out(encoded, label, fold)[0.0]
    assert clean.shape == (850, 3 if classes == 3 else 1)
    poisoned = np.where(fold == 1, label.max() - label, label)
    found = learner.hold_out(encoded, poisoned, fold)[0.0]
    np.testing.assert_array_equal(found[fold == 1], clean[fold == 1])
    assert (found[fold == 0] != clean[fold == 0]).any()
