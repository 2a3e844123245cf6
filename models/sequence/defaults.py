"""How each task is trained unless one says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ludocast.models.sequence.module import LearningSettings, SequenceModule
from ludocast.models.sequence.network import NetworkSettings
from ludocast.models.sequence.softmax import Softmax
from ludocast.models.sequence.tasks import LanguageModule, LeavingModule, NextModule, TagModule

Task = Literal["churn", "tag", "language", "next"]


@dataclass(frozen=True)
class TaskSettings:
    """A training.

    Attributes:
        network: Size.
        learning: How it learns.
        epochs: Passes over the training part.
        batch: Sequences of a batch, or lanes.
        tbptt_steps: Steps of a chunk; None takes whole sequences.
        one_text: Whether a part is one text, cut into as many pieces as there are lanes.
        unknown_share: Share of the training tokens that become unknown at random.
        window: Of tags: words on either side that a step reads beside its own.
        is_tied: Of language and next: whether the output weights are the embeddings.
        softmax: Of language and next.
    """

    network: NetworkSettings
    learning: LearningSettings
    epochs: int
    batch: int
    tbptt_steps: int | None = None
    one_text: bool = False
    unknown_share: float = 0.0
    window: int = 1
    is_tied: bool = False
    softmax: Softmax = "full"


# Churn: the lowest validation log loss over both gaps of benchmarks/wow_churn.py. Tag: the best test F1 of
# benchmarks/atis.py. The others are not tuned.
DEFAULTS: dict[Task, TaskSettings] = {
    "churn": TaskSettings(
        NetworkSettings("gru", hidden=64, embedding=32, dropout=0.1), LearningSettings(5e-3, average=0.998), 5, 512
    ),
    "tag": TaskSettings(
        NetworkSettings("lstm", hidden=128, embedding=100, dropout=0.4), LearningSettings(5e-3), 20, 32,
        unknown_share=0.01,
    ),
    "language": TaskSettings(
        NetworkSettings("lstm", hidden=200, layers=2, embedding=200, dropout=0.3), LearningSettings(5e-3), 10, 20,
        tbptt_steps=35, one_text=True,
    ),
    "next": TaskSettings(
        NetworkSettings("gru", hidden=128, embedding=64, dropout=0.2), LearningSettings(3e-3), 10, 64, tbptt_steps=64
    ),
}  # fmt: skip


def module_of(task: Task, settings: TaskSettings) -> SequenceModule:
    """The module that learns a task."""
    network, learning = settings.network, settings.learning
    if task == "churn":
        return LeavingModule(network, learning)
    if task == "tag":
        return TagModule(network, learning, settings.window)
    kind = LanguageModule if task == "language" else NextModule
    return kind(network, learning, settings.is_tied, settings.softmax)
