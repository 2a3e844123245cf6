"""A model of a table by any of the learners: each tried on held-out rows, the best or a blend of them kept."""

# N rows, C outputs

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeVar

import numpy as np
from ludocast.datamodules.errors import first_line
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.preprocess import Encoded, Preprocessing
from ludocast.datamodules.row_group_loader import TrainingStream
from ludocast.datamodules.row_groups import StreamedTable
from ludocast.datamodules.schema import Schema
from ludocast.models.blend import blend_weights
from ludocast.models.calibration import loss as usual_loss
from ludocast.models.fitted import Fitted
from ludocast.models.learner import HeldOut, Learner, Measure, Setting, chosen_setting, held_out_rows, try_in_turn
from ludocast.models.number_loss import SQUARED, NumberLoss
from ludocast.models.ranks import NotFirstError, Ranks
from ludocast.models.table.deep import AS_USUAL, Training
from ludocast.models.table.goal import Sharpness
from ludocast.models.table.learners import job_of, learner_names, learners
from ludocast.models.table.model import Model
from ludocast.models.table.prepared import prepare
from ludocast.models.threads import threads_for
from ludocast.models.trainer import ALONE

Combine = Literal["best", "blend"]
Candidate = TypeVar("Candidate")


@dataclass(frozen=True)
class Row:
    """A learner on the leaderboard of held-out rows.

    Attributes:
        learner: Its name.
        loss: Mean log loss, or that of a number in the label's unit, of the squared one its root; None where it failed.
        setting: The one that was chosen; of several labels that of each.
        seconds: It took to try and to fit.
        failed: Why it is not there, "" where it is.
    """

    learner: str
    loss: float | None
    setting: Setting | None
    seconds: float
    failed: str = ""


@dataclass(frozen=True)
class FittedTable:
    """What came of the learners.

    Attributes:
        model: What goes into the bundle: the best learner, or a blend.
        every: Each learner by itself, in the same order as on the leaderboard.
        held_out: Scores of the learners on rows that they were not fitted on.
        leaderboard: The best first.
    """

    model: Fitted
    every: Mapping[str, Fitted]
    held_out: HeldOut
    leaderboard: tuple[Row, ...]


