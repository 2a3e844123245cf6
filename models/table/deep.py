"""The tabular network as a learner: several members side by side, of which each fold's held-out rows have their own."""

# N rows, M members, C outputs

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from ludocast.datamodules.preprocess import Encoded
from ludocast.datamodules.row_group_loader import TrainingStream
from ludocast.models.learner import Learner
from ludocast.models.table.module import TabularModule
from ludocast.models.table.train import network_outputs, train_network
from ludocast.models.trainer import TrainerSettings


@dataclass(frozen=True)
class Network:
    """A trained network; its score is the mean of its members'."""

    module: TabularModule

    def scores(self, encoded: Encoded) -> np.ndarray:
        """float64 [N, C]."""
        return np.asarray(network_outputs(self.module, encoded).astype(np.float64).mean(axis=0))


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    Attributes:
        members: M.
        settings: Of the Trainer.
        shown: Rows whose loss is shown each epoch, with their label; they change nothing.
        stream: More training rows, of which those in memory are a sample.
    """

    members: int = 5
    settings: TrainerSettings = field(default_factory=TrainerSettings)
    shown: tuple[Encoded, np.ndarray] | None = None
    stream: TrainingStream | None = None


AS_USUAL = Training()


def network_learner(sizes: dict[str, Any], seed: int, training: Training) -> Learner[Network]:
    """The network as a learner.

    Args:
        sizes: See `train_network`.
        seed: Of weights, shuffles and dropout.
        training: How.
    """
    settings = training.settings

    def stage(name: str, sentence: str) -> TrainerSettings:
        if settings.progress:
            print(sentence, flush=True)
        folder = settings.checkpoints
        return replace(settings, checkpoints=None if folder is None else folder / name, stage=name)

    def fit(encoded: Encoded, label: np.ndarray, _: float) -> Network:
        own = stage("network", "training the network on all training rows")
        everyone = [np.arange(len(label))] * training.members
        shown, stream = training.shown, training.stream
        return Network(train_network(encoded, label, everyone, sizes, own, seed, shown, stream))

    def try_out(
        encoded: Encoded, label: np.ndarray, held: Encoded, held_label: np.ndarray  # noqa: ARG001
    ) -> Mapping[float, np.ndarray]:  # fmt: skip
        return {0.0: fit(encoded, label, 0.0).scores(held)}

    def hold_out(encoded: Encoded, label: np.ndarray, fold: np.ndarray) -> Mapping[float, np.ndarray]:
        own = stage("folds", "training a network without each part of the rows in turn, to see how it does on them")
        inside = [np.flatnonzero(fold != k) for k in range(int(fold.max()) + 1)]
        by_member = network_outputs(train_network(encoded, label, inside, sizes, own, seed), encoded)
        return {0.0: by_member[fold, np.arange(len(label))].astype(np.float64)}

    return Learner(try_out, fit, hold_out, only=0.0, calibrated=True, together=True)
