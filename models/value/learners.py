"""Learners of amounts, most of them 0: who pays times how much, or both at once; to add one, enter it here.

A hurdle model is a classifier of paying times a regression of what payers pay, each by a learner of any table: of the
log amounts, or of the logarithm of the mean by the Tweedie loss, which asks nothing of the distribution. The others
predict the mean of all rows at once: by the Tweedie loss, or by the squared one, which is what a regression of the
plain numbers would be.
"""

# N rows

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from ludocast.models.calibration import fit_temperature, loss
from ludocast.models.learner import Learner, Measure, least_setting
from ludocast.models.number_loss import NumberLoss
from ludocast.models.table.amounts import floored_learner
from ludocast.models.table.deep import network_learner
from ludocast.models.table.learners import (
    Job,
    boosting_learner,
    linear_learner,
    names_asked,
    no_such_learner,
    score_boosting,
)
from ludocast.models.table.model import Model
from ludocast.models.value.amounts import Hurdle, Line, LogNormal, log_means
from ludocast.models.value.measures import deviance
from ludocast.models.value.rows import Rows
from scipy.optimize import minimize
from scipy.special import expit

TWEEDIE = NumberLoss("tweedie")
SLOPES = (0.25, 4.0)


@dataclass(frozen=True)
class Candidate:
    """A fitted learner of amounts.

    Attributes:
        model: Fitted on all training rows.
        held_out: Amounts of the held-out rows by models that have not seen them, float64 [N].
    """

    model: Model
    held_out: np.ndarray


@dataclass(frozen=True)
class Part:
    """How payers' amounts are learnt.

    Attributes:
        learner: Its scores are z of `Line`.
        label_of: From amounts to its labels.
        measure: By which its setting is chosen.
        begin: Intercept and slope from which those of the line are sought.
        most: The highest score that counts.
    """

    learner: Learner[Model]
    label_of: Callable[[np.ndarray], np.ndarray]
    measure: Measure
    begin: tuple[float, float]
    most: float


def by_logs(learner: Callable[[Job], Learner[Model]], job: Job, amount: np.ndarray) -> Part:
    """A regression of the payers' log amounts, scaled to mean 0 and deviation 1.

    Args:
        learner: Of numbers.
        job: Of the table.
        amount: Of the payers in training, float64 [N].
    """
    logs = np.log(amount)
    centre, width = float(logs.mean()), float(logs.std()) if logs.std() > 0 else 1.0

    def scaled(amounts: np.ndarray) -> np.ndarray:
        return np.asarray((np.log(amounts) - centre) / width)

    most = float(scaled(amount).max())
    return Part(learner(replace(job, classes=0)), scaled, loss, (centre + width**2 / 4, width), most)


def by_means(job: Job, amount: np.ndarray) -> Part:
    """A boosting of the logarithm of the payers' mean.

    Args:
        job: Of the table.
        amount: Of the payers in training, float64 [N].
    """
    learner = score_boosting(replace(job, classes=0, loss=TWEEDIE))
    return Part(learner, np.asarray, _deviance_of_logs, (0.0, 1.0), float(np.log(amount.max())))


def fit_hurdle(
    rows: Rows, job: Job, paying: Callable[[Job], Learner[Model]], part_of: Callable[[Job, np.ndarray], Part]
) -> Candidate:
    """Fit both parts, each with the setting that its own held-out rows choose.

    Args:
        rows: Training rows.
        job: Of the table; how many classes there are is not read.
        paying: The learner of paying.
        part_of: The learner of payers' amounts.
    """
    payers = rows.payers()
    part = part_of(job, payers.amount)
    learner, label_of = part.learner, part.label_of
    setting = least_setting(payers.try_out(learner, label_of), label_of(payers.held_amount), part.measure)
    z = rows.predict_held(lambda encoded, amounts: learner.fit(encoded, label_of(amounts), setting))
    line = _line(z, rows.held_amount, part.begin, part.most)
    model = learner.fit(payers.encoded, label_of(payers.amount), setting)
    if len(payers.amount) == len(rows.amount):
        return Candidate(Hurdle(None, 1.0, model, line), line.amounts(z))
    classifier = paying(replace(job, classes=2))
    tried = rows.try_out(classifier, _pays)
    chosen = least_setting(tried, _pays(rows.held_amount))
    sharpness = 1 / fit_temperature(tried[chosen], _pays(rows.held_amount))
    hurdle = Hurdle(classifier.fit(rows.encoded, _pays(rows.amount), chosen), sharpness, model, line)
    return Candidate(hurdle, line.amounts(z) * expit(sharpness * tried[chosen][:, 0]))


