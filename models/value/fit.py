"""A model of amounts: each learner tried on held-out rows, the best or a blend kept, its sum made that of the rows.

They are judged by the Tweedie deviance of power 1.5 (`number_loss.tweedie_deviances`): one number that is least for
the true mean, so it asks for the right ranking and the right sums, and is not decided by the few largest amounts.
"""

# N rows

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
from ludocast.datamodules.fit_preprocessing import fit_preprocessing
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.number_label import strata
from ludocast.datamodules.schema import Schema
from ludocast.datamodules.split import folds
from ludocast.models.blend import blend_weights
from ludocast.models.conformal import fit_ratios
from ludocast.models.fitted import FittedNumbers
from ludocast.models.learner import HeldOut, blended
from ludocast.models.number_loss import LEAST
from ludocast.models.table.deep import AS_USUAL, Training
from ludocast.models.table.fit import Combine, FittedTable, Row
from ludocast.models.table.learners import Job
from ludocast.models.table.prepared import FOLDS, Learned
from ludocast.models.value.learners import LEARNERS, Candidate, mean_deviance, value_learner_names
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
    mean = float(label.mean())
    # What the inputs are made by is tame: a category's mean logarithm tells more than its few largest amounts.
    preprocessing, encoded = fit_preprocessing(schema, columns, np.log1p(label / mean), seed, rare)
    held = None if validation is None else (preprocessing.encode(validation[0]), validation[1] / mean)
    fold = folds(_strata(label), seed, FOLDS) if held is None else None
    rows = Rows(encoded, label / mean, fold, held)
    found, board = _try_all(value_learner_names(names), rows, Job(preprocessing, 0, seed, training=training), say)
    if not found:
        raise ValueError(f"no learner could be fitted ({'; '.join(f'{row.learner}: {row.failed}' for row in board)})")
    amount = rows.held_amount
    what = "validation rows" if fold is None else f"training rows, held out in {FOLDS} folds"
    scores = {name: np.maximum(candidate.held_out, LEAST)[:, None] for name, candidate in found.items()}
    held_out = HeldOut(scores, amount, f"{len(amount):,} {what}")
    # Each is judged as it would be served: its sum that of the rows.
    factors = {name: amount.sum() / one.sum() for name, one in scores.items()}
    right = {name: one * factors[name] for name, one in scores.items()}
    losses = {name: mean_deviance(one, amount) for name, one in right.items()}
    best = min(losses, key=lambda name: losses[name])
    weights = {name: float(name == best) for name in losses}
    if combine == "blend" and len(losses) > 1:
        weights = blend_weights(right, amount, mean_deviance)

    def whole(of: Mapping[str, float]) -> FittedNumbers:
        used = {name: weight * factors[name] for name, weight in of.items() if weight > 0}
        blend = blended(scores, used)[:, 0]
        used = {name: float(weight * amount.sum() / blend.sum()) for name, weight in used.items()}
        interval = fit_ratios(blended(scores, used)[:, 0], amount)
        models = Learned({name: found[name].model for name in used})
        return FittedNumbers(schema, preprocessing, models, used, 0.0, mean, interval)

    every = {name: whole({name: 1.0}) for name in sorted(losses, key=lambda name: losses[name])}
    # In the label's unit, of which a deviance of power 1.5 has the root.
    shown = {name: one * float(np.sqrt(mean)) for name, one in losses.items()}
    told = [Row(row.learner, shown.get(row.learner), None, row.seconds, row.failed) for row in board]
    told.sort(key=lambda row: np.inf if row.loss is None else row.loss)
    return FittedTable(whole(weights), every, held_out, tuple(told))


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
    for name in names:
        say(f"training {name}")
        start, failed = time.monotonic(), ""
        try:
            candidate = LEARNERS[name](rows, job)
            if not np.isfinite(candidate.held_out).all():
                raise FloatingPointError("it gives numbers that are not finite")
            found[name] = candidate
        except Exception as error:  # of whatever kind: one learner's failure is no reason to lose the others
            failed = (str(error).splitlines() or [type(error).__name__])[0]
            say(f"note: {name} failed, the others go on: {failed}")
        board.append(Row(name, None, None, time.monotonic() - start, failed))
    return found, board
