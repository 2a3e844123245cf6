"""One trial of a search: a learner under some settings on inner folds, given up where it falls behind."""

# N rows, C outputs

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
from ludocast.datamodules.preprocess import Encoded
from ludocast.models.learner import Learner, Setting, chosen_setting, fold_steps, join
from ludocast.models.table.deep import Training
from ludocast.models.table.goal import Goal

MEASURED_STEPS = 20  # of a network, after which it is known how long one takes
BEHIND = 2.0  # standard errors by which a trial has to be behind its rival on the same rows to be given up
State = Literal["whole", "pruned", "failed", "late"]


@dataclass(frozen=True)
class Trial:
    """What came of one.

    Attributes:
        number: From 1.
        learner: Its name.
        settings: What was set; nothing of a learner as it is without a search.
        state: Whole; pruned, as it fell behind; failed; or late, as the time was over.
        losses: Of all rows held out so far after each fold.
        setting: The learner's own, which the held-out rows chose, of several labels for each; None unless whole.
        seconds: It took.
        elapsed: Seconds of the search at its end.
        failed: Why, where it did.
    """

    number: int
    learner: str
    settings: Mapping[str, float]
    state: State
    losses: tuple[float, ...]
    setting: Setting | None
    seconds: float
    elapsed: float
    failed: str = ""

    @property
    def name(self) -> str:
        """Of the learner under these settings, in an ensemble."""
        return f"{self.learner} {self.number}"

    @property
    def loss(self) -> float:
        """Over all held-out rows, calibrated; infinite unless it is whole."""
        return self.losses[-1] if self.state == "whole" else float("inf")


@dataclass(frozen=True)
class InnerFolds:
    """Rows on which learners are tried.

    Attributes:
        goal: What is predicted.
        encoded: The training rows.
        label: Of these, int64 [N], of several labels [N, L], or scaled numbers, float64 [N].
        fold: Number of each row's fold, int64 [N]; None where others are held out for good.
        held: These others and their label.
    """

    goal: Goal
    encoded: Encoded
    label: np.ndarray
    fold: np.ndarray | None
    held: tuple[Encoded, np.ndarray] | None = None

    @property
    def count(self) -> int:
        """Number of folds."""
        return 1 if self.fold is None else int(self.fold.max()) + 1

    @property
    def held_label(self) -> np.ndarray:
        """Of all held-out rows."""
        return self.label if self.held is None else self.held[1]

    def steps(self, learner: Learner[object]) -> Iterator[tuple[np.ndarray, Mapping[float, np.ndarray]]]:
        """Fold by fold, or all at once: which held-out rows, bool [N], and their scores under each own setting."""
        if self.held is not None:
            yield np.ones(len(self.held_label), bool), learner.try_out(self.encoded, self.label, *self.held)
            return
        assert self.fold is not None
        yield from fold_steps(learner, self.encoded, self.label, self.fold)


@dataclass(frozen=True)
class Outcome:
    """Of a trial that did not fail.

    Attributes:
        state: Whole, pruned or late.
        losses: Of all rows held out so far after each fold.
        setting: The learner's own.
        scores: Of all held-out rows under it, float64 [N, C], as they come from the learner; None unless whole.
    """

    state: State
    losses: tuple[float, ...]
    setting: Setting | None = None
    scores: np.ndarray | None = None


class LateError(Exception):
    """There is no time to end a training."""


class Deadline(pl.Callback):
    """Ends the training of a network for which there is no time.

    Args:
        seconds: It may take from now on, what comes before its first step among them.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.made = self.begun = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Begin to count steps."""
        self.begun = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        """Work out when the last step will be over.

        Raises:
            LateError: If that is too late.
        """
        done, steps = trainer.global_step, trainer.estimated_stepping_batches
        projected = self.begun - self.made + (time.monotonic() - self.begun) * steps / max(done, 1)
        if MEASURED_STEPS <= done < steps and projected > self.seconds:
            raise LateError


def with_deadline(training: Training, seconds: float) -> Training:
    """The same training, which ends by `LateError` where it would take longer."""
    settings = training.settings
    return replace(training, settings=replace(settings, callbacks=(*settings.callbacks, Deadline(seconds))))


def refit_share(learner: Learner[object], folds: InnerFolds) -> float:
    """What fitting on all rows takes, as a share of what a trial took."""
    if folds.held is not None:
        return 1.0
    # A fold's training has all rows but one part of them; together, or one after the other.
    return folds.count / (folds.count - 1) if learner.hold_out is not None else 1 / (folds.count - 1)


def run_trial(
    learner: Learner[object],
    folds: InnerFolds,
    rival: np.ndarray | None,
    seconds: float = float("inf"),
    allowed: float = 0.0,
) -> Outcome:
    """Try a learner on one fold after the other.

    Args:
        learner: Under the settings.
        folds: Of the training rows.
        rival: Calibrated scores [N, C] of the trial that it must not fall behind; None never gives up.
        seconds: It may take; where a fold tells that all will take longer, no other is begun.
        allowed: Share of the rival's loss by which it may be behind.

    Raises:
        FloatingPointError: If it gives numbers that are not finite.
    """
    label, goal = folds.held_label, folds.goal
    joined: dict[float, np.ndarray] = {}
    seen = np.zeros(len(label), bool)
    losses: list[float] = []
    begun = time.monotonic()
    for held, tried in folds.steps(learner):
        if not all(np.isfinite(scores).all() for scores in tried.values()):
            raise FloatingPointError("it gives numbers that are not finite")
        join(joined, held, tried)
        seen |= held
        tried_so_far = {one: scores[seen] for one, scores in joined.items()}
        setting, scores = chosen_setting(tried_so_far, label[seen], goal.measure)
        mine = scores * goal.sharpness(scores, label[seen])
        losses.append(goal.measure(mine, label[seen]))
        if seen.all():
            return Outcome("whole", tuple(losses), setting, scores)
        own = goal.row_losses(mine, label[seen])
        if rival is not None and _is_behind(own, goal.row_losses(rival[seen], label[seen]), allowed):
            return Outcome("pruned", tuple(losses))
        if (time.monotonic() - begun) * folds.count / len(losses) > seconds:
            break
    return Outcome("late", tuple(losses))


def _is_behind(mine: np.ndarray, rival: np.ndarray, allowed: float) -> bool:
    """Whether losses of rows leave little doubt: their paired difference is above its error."""
    difference = mine - (1 + allowed) * rival
    return bool(difference.mean() > BEHIND * difference.std() / np.sqrt(len(difference)))
