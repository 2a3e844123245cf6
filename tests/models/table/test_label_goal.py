"""Several labels: a loss, a setting, a temperature and a network's head for each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from ludocast.datamodules.infer import infer_schema
from ludocast.datamodules.label_columns import infer_label_schema
from ludocast.datamodules.preprocess import Encoded, Preprocessing
from ludocast.datamodules.read import from_frame
from ludocast.models.fitted import FittedLabels
from ludocast.models.learner import HeldOut, Learner, chosen_setting
from ludocast.models.table.goal import LabelGoal, goal_of
from ludocast.models.table.heads import head_of
from ludocast.models.table.label_wise import label_wise
from scipy.special import expit
from sklearn.metrics import log_loss

from tests.serve.made_labels import LABELS, made_labels

NOTHING = Preprocessing((), (), (), (0.0, 1.0), ())


class Known:
    """Candidates whose logits are known."""

    def logits(self, encoded: Encoded) -> Mapping[str, np.ndarray]:
        raise NotImplementedError


def held_out(rows: int = 400) -> HeldOut:
    """Two candidates: the first too sure of one label and too timid of another, the second noise around it."""
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(rows, 3)) * 2
    label = (generator.random((rows, 3)) < expit(truth)).astype(np.int64)
    noisy = truth + generator.normal(size=truth.shape)
    return HeldOut({"a": truth * [3.0, 1.0, 0.4], "b": noisy}, label, "")


def test_each_label_has_its_temperature() -> None:
    """No other sharpness of one label has a lower log loss on the held-out rows, half a row of them in doubt."""
    known, goal = held_out(), LabelGoal()
    sharp = {name: goal.sharpness(scores, known.label) for name, scores in known.logits.items()}
    np.testing.assert_allclose(sharp["a"], [1 / 3, 1, 2.5], rtol=0.2)
    schema = infer_label_schema(from_frame(made_labels(60)), LABELS)
    model = goal.model(schema, NOTHING, Known(), {"a": 0.7, "b": 0.3}, sharp, known)
    assert isinstance(model, FittedLabels)
    p = model.predict_scored(known.logits)
    logits = np.log(p) - np.log1p(-p)
    doubt = 0.5 / len(p)

    def doubted(own: np.ndarray, z: np.ndarray) -> float:
        even = np.mean([log_loss(np.full(len(z), one), expit(z), labels=[0, 1]) for one in (0, 1)])
        return float((1 - doubt) * log_loss(own, expit(z)) + doubt * even)

    for k in range(3):
        for sharper in (0.95, 1.05):
            assert doubted(known.label[:, k], sharper * logits[:, k]) > doubted(known.label[:, k], logits[:, k])
    assert goal.measure(logits, known.label) == pytest.approx(
        np.mean([log_loss(known.label[:, k], p[:, k]) for k in range(3)])
    )
    assert (model.decide(p) == (p >= 0.5)).all()


def test_what_a_table_is_learnt_for_is_told_by_its_schema() -> None:
    frame = made_labels(60)
    labels = infer_label_schema(from_frame(frame), LABELS)
    assert isinstance(goal_of(labels, np.zeros((2, 3), np.int64), None), LabelGoal)  # type: ignore[arg-type]
    one = infer_schema(from_frame(frame), "skin")
    assert type(goal_of(one, np.zeros(2, np.int64), None)) is not LabelGoal  # type: ignore[arg-type]
    # The rarer value of the label that has fewest of it tells how many folds there may be.
    label = np.zeros((10, 2), np.int64)
    label[:6, 0] = 1
    label[:9, 1] = 1
    assert LabelGoal().rarest(label) == 1


def test_each_label_chooses_its_own_setting() -> None:
    """Of a learner whose setting is what it answers, times the label's number."""

    class Model:
        def __init__(self, logit: float) -> None:
            self.logit = logit

        def scores(self, encoded: Encoded) -> np.ndarray:
            return np.full((len(encoded.numbers), 1), self.logit)

    def try_out(e: Encoded, label: np.ndarray, held: Encoded, held_label: np.ndarray) -> dict[float, np.ndarray]:
        return {logit: Model(logit).scores(held) for logit in (-1.0, 0.0, 1.0)}

    both = label_wise(Learner(try_out, lambda _, label, setting: Model(setting + label.sum())))
    rows = Encoded(np.zeros((4, 1), np.float32), np.zeros((4, 0), np.int64), np.zeros((4, 1), np.float32))
    label = np.array([[0, 1, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]])
    setting, scores = chosen_setting(both.try_out(rows, label, rows, label), label)
    assert setting == (-1.0, 1.0, 0.0)
    assert scores.tolist() == [[-1.0, 1.0, 0.0]] * 4
    assert both.fit(rows, label, setting).scores(rows)[0].tolist() == [0.0, 4.0, 2.0]
    assert both.fit(rows, label, 5.0).scores(rows)[0].tolist() == [6.0, 8.0, 7.0]


def test_the_networks_head_has_the_mean_of_the_labels_losses() -> None:
    head = head_of({"classes": 2, "labels": 3})
    assert head.outputs == 3
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(2, 5, 3))
    label = generator.integers(0, 2, size=(2, 5, 3))
    found = head.losses(torch.from_numpy(logits), torch.from_numpy(label))
    p = np.where(label == 1, expit(logits), 1 - expit(logits))
    np.testing.assert_allclose(found, -np.log(p).mean(axis=2), rtol=1e-9)
