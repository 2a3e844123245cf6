"""What a learner is: tried under some settings on held-out rows, then fitted with the one that they choose."""

# N rows, C outputs

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from ludocast.datamodules.preprocess import Encoded
from ludocast.models.calibration import loss

NOTICEABLE = 5e-4  # share of the loss: what gains less is not worth its time at inference
Model = TypeVar("Model", covariant=True)
Setting = float | tuple[float, ...]  # of several labels one each, where they may differ
Measure = Callable[[np.ndarray, np.ndarray], float]  # from scores [N, C] and labels [N] to a mean loss


@dataclass(frozen=True)
class Learner(Generic[Model]):
    """A candidate.

    Attributes:
        try_out: From training rows and held-out rows to the held-out rows' scores [N, C] under each setting, the
            cheapest first. Scores are logits, of two classes that of the second; or scaled numbers.
        fit: From training rows and a setting (a `Setting` of several labels, else a number) to the fitted candidate.
        hold_out: From training rows and their folds to the scores of each by a candidate that was fitted without its
            fold, under each setting; None where the folds are tried out one after the other.
        only: The setting, where there is just one: the candidate that is kept then answers for held-out rows itself.
        calibrated: Whether its scores are log odds as they come, of what minimises the log loss itself; those of others
            are calibrated before they are weighed.
        together: Whether all processes that train together try and fit it, or the first alone.
    """

    try_out: Callable[[Encoded, np.ndarray, Encoded, np.ndarray], Mapping[float, np.ndarray]]
    fit: Callable[[Encoded, np.ndarray, Any], Model]
    hold_out: Callable[[Encoded, np.ndarray, np.ndarray], Mapping[float, np.ndarray]] | None = None
    only: float | None = None
    calibrated: bool = False
    together: bool = False


@dataclass(frozen=True)
class HeldOut:
    """What was seen on rows that no candidate was fitted on.

    Attributes:
        logits: Scores of each candidate, float64 [N, C].
        label: int64 [N], of several labels [N, L], or scaled numbers, float64 [N].
        protocol: In words.
    """

    logits: Mapping[str, np.ndarray]
    label: np.ndarray
    protocol: str


def held_out_rows(logits: Mapping[str, np.ndarray], label: np.ndarray, folds: int | None) -> HeldOut:
    """The same, its protocol told.

    Args:
        logits: Scores of each candidate, float64 [N, C].
        label: Of the rows.
        folds: In how many parts the training rows were held out; None where other rows were, for good.
    """
    what = "validation rows" if folds is None else f"training rows, held out in {folds} folds"
    return HeldOut(logits, label, f"{len(label):,} {what}")


def blended(logits: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """The weighted sum of the candidates' scores, [N, C]."""
    return np.asarray(np.sum([weights[name] * logits[name] for name in weights if weights[name] > 0], axis=0))


def try_in_turn(
    learner: Learner[object], encoded: Encoded, label: np.ndarray, fold: np.ndarray
) -> Mapping[float, np.ndarray]:
    """Scores [N, C] of all rows under each setting, each row's by a candidate that was fitted without its fold."""
    joined: dict[float, np.ndarray] = {}
    for held, tried in fold_steps(learner, encoded, label, fold):
        join(joined, held, tried)
    return joined


def fold_steps(
    learner: Learner[object], encoded: Encoded, label: np.ndarray, fold: np.ndarray
) -> Iterator[tuple[np.ndarray, Mapping[float, np.ndarray]]]:
    """Fold by fold, or all at once where the learner can: which rows are held out, bool [N], and their scores."""
    if learner.hold_out is not None:
        yield np.ones(len(label), bool), learner.hold_out(encoded, label, fold)
        return
    for k in range(int(fold.max()) + 1):
        held, inside = fold == k, np.flatnonzero(fold != k)
        yield held, learner.try_out(encoded.rows(inside), label[inside], encoded.rows(held), label[held])


def join(joined: dict[float, np.ndarray], held: np.ndarray, tried: Mapping[float, np.ndarray]) -> None:
    """Put scores of some rows, bool [N], where those of all rows are gathered, by setting float64 [N, C]."""
    for setting, scores in tried.items():
        joined.setdefault(setting, np.empty((len(held), scores.shape[1])))[held] = scores


def least_setting(settings: Mapping[float, np.ndarray], label: np.ndarray, measure: Measure = loss) -> float:
    """The first setting whose loss is not noticeably above the lowest; of boosting, that with the fewest rounds.

    Args:
        settings: Setting to scores float64 [N, C] on held-out rows, the cheapest first.
        label: int64 [N], or scaled numbers, float64 [N].
        measure: Mean loss of scores, the lower the better.

    Raises:
        FloatingPointError: If no setting's loss is a finite number.
    """
    every = {setting: measure(scores, label) for setting, scores in settings.items()}
    losses = {setting: one for setting, one in every.items() if np.isfinite(one)}
    if not losses:
        raise FloatingPointError("it gives numbers that are not finite")
    limit = min(losses.values()) * (1 + NOTICEABLE)
    return next(setting for setting, one in losses.items() if one <= limit)


def chosen_setting(
    settings: Mapping[float, np.ndarray], label: np.ndarray, measure: Measure = loss
) -> tuple[Setting, np.ndarray]:
    """What `least_setting` gives, of several labels for each by itself; and the scores [N, C] under it.

    Args:
        settings: As of `least_setting`.
        label: The same, or of several labels int64 [N, L].
        measure: The same, of one label.

    Raises:
        FloatingPointError: As `least_setting`.
    """
    if label.ndim == 1:
        setting = least_setting(settings, label, measure)
        return setting, settings[setting]
    each = tuple(
        least_setting({setting: scores[:, [k]] for setting, scores in settings.items()}, one, measure)
        for k, one in enumerate(label.T)
    )
    return each, np.stack([settings[setting][:, k] for k, setting in enumerate(each)], axis=1)


def one_setting(
    fit: Callable[[Encoded, np.ndarray, float], Model],
    scores: Callable[[Model, Encoded], np.ndarray],
    settings: Sequence[float] = (0.0,),
) -> Learner[Model]:
    """A learner that is fitted anew for each of its settings."""

    def try_out(
        encoded: Encoded, label: np.ndarray, held: Encoded, held_label: np.ndarray  # noqa: ARG001
    ) -> Mapping[float, np.ndarray]:  # fmt: skip
        return {setting: scores(fit(encoded, label, setting), held) for setting in settings}

    return Learner(try_out, fit, only=settings[0] if len(settings) == 1 else None)
