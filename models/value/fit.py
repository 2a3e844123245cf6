"""A model of amounts: each learner tried on held-out rows, the best or a blend kept, its sum made that of the rows.

They are judged by the Tweedie deviance of power 1.5 (`number_loss.tweedie_deviances`): one number that is least for
the true mean, so it asks for the right ranking and the right sums, and is not decided by the few largest amounts.
"""

# N rows

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.number_label import strata
from ludocast.datamodules.schema import Schema
from ludocast.datamodules.split import folds
from ludocast.models.blend import blend_weights
from ludocast.models.conformal import fit_ratios
from ludocast.models.fitted import FittedNumbers
from ludocast.models.learner import blended, held_out_rows
from ludocast.models.number_loss import LEAST
from ludocast.models.table.deep import AS_USUAL, Training
from ludocast.models.table.fit import Combine, FittedTable, Row, attempted, check_some, ranked
from ludocast.models.table.learners import Job
from ludocast.models.table.prepared import FOLDS, Learned, prepare
from ludocast.models.threads import threads_for
from ludocast.models.value.learners import LEARNERS, TWEEDIE, Candidate, value_learner_names
from ludocast.models.value.rows import Rows


def fit_value(
    schema: Schema,
    columns: RawColumns,
    label: np.ndarray,
    validation: tuple[RawColumns, np.ndarray] | None,
    *,
    names: str = "all",
    combine: Combine = "blend",
    seed: int = 0,
    rare: int = 0,
    training: Training = AS_USUAL,
    say: Callable[[str], None] = lambda _: None,
) -> FittedTable:
    """Try learners of amounts on held-out rows, and fit them on all training rows.

    Args:
        schema: The table's schema, without classes.
        columns: Raw columns of the training rows.
        label: Amounts, 0 or more, float64 [N].
        validation: Raw columns and amounts of rows held out for good; None: each training row is held out once.
        names: Of learners, see `value_learner_names`.
        combine: Whether the best one is taken, or a blend by weights.
        seed: Of everything random.
        rare: Values of fewer training rows are not kept.
        training: Of the network.
        say: Is told what happens.

    Raises:
        ValueError: If there is no such learner, or all fail.
    """
    ready = prepare(schema, columns, label, validation, seed, rare, TWEEDIE)
    preprocessing, mean = ready.preprocessing, float(label.mean())
    fold = folds(_strata(label), seed, FOLDS) if ready.held is None else None
    rows = Rows(ready.encoded, ready.label, fold, ready.held)
    with threads_for(ready.encoded.size):
        found, board = _try_all(value_learner_names(names), rows, Job(preprocessing, 0, seed, training=training), say)
    check_some(board)
    amount = rows.held_amount
    scores = {name: np.maximum(candidate.held_out, LEAST)[:, None] for name, candidate in found.items()}
    held_out = held_out_rows(scores, amount, None if fold is None else FOLDS)
    # Each is judged as it would be served: its sum that of the rows.
    factors = {name: amount.sum() / one.sum() for name, one in scores.items()}
    right = {name: one * factors[name] for name, one in scores.items()}
    losses = {name: TWEEDIE.of_scores(one, amount) for name, one in right.items()}
    best = min(losses, key=lambda name: losses[name])
    weights = {name: float(name == best) for name in losses}
    if combine == "blend" and len(losses) > 1:
        weights = blend_weights(right, amount, TWEEDIE.of_scores)

    def whole(of: Mapping[str, float]) -> FittedNumbers:
        used = {name: weight * factors[name] for name, weight in of.items() if weight > 0}
        blend = blended(scores, used)[:, 0]
        used = {name: float(weight * amount.sum() / blend.sum()) for name, weight in used.items()}
        interval = fit_ratios(blended(scores, used)[:, 0], amount)
        models = Learned({name: found[name].model for name in used})
        return FittedNumbers(schema, preprocessing, models, used, 0.0, mean, interval, TWEEDIE)

    every = {name: whole({name: 1.0}) for name in sorted(losses, key=lambda name: losses[name])}
    shown = {name: TWEEDIE.in_unit(one, mean) for name, one in losses.items()}
    told = ranked(replace(row, loss=shown.get(row.learner)) for row in board)
    return FittedTable(whole(weights), every, held_out, told)


def _strata(label: np.ndarray) -> np.ndarray:
    """What folds keep in proportion, int64 [N]: those of nothing, and tenths of the others."""
    found = np.zeros(len(label), np.int64)
    found[label > 0] = 1 + strata(label[label > 0])
    return found


def _try_all(
    names: tuple[str, ...], rows: Rows, job: Job, say: Callable[[str], None]
) -> tuple[dict[str, Candidate], list[Row]]:
    """Candidates by name, and a row each; one that fails has a row that says why."""
    found, board = {}, []

    def attempt(name: str) -> tuple[Candidate, None, np.ndarray]:
        candidate = LEARNERS[name](rows, job)
        return candidate, None, candidate.held_out

    for name in names:
        done, row = attempted(name, partial(attempt, name), say)
        board.append(row)
        if done is not None:
            found[name], _ = done
    return found, board
