"""Learners of amounts, most of them 0: who pays times how much, or both at once.

A hurdle model (Cragg 1971) is a classifier of paying times a regression of the payers' log amounts, each by a learner
of any table. The others predict the mean at once: boosting by the Tweedie loss, or by the squared one, which is what a
regression of the plain numbers would be.
"""

# N rows

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

import numpy as np
from ludocast.datamodules.preprocess import Encoded
from ludocast.models.calibration import fit_temperature
from ludocast.models.learner import Learner, least_setting, try_in_turn
from ludocast.models.table.boosting import Boosting, rounds_to_try
from ludocast.models.table.deep import Network, network_learner
from ludocast.models.table.fit_boosting import fit_boosting
from ludocast.models.table.heads import LEAST_DEVIATION
from ludocast.models.table.learners import SHAPE, Job, Model, boosting_learner, linear_learner
from ludocast.models.value.measures import deviance
from scipy.optimize import minimize
from scipy.special import expit

LEAST_AMOUNT = 0.01  # of the mean amount: a prediction is above 0
SLOPES = (0.25, 4.0)


@dataclass(frozen=True)
class Rows:
    """Training rows, and which of them answer for which.

    Attributes:
        encoded: The training rows.
        amount: Of these, in units of their mean, float64 [N].
        fold: The fold that holds each out, int64 [N]; None where other rows are held out for good.
        held: Those, with their amounts.
    """

    encoded: Encoded
    amount: np.ndarray
    fold: np.ndarray | None
    held: tuple[Encoded, np.ndarray] | None

    @property
    def held_amount(self) -> np.ndarray:
        """Amounts of all rows that are held out once."""
        return self.amount if self.held is None else self.held[1]

    def payers(self) -> Rows:
        """The same of rows with an amount alone."""
        pays = np.flatnonzero(self.amount > 0)
        held = self.held
        if held is not None:
            of_held = np.flatnonzero(held[1] > 0)
            held = (held[0].rows(of_held), held[1][of_held])
        fold = None if self.fold is None else self.fold[pays]
        return Rows(self.encoded.rows(pays), self.amount[pays], fold, held)

    def try_out(
        self, learner: Learner[object], label_of: Callable[[np.ndarray], np.ndarray]
    ) -> Mapping[float, np.ndarray]:
        """Scores of held-out rows under each setting; `label_of` makes labels of amounts."""
        if self.held is None:
            assert self.fold is not None
            return try_in_turn(learner, self.encoded, label_of(self.amount), self.fold)
        return learner.try_out(self.encoded, label_of(self.amount), self.held[0], label_of(self.held[1]))

    def predict_held(self, fit: Callable[[Encoded, np.ndarray], Model]) -> np.ndarray:
        """Scores [N] of all held-out rows, by models that `fit` makes of payers alone."""
        pays = self.amount > 0
        if self.held is not None:
            return fit(self.encoded.rows(np.flatnonzero(pays)), self.amount[pays]).scores(self.held[0])[:, 0]
        assert self.fold is not None
        found = np.empty(len(self.amount))
        for k in range(int(self.fold.max()) + 1):
            inside, held = np.flatnonzero((self.fold != k) & pays), np.flatnonzero(self.fold == k)
            found[held] = fit(self.encoded.rows(inside), self.amount[inside]).scores(self.encoded.rows(held))[:, 0]
        return found


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
class Hurdle:
    """Who pays, times how much.

    Attributes:
        paying: Its score is the log odds of paying; None where all pay.
        sharpness: Factor of these log odds, which calibrates them.
        amount: Its score z is the scaled log amount.
        intercept: The mean amount of payers is exp(intercept + slope z), which takes in what the mean of an exponential
            is above the exponential of a mean.
        slope: The same.
        most: The highest z of a training row, which no prediction passes.
    """

    paying: Model | None
    sharpness: float
    amount: Model
    intercept: float
    slope: float
    most: float

    def scores(self, encoded: Encoded) -> np.ndarray:
        """Amounts float64 [N, 1]."""
        amount = self.of_payers(self.amount.scores(encoded))
        if self.paying is None:
            return amount
        return np.asarray(amount * expit(self.sharpness * self.paying.scores(encoded)))

    def of_payers(self, scores: np.ndarray) -> np.ndarray:
        """The mean amount of payers by scores z."""
        return np.asarray(np.exp(self.intercept + self.slope * np.minimum(scores, self.most)))


