"""What a search may set of each learner; to let it tune one more, enter the learner in `SPACES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ludocast.models.learner import Learner
from ludocast.models.table.boosting import Shape
from ludocast.models.table.learners import (
    CATBOOST,
    LEARNERS,
    SHAPE,
    XGBOOST,
    Job,
    boosting_learner,
    forest_learner,
    linear_learner,
    neural_learner,
    of_labels,
    svm_learner,
)
from ludocast.models.table.model import Model
from ludocast.models.table.trees import Forest

Settings = Mapping[str, float]  # none of them: the learner as it is without a search
STOP_ROWS = 50  # held-out rows by which a boosting stops in a search, whose time is short
STRENGTHS = (1e-3, 0.01, 0.1, 1.0, 10.0)  # inverse penalties
PATIENCE = 3.0  # in steps of a whole tree: a boosting of rate r waits for PATIENCE / r rounds


@dataclass(frozen=True)
class Range:
    """Numbers from one to another.

    Attributes:
        low: The lowest.
        high: The highest.
        log: Whether equal ratios count as equal steps.
        whole: Whether they are integers.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Space:
    """What may be set of a learner.

    Attributes:
        ranges: By name.
        first: Settings that have proved good on many tables, tried before any are drawn.
        learner: Makes it under some settings, with a value for each of the ranges.
    """

    ranges: Mapping[str, Range]
    first: tuple[Settings, ...]
    learner: Callable[[Job, Settings], Learner[Model]]


def learner_under(name: str, job: Job, settings: Settings) -> Learner[Model]:
    """A learner under some settings; without any, as a search tries it first."""
    if settings:
        return of_labels(lambda own: SPACES[name].learner(own, settings))(job)
    return of_labels(FIRST.get(name, LEARNERS[name]))(job)


def _patience(rate: float) -> int:
    return max(20, round(PATIENCE / rate))


def _boosting(job: Job, settings: Settings) -> Learner[Model]:
    rate = settings["rate"]
    shape = Shape(
        leaves=int(settings["leaves"]),
        rate=rate,
        rounds=1200,
        random=settings["random"] > 0,
        columns=settings["columns"],
        sample=settings["sample"],
        penalty=settings["penalty"],
        leaf=int(settings["leaf"]),
        patience=_patience(rate),
    )
    return boosting_learner(job, shape, STOP_ROWS)


def _xgboost(job: Job, settings: Settings) -> Learner[Model]:
    shape = replace(
        XGBOOST, leaves=int(settings["leaves"]), rate=settings["rate"], rounds=1200, columns=settings["columns"],
        penalty=settings["penalty"], leaf=int(settings["leaf"]), patience=_patience(settings["rate"]),
    )  # fmt: skip
    return boosting_learner(job, shape, STOP_ROWS, "xgboost")


def _catboost(job: Job, settings: Settings) -> Learner[Model]:
    rate = settings["rate"]
    shape = replace(
        CATBOOST, leaves=2 ** int(settings["depth"]), rate=rate, rounds=1200, penalty=settings["penalty"],
        patience=_patience(rate),
    )  # fmt: skip
    return boosting_learner(job, shape, STOP_ROWS, "catboost")


def _forest(job: Job, settings: Settings) -> Learner[Model]:
    return forest_learner(job, Forest(int(settings["leaf"]), settings["columns"], settings["random"] > 0))


def _neural(job: Job, settings: Settings) -> Learner[Model]:
    return neural_learner(job, [settings["penalty"]], int(settings["width"]), settings["rate"])


def _boosting_settings(leaves: int, rate: float, leaf: int, *, random: int = 0, columns: float = 0.5) -> Settings:
    return {
        "leaves": leaves, "rate": rate, "leaf": leaf, "random": random, "columns": columns, "sample": 0.8,
        "penalty": 1.0,
    }  # fmt: skip


SPACES: dict[str, Space] = {
    "boosting": Space(
        {
            "leaves": Range(3, 63, log=True, whole=True),
            "rate": Range(0.02, 0.15, log=True),
            "leaf": Range(3, 60, log=True, whole=True),
            "random": Range(0, 1, whole=True),
            "columns": Range(0.2, 1.0),
            "sample": Range(0.5, 1.0),
            "penalty": Range(0.01, 30.0, log=True),
        },
        (
            _boosting_settings(4, 0.07, 10),
            _boosting_settings(8, 0.07, 10, random=1),
            _boosting_settings(31, 0.07, 20),
        ),
        _boosting,
    ),
    "xgboost": Space(
        {
            "leaves": Range(4, 64, log=True, whole=True),
            "rate": Range(0.02, 0.2, log=True),
            "leaf": Range(1, 60, log=True, whole=True),
            "columns": Range(0.2, 1.0),
            "penalty": Range(0.01, 30.0, log=True),
        },
        (),
        _xgboost,
    ),
    "catboost": Space(
        {
            "depth": Range(3, 8, whole=True),
            "rate": Range(0.03, 0.2, log=True),
            "penalty": Range(0.5, 30.0, log=True),
        },
        (),
        _catboost,
    ),
    "forest": Space(
        {"leaf": Range(1, 20, log=True, whole=True), "columns": Range(0.1, 1.0), "random": Range(0, 1, whole=True)},
        ({"leaf": 2, "columns": 0.5, "random": 1}, {"leaf": 2, "columns": 0.3, "random": 0}),
        _forest,
    ),
    "svm": Space(
        {"strength": Range(0.05, 50.0, log=True), "narrow": Range(0.1, 4.0, log=True)},
        ({"strength": 5.0, "narrow": 0.5},),
        lambda job, settings: svm_learner(job, [settings["strength"]], settings["narrow"]),
    ),
    "neural": Space(
        {
            "width": Range(16, 256, log=True, whole=True),
            "penalty": Range(1e-4, 10.0, log=True),
            "rate": Range(5e-4, 1e-2, log=True),
        },
        ({"width": 128, "penalty": 0.1, "rate": 1e-3},),
        _neural,
    ),
}
# How a search tries a learner first where that is not as `LEARNERS` makes it. All that may be set of a linear model is
# its penalty, so a grid of it is tried at once.
FIRST: dict[str, Callable[[Job], Learner[Model]]] = {
    "boosting": lambda job: boosting_learner(job, replace(SHAPE, patience=round(PATIENCE / SHAPE.rate)), STOP_ROWS),
    "xgboost": lambda job: boosting_learner(job, XGBOOST, STOP_ROWS, "xgboost"),
    "catboost": lambda job: boosting_learner(job, CATBOOST, STOP_ROWS, "catboost"),
    "logistic": lambda job: linear_learner(job, STRENGTHS),
    "linear": lambda job: linear_learner(job, STRENGTHS),
}
