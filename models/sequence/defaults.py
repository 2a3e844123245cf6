"""How each task is trained unless one says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ludocast.models.sequence.module import LearningSettings, SequenceModule
from ludocast.models.sequence.network import NetworkSettings
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
    """

    network: NetworkSettings
    learning: LearningSettings
    epochs: int
    batch: int
    tbptt_steps: int | None = None
    one_text: bool = False
    unknown_share: float = 0.0


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
    modules: dict[Task, type[LeavingModule] | type[TagModule] | type[LanguageModule]] = {
        "churn": LeavingModule, "tag": TagModule, "language": LanguageModule, "next": NextModule,
    }  # fmt: skip
    return modules[task](settings.network, settings.learning)