@dataclass(frozen=True)
class LogNormal:
    """The tabular network with a zero-inflated log-normal end (Wang, Liu and Miao 2019, arXiv 1912.07753).

    Attributes:
        network: Its scores are the log odds of paying, the mean of the log amount, and its deviation before softplus.
        most: The highest logarithm of a mean of payers that is answered: that of the largest amount in training.
    """

    network: Network
    most: float

    def scores(self, encoded: Encoded) -> np.ndarray:
        """Amounts float64 [N, 1]."""
        return mean_amounts(self.network.scores(encoded), self.most)


def mean_amounts(scores: np.ndarray, most: float) -> np.ndarray:
    """Means p exp(μ + σ² / 2), float64 [N, 1], of a network's scores [N, 3]."""
    logit, centre, free = np.split(scores, 3, axis=1)
    width = np.maximum(np.logaddexp(0.0, free), LEAST_DEVIATION)
    return np.asarray(expit(logit) * np.exp(np.minimum(centre + width**2 / 2, most)))


@dataclass(frozen=True)
class Exponential:
    """Boosting of the mean's logarithm."""

    boosting: Boosting

    def scores(self, encoded: Encoded) -> np.ndarray:
        """Amounts float64 [N, 1]."""
        return np.asarray(np.exp(self.boosting.logits(encoded.trees)))


@dataclass(frozen=True)
class Floored:
    """Boosting of plain numbers, whatever is too low raised to `LEAST_AMOUNT`."""

    boosting: Boosting

    def scores(self, encoded: Encoded) -> np.ndarray:
        """Amounts float64 [N, 1]."""
        return np.asarray(np.maximum(self.boosting.logits(encoded.trees), LEAST_AMOUNT))


def fit_hurdle(
    rows: Rows, paying: Callable[[Job], Learner[Model]], amount: Callable[[Job], Learner[Model]], job: Job
) -> Candidate:
    """Fit both parts, each with the setting that its own held-out rows choose.

    Args:
        rows: Training rows.
        paying: The learner of paying.
        amount: The learner of scaled log amounts.
        job: Of the table; how many classes there are is not read.
    """
    payers = rows.payers()
    logs = np.log(payers.amount)
    centre, width = float(logs.mean()), float(logs.std()) if logs.std() > 0 else 1.0

    def scaled(amounts: np.ndarray) -> np.ndarray:
        return np.asarray((np.log(amounts) - centre) / width)

    learner = amount(Job(job.preprocessing, 0, job.seed))
    setting = least_setting(payers.try_out(learner, scaled), scaled(payers.held_amount))
    z = rows.predict_held(lambda encoded, amounts: learner.fit(encoded, scaled(amounts), setting))
    most = float(scaled(payers.amount).max())
    of_payers = rows.held_amount > 0
    line = _line(np.minimum(z[of_payers], most), rows.held_amount[of_payers], (centre, width))
    model = learner.fit(payers.encoded, scaled(payers.amount), setting)
    hurdle = Hurdle(None, 1.0, model, *line, most)
    if len(payers.amount) == len(rows.amount):
        return Candidate(hurdle, hurdle.of_payers(z))
    classifier = paying(Job(job.preprocessing, 2, job.seed))
    tried = rows.try_out(classifier, _pays)
    chosen = least_setting(tried, _pays(rows.held_amount))
    logit = tried[chosen]
    sharpness = 1 / fit_temperature(logit, _pays(rows.held_amount))
    whole = classifier.fit(rows.encoded, _pays(rows.amount), chosen)
    return Candidate(Hurdle(whole, sharpness, model, *line, most), hurdle.of_payers(z) * expit(sharpness * logit[:, 0]))


def _pays(amount: np.ndarray) -> np.ndarray:
    return (amount > 0).astype(np.int64)