def fit_table(
    schema: Schema,
    columns: RawColumns,
    label: np.ndarray,
    validation: tuple[RawColumns, np.ndarray] | None,
    *,
    names: str | Sequence[str] = "all",
    combine: Combine = "blend",
    seed: int = 0,
    rare: int = 0,
    points: int = 10_000,
    prototypes: int = 0,
    training: Training = AS_USUAL,
    loss: NumberLoss = SQUARED,
    stream: StreamedTable | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> FittedTable:
    """Try learners on held-out rows, and fit them on all training rows.

    Args:
        schema: The table's schema; without classes the label is a number.
        columns: Raw columns of the training rows.
        label: Class index, int64 [N], of several labels 0 or 1, int64 [N, L], or numbers, float64 [N].
        validation: Raw columns and labels of rows held out for good; None: each training row is held out once.
        names: Of learners, a text as `learner_names` reads it, or keys of `LEARNERS`.
        combine: Whether the best one is taken, or a blend by weights.
        seed: Of everything random.
        rare: Values of fewer training rows are not kept.
        points: Rows that nearest neighbours keep at most.
        prototypes: Centres in place of these rows; 0 for none.
        training: Of the network.
        loss: By which a number is predicted; of amounts no label is below 0.
        stream: More training rows, of which those above are a sample: the network learns from all of them, everything
            else from the sample. It needs `validation`.
        say: Is told what happens.

    Raises:
        ValueError: If there is no such learner, all fail, or a text column has too many values for `stream`.
        NotFirstError: In all processes but the first, once the network is trained, which all do together.
    """
    ready = prepare(schema, columns, label, validation, seed, rare, loss)
    more = None if stream is None else _training_stream(stream, ready.preprocessing)
    network = replace(training, shown=ready.held, stream=more)
    job = job_of(schema, ready.preprocessing, seed, points, prototypes, network, loss)
    every = learners(learner_names(names, len(schema.classes), loss) if isinstance(names, str) else names, job)
    ranks, goal = training.settings.ranks, ready.goal
    with threads_for(ready.encoded.size):
        found = try_all(every, ready.encoded, ready.label, ready.held, ready.folds(seed), say, ranks, goal.measure)
    if not ranks.is_first:
        raise NotFirstError
    check_some(found.rows)
    held_out = found.held_out
    # Each is judged as it would be served, calibrated: margins and naive odds are not probabilities.
    sharp = {name: goal.sharpness(scores, held_out.label) for name, scores in held_out.logits.items()}
    losses = {name: goal.measure(scores * sharp[name], held_out.label) for name, scores in held_out.logits.items()}
    best = min(losses, key=lambda name: losses[name])
    parts, scale = {name: float(name == best) for name in losses}, dict[str, Sharpness]()
    if combine == "blend" and len(losses) > 1:
        scale = {name: 1.0 if every[name].calibrated else sharp[name] for name in losses}
        scores = {name: one * scale[name] for name, one in held_out.logits.items()}
        parts = blend_weights(scores, held_out.label, goal.measure)
    ordered = sorted(losses, key=lambda name: losses[name])
    shown = {name: goal.in_unit(one) for name, one in losses.items()}
    return FittedTable(
        ready.assembled(found.models, parts, held_out, scale),
        {name: ready.assembled(found.models, {name: 1.0}, held_out) for name in ordered},
        held_out,
        ranked(replace(row, loss=shown.get(row.learner)) for row in found.rows),
    )


def check_some(rows: Sequence[Row]) -> None:
    """Refuse to go on without a learner.

    Raises:
        ValueError: If all failed, with the reasons.
    """
    failed = [f"{row.learner}: {row.failed}" for row in rows if row.failed]
    if len(failed) == len(rows):
        raise ValueError(f"no learner could be fitted ({'; '.join(failed)})")


def ranked(rows: Iterable[Row]) -> tuple[Row, ...]:
    """The best first, those without a loss last."""
    return tuple(sorted(rows, key=lambda row: np.inf if row.loss is None else row.loss))


def _training_stream(stream: StreamedTable, preprocessing: Preprocessing) -> TrainingStream:
    if preprocessing.network_means:
        raise ValueError(
            f'column "{preprocessing.network_means[0]}" is text with so many values that the network reads their mean '
            "labels, which hold a row's own label where it is one of the sample; leave it out with --exclude, or have "
            "all training rows in memory by a higher --most-rows"
        )
    return TrainingStream(stream, preprocessing)


@dataclass(frozen=True)
class Found:
    """What came of trying them.

    Attributes:
        models: Those that were fitted.
        held_out: Their scores on held-out rows.
        rows: Of the leaderboard, losses not told yet.
    """

    models: Mapping[str, Model]
    held_out: HeldOut
    rows: tuple[Row, ...]


def try_all(
    every: Mapping[str, Learner[Model]],
    encoded: Encoded,
    label: np.ndarray,
    held: tuple[Encoded, np.ndarray] | None,
    fold: np.ndarray | None,
    say: Callable[[str], None],
    ranks: Ranks = ALONE,
    measure: Measure = usual_loss,
) -> Found:
    """Try and fit all learners; one that fails is left out, with the reason.

    Args:
        every: By name.
        encoded: The training rows.
        label: Of these, int64 [N], of several labels [N, L], or scaled numbers, float64 [N].
        held: Rows held out for good, with their label.
        fold: Where there are none, the fold that holds each training row out, int64 [N].
        say: Is told what happens.
        ranks: The processes; all but the first try only what they train together, and there no failure is survived.
        measure: By which a setting is chosen.
    """
    held_label = label if held is None else held[1]
    models: dict[str, Model] = {}
    logits: dict[str, np.ndarray] = {}
    rows = []
    for name, learner in every.items():
        if not (ranks.is_first or learner.together):
            continue
        attempt = partial(_try, learner, encoded, label, held, fold, measure)
        done, row = attempted(name, attempt, say, survives=ranks.world == 1)
        rows.append(row)
        if done is not None:
            models[name], logits[name] = done
    folds = None if fold is None else int(fold.max()) + 1
    return Found(models, held_out_rows(logits, held_label, folds), tuple(rows))


def attempted(
    name: str,
    attempt: Callable[[], tuple[Candidate, Setting | None, np.ndarray]],
    say: Callable[[str], None],
    *,
    survives: bool = True,
) -> tuple[tuple[Candidate, np.ndarray] | None, Row]:
    """What a learner gives, None where it fails, and its row, the loss not told yet.

    Args:
        name: Of the learner.
        attempt: Gives what was fitted, its setting, and its scores of held-out rows.
        say: Is told what happens.
        survives: Whether a failure is told, or raised.
    """
    say(f"training {name}")
    start = time.monotonic()
    try:
        model, setting, scores = attempt()
        if not np.isfinite(scores).all():
            raise FloatingPointError("it gives numbers that are not finite")
        return (model, scores), Row(name, None, setting, time.monotonic() - start)
    except Exception as error:  # of whatever kind: one learner's failure is no reason to lose the others
        if not survives or isinstance(error, OSError):  # the disk is not the learner's
            raise
        reason = first_line(error)
        say(f"note: {name} failed, the others go on: {reason}")
        return None, Row(name, None, None, time.monotonic() - start, reason)


def _try(
    learner: Learner[Model],
    encoded: Encoded,
    label: np.ndarray,
    held: tuple[Encoded, np.ndarray] | None,
    fold: np.ndarray | None,
    measure: Measure,
) -> tuple[Model, Setting, np.ndarray]:
    """The fitted learner, its setting, and its scores [N, C] on held-out rows under that."""
    if held is not None and learner.only is not None:
        model = learner.fit(encoded, label, learner.only)
        return model, learner.only, model.scores(held[0])
    if held is not None:
        tried, known = learner.try_out(encoded, label, *held), held[1]
    else:
        assert fold is not None
        tried, known = try_in_turn(learner, encoded, label, fold), label
    setting, scores = chosen_setting(tried, known, measure)
    return learner.fit(encoded, label, setting), setting, scores
