"""A search over learners and their settings within a budget, and the ensemble that comes of it.

First each learner is tried as it is without a search, the cheapest first; then under settings that have proved good
elsewhere; then under settings that Optuna draws, the better learners more often. Which trial comes next follows from
the seed and the trials so far alone, so a search that was killed goes on as if it had not been.
"""

# N rows, C outputs

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from ludocast.datamodules.errors import first_line
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.schema import Schema
from ludocast.models.blend import blend_weights
from ludocast.models.learner import held_out_rows
from ludocast.models.number_loss import SQUARED, NumberLoss
from ludocast.models.table.deep import AS_USUAL, Training
from ludocast.models.table.fit import FittedTable, Row, ranked
from ludocast.models.table.kernel import EXACT_ROWS
from ludocast.models.table.learners import Job, job_of, learner_names
from ludocast.models.table.model import Model
from ludocast.models.table.prepared import FOLDS, Prepared, prepare
from ludocast.models.table.search_store import TrialStore, draw_settings
from ludocast.models.table.spaces import SPACES, Settings, learner_under
from ludocast.models.table.trials import (
    InnerFolds,
    LateError,
    Outcome,
    Trial,
    refit_share,
    run_trial,
    with_deadline,
)
from ludocast.models.threads import threads_for

# What is tried before the other learners: a name, and which of its first settings, 0 for none. The cheap ones, and what
# wins most tables; svm and knn are cheap where rows are few.
CHEAP = (("linear", 0), ("logistic", 0), ("naive_bayes", 0))
CHEAP_OF_FEW = (("knn", 0), ("svm", 0))
STRONG = (("boosting", 0), ("boosting", 1), ("boosting", 2), ("catboost", 0), ("neural", 0), ("svm", 0), ("forest", 0))
LAST = "network"  # the dearest
GAP = 0.05  # a learner whose loss is by this share above the lowest is drawn 1/e times as often as the best
MANY_ROWS = 4_000  # from which on fewer folds tell enough, in half of the time
FOLDS_OF_MANY = 3
FAR = 0.25  # a learner whose loss is by more than this share above the lowest is given up at once
MEMBERS = 5  # the ensemble weighs the best trials of so many learners


@dataclass(frozen=True)
class Budget:
    """When a search ends: by whichever comes first.

    Attributes:
        seconds: Of wall clock for all, the fitting of the ensemble among it.
        trials: Number of trials.
    """

    seconds: float | None = None
    trials: int | None = None


@dataclass(frozen=True)
class Searched:
    """What came of a search.

    Attributes:
        found: The ensemble, and its members by themselves.
        trials: All, in order.
        shares: Of the ensemble's members by their calibrated scores; the sum is 1.
    """

    found: FittedTable
    trials: tuple[Trial, ...]
    shares: Mapping[str, float]