def _line(z: np.ndarray, amount: np.ndarray, start: tuple[float, float]) -> tuple[float, float]:
    """Intercept a and slope b of the mean amount exp(a + b z) of payers, by the deviance on held-out rows."""
    begin = np.array([start[0] + start[1] ** 2 / 4, start[1]])

    def loss(free: np.ndarray) -> float:
        return deviance(np.exp(free[0] + free[1] * z), amount)

    limits = [(-50.0, 50.0), (SLOPES[0] * start[1], SLOPES[1] * start[1])]
    intercept, slope = minimize(loss, begin, method="L-BFGS-B", bounds=limits).x
    return float(intercept), float(slope)


def fit_direct(rows: Rows, job: Job, kind: type[Exponential] | type[Floored]) -> Candidate:
    """Boosting of the mean amount, its rounds chosen by the deviance on held-out rows."""
    rounds = rounds_to_try(SHAPE)
    is_log = kind is Exponential

    def try_out(
        encoded: Encoded, label: np.ndarray, held: Encoded, held_label: np.ndarray
    ) -> Mapping[float, np.ndarray]:
        known = (held.trees, held_label)
        model = fit_boosting(encoded.trees, label, 0, SHAPE, rounds[-1], job.seed, known, is_log)
        stages = model.staged_logits(held.trees, rounds)
        amounts = [np.exp(stage) if is_log else np.maximum(stage, LEAST_AMOUNT) for stage in stages]
        return dict(zip(map(float, rounds), amounts, strict=True))

    def fit(encoded: Encoded, label: np.ndarray, setting: float) -> Model:
        return kind(fit_boosting(encoded.trees, label, 0, SHAPE, int(setting), job.seed, None, is_log))

    tried = rows.try_out(Learner(try_out, fit), lambda amount: amount)
    chosen = least_setting(tried, rows.held_amount, mean_deviance)
    return Candidate(fit(rows.encoded, rows.amount, chosen), tried[chosen][:, 0])


def mean_deviance(scores: np.ndarray, amount: np.ndarray) -> float:
    """The mean deviance of amounts [N, 1]."""
    return deviance(scores[:, 0], amount)


def fit_log_normal(rows: Rows, job: Job) -> Candidate:
    """The network: amounts by its three outputs, which have no setting to choose."""
    sizes = {**job.preprocessing.sizes, "classes": 0, "loss": "zero_inflated_log_normal"}
    shown = None if rows.held is None else (rows.held[0], np.log1p(rows.held[1]))
    learner = network_learner(sizes, job.seed, replace(job.training, shown=shown))
    most = float(np.log(rows.amount.max()))
    network = learner.fit(rows.encoded, np.log1p(rows.amount), 0.0)
    if rows.held is None:
        (scores,) = rows.try_out(learner, np.log1p).values()
    else:
        scores = network.scores(rows.held[0])
    return Candidate(LogNormal(network, most), mean_amounts(scores, most)[:, 0])


LEARNERS: dict[str, Callable[[Rows, Job], Candidate]] = {
    "network": fit_log_normal,
    "hurdle_boosting": lambda rows, job: fit_hurdle(rows, boosting_learner, boosting_learner, job),
    "hurdle_linear": lambda rows, job: fit_hurdle(rows, linear_learner, linear_learner, job),
    "tweedie": lambda rows, job: fit_direct(rows, job, Exponential),
    "boosting": lambda rows, job: fit_direct(rows, job, Floored),
}


def value_learner_names(asked: str) -> tuple[str, ...]:
    """The learners that are asked for: "all", or names with commas between them.

    Raises:
        ValueError: If there is none of a name, with the nearest one.
    """
    if asked == "all":
        return tuple(LEARNERS)
    names = tuple(dict.fromkeys(name.strip() for name in asked.split(",") if name.strip()))
    for name in names:
        if name not in LEARNERS:
            near = get_close_matches(name, LEARNERS, n=1, cutoff=0.4)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            raise ValueError(f'--learners: there is no learner "{name}"{hint} There are {", ".join(LEARNERS)}')
    if not names:
        raise ValueError(f"--learners names no learner; there are {', '.join(LEARNERS)}")
    return names