def fit_log_normal(rows: Rows, job: Job) -> Candidate:
    """The network, which has no setting to choose; its log odds and its payers' means are calibrated as a hurdle's."""
    sizes = {**job.preprocessing.sizes, "classes": 0, "loss": "zero_inflated_log_normal"}
    shown = None if rows.held is None else (rows.held[0], np.log1p(rows.held[1]))
    learner = network_learner(sizes, job.seed, replace(job.training, shown=shown))
    network = learner.fit(rows.encoded, np.log1p(rows.amount), 0.0)
    if rows.held is None:
        (scores,) = rows.try_out(learner, np.log1p).values()
    else:
        scores = network.scores(rows.held[0])
    z = log_means(scores)[:, 0]
    line = _line(z, rows.held_amount, (0.0, 1.0), float(np.log(rows.amount.max())))
    sharpness = 1 / fit_temperature(scores[:, :1], _pays(rows.held_amount))
    return Candidate(LogNormal(network, sharpness, line), line.amounts(z) * expit(sharpness * scores[:, 0]))


def fit_mean(rows: Rows, learner: Learner[Model]) -> Candidate:
    """A learner of the mean of all rows, its setting chosen by the deviance on held-out rows."""
    tried = rows.try_out(learner, np.asarray)
    chosen = least_setting(tried, rows.held_amount, TWEEDIE.of_scores)
    return Candidate(learner.fit(rows.encoded, rows.amount, chosen), tried[chosen][:, 0])


def _deviance_of_logs(scores: np.ndarray, amount: np.ndarray) -> float:
    return deviance(np.exp(scores[:, 0]), amount)


def _pays(amount: np.ndarray) -> np.ndarray:
    return (amount > 0).astype(np.int64)


def _line(z: np.ndarray, amount: np.ndarray, begin: tuple[float, float], most: float) -> Line:
    """The line of the lowest deviance of held-out payers."""
    known, paid = np.minimum(z[amount > 0], most), amount[amount > 0]

    def off(free: np.ndarray) -> float:
        return deviance(np.exp(free[0] + free[1] * known), paid)

    limits = [(-50.0, 50.0), (SLOPES[0] * begin[1], SLOPES[1] * begin[1])]
    intercept, slope = minimize(off, np.array(begin), method="L-BFGS-B", bounds=limits).x
    return Line(float(intercept), float(slope), most)


LEARNERS: dict[str, Callable[[Rows, Job], Candidate]] = {
    "network": fit_log_normal,
    "hurdle_boosting": lambda rows, job: fit_hurdle(
        rows, job, boosting_learner, lambda job, amount: by_logs(boosting_learner, job, amount)
    ),
    "hurdle_tweedie": lambda rows, job: fit_hurdle(rows, job, boosting_learner, by_means),
    "hurdle_linear": lambda rows, job: fit_hurdle(
        rows, job, linear_learner, lambda job, amount: by_logs(linear_learner, job, amount)
    ),
    "tweedie": lambda rows, job: fit_mean(rows, boosting_learner(replace(job, classes=0, loss=TWEEDIE))),
    "boosting": lambda rows, job: fit_mean(rows, floored_learner(boosting_learner(replace(job, classes=0)))),
}


def value_learner_names(asked: str) -> tuple[str, ...]:
    """The learners that are asked for: "all", or names with commas between them.

    Raises:
        ValueError: If there is none of a name, with the nearest one.
    """
    if asked == "all":
        return tuple(LEARNERS)
    names = names_asked(asked, tuple(LEARNERS))
    for name in names:
        if name not in LEARNERS:
            raise no_such_learner(name, tuple(LEARNERS))
    return names