def search_table(
    schema: Schema,
    columns: RawColumns,
    label: np.ndarray,
    validation: tuple[RawColumns, np.ndarray] | None,
    budget: Budget,
    *,
    names: str | Sequence[str] = "all",
    seed: int = 0,
    rare: int = 0,
    points: int = 10_000,
    prototypes: int = 0,
    training: Training = AS_USUAL,
    loss: NumberLoss = SQUARED,
    folder: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Searched:
    """Search, choose an ensemble on held-out rows, and fit its members on all training rows.

    With a number of trials and no seconds, equal seeds give equal results.

    Args:
        schema: The table's schema; without classes the label is a number.
        columns: Raw columns of the training rows.
        label: Class index, int64 [N], of several labels 0 or 1, int64 [N, L], or numbers, float64 [N].
        validation: Raw columns and labels of rows held out for good; None: each training row is held out once.
        budget: When to end.
        names: Of learners, a text as `learner_names` reads it, or keys of `LEARNERS`.
        seed: Of everything random.
        rare: Values of fewer training rows are not kept.
        points: Rows that nearest neighbours keep at most.
        prototypes: Centres in place of these rows; 0 for none.
        training: Of the network.
        loss: By which a number is predicted; of amounts no label is below 0.
        folder: Where trials are kept, and those of a search that was stopped are taken up; None keeps none.
        say: Is told what happens.

    Raises:
        ValueError: If there is no such learner, none could be fitted, or the budget was over before one was tried.
    """
    wanted = learner_names(names, len(schema.classes), loss) if isinstance(names, str) else names
    start = time.monotonic()
    prepared = prepare(schema, columns, label, validation, seed, rare, loss)
    job = job_of(schema, prepared.preprocessing, seed, points, prototypes, training, loss)
    fold = prepared.folds(seed, FOLDS if len(label) < MANY_ROWS else FOLDS_OF_MANY)
    inner = InnerFolds(prepared.goal, prepared.encoded, prepared.label, fold, prepared.held)
    with contextlib.ExitStack() as stack:
        place = folder if folder is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(threads_for(prepared.encoded.size))
        return _Search(prepared, inner, job, wanted, budget, TrialStore(place), say, start).run()


@dataclass
class _Search:
    """A search at work."""

    prepared: Prepared
    folds: InnerFolds
    job: Job
    names: Sequence[str]
    budget: Budget
    store: TrialStore
    say: Callable[[str], None]
    start: float
    trials: list[Trial] = field(default_factory=list)
    before: float = 0.0  # seconds of the search before it was stopped

    def run(self) -> Searched:
        """Trials until the budget is over; then the ensemble."""
        self.trials = self.store.trials()
        self.before = self.trials[-1].elapsed if self.trials else 0.0
        if self.trials:
            self.say(f"going on after {len(self.trials)} trials")
        while self.budget.trials is None or len(self.trials) < self.budget.trials:
            following = self._following()
            if following is None:
                if self.left() > 0:
                    self.say("no learner has settings left to try in the time there is")
                break
            self._try(*following)
        return self._end()

    def elapsed(self) -> float:
        """Seconds of the search so far."""
        return self.before + time.monotonic() - self.start

    def left(self) -> float:
        """Seconds left for trials: what the best ones so far take to be fitted on all rows is put aside."""
        if self.budget.seconds is None:
            return float("inf")
        refit = sum(one.seconds * self._refit_share(one.learner) for one in _candidates(self._whole()))
        return self.budget.seconds - self.elapsed() - refit

    def _refit_share(self, name: str) -> float:
        return refit_share(learner_under(name, self.job, {}), self.folds)

    def _whole(self) -> list[Trial]:
        return [one for one in self.trials if one.state == "whole"]

    def _following(self) -> tuple[str, Settings] | None:
        """Learner and settings of the trial to come; None where there is none that the time would do for."""
        if self.trials and self.left() <= 0:
            return None
        tried = {(one.learner, tuple(sorted(one.settings.items()))) for one in self.trials}
        # Of a learner not tried yet nobody knows how long it takes: it gets a chance where the dearest so far would.
        dear = any(one.seconds > self.left() for one in self._whole())
        for name, settings in first_trials(self.names, len(self.prepared.label)):
            alone = next((one for one in self.trials if one.learner == name and not one.settings), None)
            is_known = alone is not None and alone.state == "whole" and alone.seconds <= self.left()
            out = not is_known if settings else dear
            if (name, tuple(sorted(settings.items()))) not in tried and not out:
                return name, settings
        number = len(self.trials) + 1
        losses = self._tunable()
        if not losses:
            return None
        names, lowest = list(losses), max(min(losses.values()), np.finfo(float).tiny)
        weight = np.exp([-(losses[name] / lowest - 1) / GAP for name in names])
        drawn = np.random.default_rng([self.job.seed, number]).choice(len(names), p=weight / weight.sum())
        name = names[int(drawn)]
        return name, draw_settings(name, self.trials, self.job.seed, number)

    def _tunable(self) -> dict[str, float]:
        """Learners with settings to draw that take no longer than the time that is left, and their lowest losses."""
        left, found = self.left(), dict[str, float]()
        for one in self.trials:
            if one.learner in SPACES and one.state in ("whole", "pruned") and one.seconds <= left:
                found[one.learner] = min(one.losses[-1], found.get(one.learner, np.inf))
        return found

    def _try(self, name: str, settings: Settings) -> None:
        number = len(self.trials) + 1
        job = replace(self.job, seed=(self.job.seed + number - 1) % 2**32)
        begin, may_take = time.monotonic(), self.left() / (1 + self._refit_share(name))
        if self.budget.seconds is not None:
            job = replace(job, training=with_deadline(job.training, may_take))

        failed = ""
        outcome = Outcome("failed", ())
        try:
            rival, allowed = self._rival(name, settings)
            outcome = run_trial(learner_under(name, job, settings), self.folds, rival, may_take, allowed)
        except LateError:
            outcome = Outcome("late", ())
        except Exception as error:  # of whatever kind: one learner's failure is no reason to lose the others
            if isinstance(error, OSError):  # the disk is not the learner's
                raise
            failed = first_line(error)
        seconds = time.monotonic() - begin
        trial = Trial(
            number, name, settings, outcome.state, outcome.losses, outcome.setting, seconds, self.elapsed(), failed
        )
        self.store.add(trial, outcome.scores)
        self.trials.append(trial)
        self.say(self._told(trial))

    def _rival(self, name: str, settings: Settings) -> tuple[np.ndarray | None, float]:
        """Calibrated scores of the learner's best trial, or of the best of all; and what is allowed."""
        own = [one for one in self._whole() if one.learner == name and settings]
        known = own if own else self._whole()
        if not known:
            return None, 0.0
        scores = self.store.scores(min(known, key=lambda one: one.loss).number)
        return scores * self.folds.goal.sharpness(scores, self.folds.held_label), 0.0 if own else FAR

    def _told(self, trial: Trial) -> str:
        best = min(self._whole(), key=lambda one: one.loss, default=None)
        what = {
            "whole": f"{self._shown(trial.loss):.4g}",
            "pruned": "given up, behind another",
            "failed": f"failed: {trial.failed}",
            "late": "given up, no time left for it",
        }[trial.state]
        so_far = "" if best is None else f"   best {self._shown(best.loss):.4g} ({best.name})"
        left = "" if self.budget.seconds is None else f"   {max(self.left(), 0):.0f} s left"
        return f"trial {trial.number:<4} {trial.learner:<12} {trial.seconds:6.1f} s   {what}{so_far}{left}"

    def _shown(self, loss: float) -> float:
        """Log loss, or that of a number in the label's unit, of the squared one its root."""
        return self.folds.goal.in_unit(loss)

    def _end(self) -> Searched:
        whole, folds = self._whole(), self.folds
        if not whole:
            raise ValueError(self._nothing())
        untried = [name for name in self.names if name not in {one.learner for one in self.trials}]
        if untried:
            self.say(f"note: the budget was over before {', '.join(untried)} had been tried")
        candidates = _candidates(whole)
        scores = {one.name: self.store.scores(one.number) for one in candidates}
        sharp = {name: folds.goal.sharpness(one, folds.held_label) for name, one in scores.items()}
        calibrated = {name: one * sharp[name] for name, one in scores.items()}
        found = blend_weights(calibrated, folds.held_label, folds.goal.measure)
        parts = {name: part for name, part in found.items() if part > 0}
        members = [one for one in candidates if one.name in parts]
        self.say("fitting " + ", ".join(f"{one.name} ({parts[one.name]:.0%})" for one in members) + " on all rows")
        models = {one.name: self._fit(one) for one in members}
        kept = {name: scores[name] for name in parts}
        held_out = held_out_rows(kept, folds.held_label, None if folds.fold is None else folds.count)
        every = {
            one.name: self.prepared.assembled(models, {one.name: 1.0}, held_out)
            for one in sorted(members, key=lambda one: one.loss)
        }
        model = self.prepared.assembled(models, parts, held_out, sharp)
        return Searched(FittedTable(model, every, held_out, self._leaderboard()), tuple(self.trials), parts)

    def _fit(self, trial: Trial) -> Model:
        assert trial.setting is not None
        job = replace(self.job, seed=(self.job.seed + trial.number - 1) % 2**32)
        return learner_under(trial.learner, job, trial.settings).fit(
            self.prepared.encoded, self.prepared.label, trial.setting
        )

    def _leaderboard(self) -> tuple[Row, ...]:
        """The best trial of each learner."""
        rows = []
        for name in dict.fromkeys(one.learner for one in self.trials):
            own = [one for one in self.trials if one.learner == name]
            best = min(own, key=lambda one: one.loss)
            seconds = sum(one.seconds for one in own)
            loss = self._shown(best.loss) if best.state == "whole" else None
            rows.append(Row(name, loss, best.setting, seconds, "" if loss is not None else reason(best)))
        return ranked(rows)

    def _nothing(self) -> str:
        reasons = "; ".join(dict.fromkeys(f"{one.learner}: {one.failed}" for one in self.trials if one.failed))
        if self.budget.seconds is None or not any(one.state == "late" for one in self.trials):
            return f"no learner could be fitted ({reasons})" if reasons else "the budget is too small for one learner"
        enough = max(one.seconds * (self.folds.count + 1) / max(len(one.losses), 1) for one in self.trials)
        return (
            f"the budget of {self.budget.seconds:g} s was over before one learner had been tried; about "
            f"{2 * (self.elapsed() + enough):.0f} s would do"
        )


def reason(trial: Trial) -> str:
    """Why a learner has no whole trial."""
    return {"pruned": "given up, far behind another", "late": "no time left for it"}.get(trial.state, trial.failed)


def first_trials(names: Sequence[str], rows: int) -> list[tuple[str, Settings]]:
    """Learners as they are and under their first settings: the early ones, every other, then what is left, in turn."""
    known = {name: ({}, *(SPACES[name].first if name in SPACES else ())) for name in names}
    turns = max((len(every) for every in known.values()), default=0)
    others = sorted(known, key=lambda name: name == LAST)
    early = (*CHEAP, *(CHEAP_OF_FEW if rows <= EXACT_ROWS else ()), *STRONG)
    order = [*early, *((name, turn) for turn in range(turns) for name in others)]
    return [(name, known[name][turn]) for name, turn in dict.fromkeys(order) if turn < len(known.get(name, ()))]


def _candidates(whole: Sequence[Trial]) -> list[Trial]:
    """The best trial of each of the best learners, the best first."""
    best: dict[str, Trial] = {}
    for one in sorted(whole, key=lambda one: one.loss):
        best.setdefault(one.learner, one)
    return list(best.values())[:MEMBERS]
