"""One trial of a search: a learner under some settings on inner folds, given up where it falls behind."""

# N rows, C outputs

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from ludocast.datamodules.preprocess import Encoded
from ludocast.models.calibration import fit_temperature, loss, row_losses
from ludocast.models.learner import Learner, least_setting

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
        setting: The learner's own, which the held-out rows chose; None unless whole.
        seconds: It took.
        elapsed: Seconds of the search at its end.
        failed: Why, where it did.
    """

    number: int
    learner: str
    settings: Mapping[str, float]
    state: State
    losses: tuple[float, ...]
    setting: float | None
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
        encoded: The training rows.
        label: Of these, int64 [N], or scaled numbers, float64 [N].
        fold: Number of each row's fold, int64 [N]; None where others are held out for good.
        held: These others and their label.
    """

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

    def held_in(self, k: int) -> np.ndarray:
        """Which of the held-out rows are those of a fold, bool [N]."""
        return np.ones(len(self.held_label), bool) if self.fold is None else self.fold == k

    def try_out(self, learner: Learner[object], k: int) -> Mapping[float, np.ndarray]:
        """Scores of a fold's held-out rows under each of the learner's own settings."""
        if self.fold is None:
            assert self.held is not None
            return learner.try_out(self.encoded, self.label, *self.held)
        held, inside = np.flatnonzero(self.fold == k), np.flatnonzero(self.fold != k)
        parts = (self.encoded.rows(held), self.label[held])
        return learner.try_out(self.encoded.rows(inside), self.label[inside], *parts)


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
    setting: float | None = None
    scores: np.ndarray | None = None


def sharpness(scores: np.ndarray, label: np.ndarray) -> float:
    """What logits are to be multiplied by to be calibrated; 1 of numbers."""
    return 1.0 if label.dtype.kind == "f" else 1 / fit_temperature(scores, label)


def run_trial(
    learner: Learner[object],
    folds: InnerFolds,
    rival: np.ndarray | None,
    is_late: Callable[[int], bool] = lambda _: False,
) -> Outcome:
    """Try a learner on one fold after the other.

    Args:
        learner: Under the settings.
        folds: Of the training rows.
        rival: Calibrated scores [N, C] of the best whole trial of the same learner; None never gives up.
        is_late: Told how many folds are done, whether there is no time for the others.

    Raises:
        FloatingPointError: If it gives numbers that are not finite.
    """
    label = folds.held_label
    joined: dict[float, np.ndarray] = {}
    seen = np.zeros(len(label), bool)
    losses: list[float] = []
    setting = 0.0
    for k in range(folds.count):
        held = folds.held_in(k)
        for one, scores in folds.try_out(learner, k).items():
            if not np.isfinite(scores).all():
                raise FloatingPointError("it gives numbers that are not finite")
            joined.setdefault(one, np.empty((len(label), scores.shape[1])))[held] = scores
        seen |= held
        setting = least_setting({one: scores[seen] for one, scores in joined.items()}, label[seen])
        mine = joined[setting][seen]
        mine = mine * sharpness(mine, label[seen])
        losses.append(loss(mine, label[seen]))
        if k + 1 == folds.count:
            return Outcome("whole", tuple(losses), setting, joined[setting])
        if rival is not None and _is_behind(mine, rival[seen], label[seen]):
            return Outcome("pruned", tuple(losses))
        if is_late(k + 1):
            break
    return Outcome("late", tuple(losses))


def _is_behind(mine: np.ndarray, rival: np.ndarray, label: np.ndarray) -> bool:
    """Whether the rows leave little doubt: the paired difference of losses is above its error."""
    difference = row_losses(mine, label) - row_losses(rival, label)
    return bool(difference.mean() > BEHIND * difference.std() / np.sqrt(len(difference)))
