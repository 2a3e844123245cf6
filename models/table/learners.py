"""All learners by name; to add one, write its model and enter it here and in `serve/graph_table.py`."""

# N rows, C outputs

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import get_args

import numpy as np
from ludocast.datamodules.preprocess import Encoded, Preprocessing
from ludocast.datamodules.schema import Schema
from ludocast.datamodules.split import CROSS_ROWS
from ludocast.models.learner import Learner, one_setting
from ludocast.models.number_loss import SQUARED, LossName, NumberLoss
from ludocast.models.table.amounts import exponential_learner, floored_learner
from ludocast.models.table.bayes import SMOOTHING, fit_bayes
from ludocast.models.table.boosting import SHAPES, Boosting, Shape, rounds_to_try
from ludocast.models.table.deep import AS_USUAL, Training, network_learner
from ludocast.models.table.design import HALF, fit_design
from ludocast.models.table.fit_boosting import Library, fit_boosting, is_installed
from ludocast.models.table.kernel import fit_kernel
from ludocast.models.table.label_wise import label_wise
from ludocast.models.table.layers import fit_neural
from ludocast.models.table.linear import fit_linear
from ludocast.models.table.model import Model
from ludocast.models.table.neighbours import SETTINGS, Neighbours, fit_neighbours
from ludocast.models.table.trees import FOREST, Forest, fit_forest, fit_tree

EXTRA: tuple[Library, ...] = ("xgboost", "catboost")  # there where the extra [boosting] is installed
BOTH = ("network", "tree", "forest", "boosting", *EXTRA, "svm", "neural", "naive_bayes", "knn")
CLASSIFICATION = (*BOTH, "logistic")
REGRESSION = (*BOTH, "linear")
_MEANS: tuple[LossName, ...] = ("squared", "poisson", "tweedie")
# By which losses a number may be predicted; a learner that is not here has the squared one alone.
LOSSES: dict[str, tuple[LossName, ...]] = {
    **dict.fromkeys(("network", "boosting", *EXTRA, "linear"), get_args(LossName)),
    **dict.fromkeys(("tree", "forest", "knn"), _MEANS),
    "svm": ("squared", "absolute"),
}
LEAVES = (50.0, 20.0, 5.0)
PENALTIES = (1.0, 1e-2)
MARGINS = (1.0,)
STRENGTHS = (0.01, 0.1, 1.0)  # inverse penalties; on large tables it makes no difference
SHAPE = Shape(15, 0.05, 600)
XGBOOST = Shape(32, 0.05, 600)
CATBOOST = Shape(64, 0.06, 600, penalty=3.0, patience=50)
CATBOOST_ROWS = 100  # as ROUNDS_ROWS; its rounds are slow
ROUNDS_ROWS = 500  # held-out rows that tell when a boosting is to stop


@dataclass(frozen=True)
class Boosted:
    """A boosting, which reads what trees read."""

    boosting: Boosting

    def scores(self, encoded: Encoded) -> np.ndarray:
        """float64 [N, C]."""
        return self.boosting.logits(encoded.trees)


@dataclass(frozen=True)
class Job:
    """What a learner has to know of a table.

    Attributes:
        preprocessing: Of the rows.
        classes: C; 2 of several labels, 0 where a number is predicted.
        seed: Of everything random.
        points: Rows that nearest neighbours keep at most.
        prototypes: Centres in place of these rows; 0 for none.
        training: Of the network.
        loss: By which a number is predicted; of amounts, in units of their mean, scores are amounts.
        labels: L, where several labels are predicted; else 0.
    """

    preprocessing: Preprocessing
    classes: int
    seed: int = 0
    points: int = 10_000
    prototypes: int = 0
    training: Training = AS_USUAL
    loss: NumberLoss = SQUARED
    labels: int = 0


def job_of(
    schema: Schema,
    preprocessing: Preprocessing,
    seed: int,
    points: int,
    prototypes: int,
    training: Training,
    loss: NumberLoss,
) -> Job:
    """The job of a table; see `Job`."""
    labels = len(schema.labels)
    return Job(preprocessing, 2 if labels else len(schema.classes), seed, points, prototypes, training, loss, labels)


def able(names: Sequence[str], loss: NumberLoss) -> tuple[str, ...]:
    """Those of the learners that know a loss."""
    return tuple(name for name in names if loss.name in LOSSES.get(name, ("squared",)))


def learner_names(asked: str, classes: int, loss: NumberLoss = SQUARED) -> tuple[str, ...]:
    """The learners that are asked for: "all" that are installed and know the loss, or names with commas between them.

    Raises:
        ValueError: If there is none of a name, with the nearest one; or it is not installed, or does not know the loss.
    """
    known = CLASSIFICATION if classes else REGRESSION
    absent = tuple(name for name in EXTRA if not is_installed(name))
    if asked == "all":
        return able([name for name in known if name not in absent], loss)
    names = names_asked(asked, known)
    for name in names:
        if name in absent:
            raise ValueError(f'--learners: "{name}" is not installed; pip install "ludocast[boosting]" brings it')
        if name in able(known, loss):
            continue
        if name in known:
            others = ", ".join(able(known, loss))
            raise ValueError(f'--loss {loss.name}: "{name}" does not know it; {others} do')
        if name in CLASSIFICATION + REGRESSION:
            other = "linear" if classes == 0 else "logistic"
            what = "numbers" if classes == 0 else "classes"
            raise ValueError(f'--learners: "{name}" does not predict {what}; "{other}" does')
        raise no_such_learner(name, known)
    return names


def names_asked(asked: str, known: Sequence[str]) -> tuple[str, ...]:
    """Names with commas between them, each once.

    Raises:
        ValueError: If there is none.
    """
    names = tuple(dict.fromkeys(name.strip() for name in asked.split(",") if name.strip()))
    if not names:
        raise ValueError(f"--learners names no learner; there are {', '.join(known)}")
    return names


def no_such_learner(name: str, known: Sequence[str]) -> ValueError:
    """The error of a name that is none, with the nearest one."""
    near = get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f'; did you mean "{near[0]}"?' if near else "."
    return ValueError(f'--learners: there is no learner "{name}"{hint} There are {", ".join(known)}')


def learners(names: Sequence[str], job: Job) -> dict[str, Learner[Model]]:
    """Learners by name."""
    return {name: of_labels(LEARNERS[name])(job) for name in names}


def of_labels(make: Callable[[Job], Learner[Model]]) -> Callable[[Job], Learner[Model]]:
    """What makes a learner, of several labels one for each; the network learns all of them together."""

    def made(job: Job) -> Learner[Model]:
        return label_wise(make(job)) if job.labels and make is not deep_learner else make(job)

    return made


def deep_learner(job: Job) -> Learner[Model]:
    """The tabular network, which has no setting."""
    by = {"loss": job.loss.name, "quantile": job.loss.quantile}
    sizes = {**job.preprocessing.sizes, "classes": job.classes, "labels": job.labels, **by}
    return _of_logs(network_learner(sizes, job.seed, job.training), job)


def tree_learner(job: Job) -> Learner[Model]:
    """One tree; the held-out rows choose how large its leaves are."""
    amounts = job.loss.is_of_amounts
    return _of_means(
        usual(lambda e, label, leaf: fit_tree(e, label, job.classes, leaf, job.seed, amounts=amounts), LEAVES), job
    )


def forest_learner(job: Job, forest: Forest = FOREST) -> Learner[Model]:
    """A forest."""
    amounts = job.loss.is_of_amounts
    return _of_means(
        usual(lambda e, label, _: fit_forest(e, label, job.classes, job.seed, forest, amounts=amounts)), job
    )


def boosting_learner(
    job: Job, shape: Shape = SHAPE, stop_rows: int = ROUNDS_ROWS, library: Library | None = None
) -> Learner[Model]:
    """A boosting, whose rounds the held-out rows choose; so many of them or more tell it when to stop."""
    return _of_logs(score_boosting(job, shape, stop_rows, library), job)


def score_boosting(
    job: Job, shape: Shape = SHAPE, stop_rows: int = ROUNDS_ROWS, library: Library | None = None
) -> Learner[Model]:
    """The same, but of amounts its scores are logarithms of the mean."""
    by = (job.loss, library)

    def try_out(
        encoded: Encoded, label: np.ndarray, held: Encoded, held_label: np.ndarray
    ) -> Mapping[float, np.ndarray]:
        rounds = rounds_to_try(shape)
        known = (held.trees, held_label) if len(held_label) >= stop_rows else None
        model = fit_boosting(encoded.trees, label, job.classes, shape, rounds[-1], job.seed, known, *by)
        return dict(zip(map(float, rounds), model.staged_logits(held.trees, rounds), strict=True))

    def fit(encoded: Encoded, label: np.ndarray, rounds: float) -> Boosted:
        return Boosted(fit_boosting(encoded.trees, label, job.classes, shape, int(rounds), job.seed, None, *by))

    return Learner(try_out, fit, calibrated=True)


def xgboost_learner(job: Job) -> Learner[Model]:
    """A boosting by XGBoost."""
    return boosting_learner(job, XGBOOST, library="xgboost")


def catboost_learner(job: Job) -> Learner[Model]:
    """A boosting by CatBoost, of our own encoded categories."""
    return boosting_learner(job, CATBOOST, CATBOOST_ROWS, "catboost")


def svm_learner(job: Job, strengths: Sequence[float] = MARGINS, narrow: float = 1.0) -> Learner[Model]:
    """A support vector machine with Gaussian bells."""

    def fit(encoded: Encoded, label: np.ndarray, strength: float) -> Model:
        design = fit_design(encoded, job.preprocessing, plain=False, hot=HALF)
        return fit_kernel(design, encoded, label, job.classes, strength, job.seed, narrow)

    return usual(fit, strengths)


def neural_learner(
    job: Job, penalties: Sequence[float] = PENALTIES, width: int = 64, rate: float = 2e-3
) -> Learner[Model]:
    """scikit-learn's network."""

    def fit(encoded: Encoded, label: np.ndarray, penalty: float) -> Model:
        design = fit_design(encoded, job.preprocessing, plain=True)
        return fit_neural(design, encoded, label, job.classes, penalty, job.seed, width, rate)

    return usual(fit, penalties)


def naive_bayes_learner(job: Job, smoothings: Sequence[float] = (SMOOTHING,)) -> Learner[Model]:
    """Naive Bayes."""
    return usual(lambda encoded, label, s: fit_bayes(encoded, label, job.classes, job.preprocessing, s), smoothings)


def knn_learner(job: Job) -> Learner[Model]:
    """Nearest neighbours; the held-out rows choose how many."""

    def fit(encoded: Encoded, label: np.ndarray, count: float) -> Neighbours:
        design = fit_design(encoded, job.preprocessing, plain=False, hot=HALF)
        kept = (job.points, job.prototypes, job.seed)
        return fit_neighbours(design, encoded, label, job.classes, int(count), *kept)

    def try_out(
        encoded: Encoded, label: np.ndarray, held: Encoded, held_label: np.ndarray  # noqa: ARG001
    ) -> Mapping[float, np.ndarray]:  # fmt: skip
        found = fit(encoded, label, SETTINGS[-1]).staged_scores(held, [int(count) for count in SETTINGS])
        return dict(zip(SETTINGS, found, strict=True))

    return _of_means(Learner(try_out, fit), job)


def linear_learner(job: Job, strengths: Sequence[float] | None = None) -> Learner[Model]:
    """Linear or, of classes, logistic regression; without strengths the usual ones are tried."""

    def fit(encoded: Encoded, label: np.ndarray, strength: float) -> Model:
        return fit_linear(encoded, label, job.preprocessing, strength, job.loss)

    return _of_logs(_by_strength(fit) if strengths is None else usual(fit, strengths), job)


def _of_logs(learner: Learner[Model], job: Job) -> Learner[Model]:
    """Of amounts it predicts the logarithm of the mean."""
    return exponential_learner(learner) if job.loss.is_of_amounts else learner


def _of_means(learner: Learner[Model], job: Job) -> Learner[Model]:
    """Of amounts it predicts the mean itself."""
    return floored_learner(learner) if job.loss.is_of_amounts else learner


Fit = Callable[[Encoded, np.ndarray, float], Model]


def usual(fit: Fit, settings: Sequence[float] = (0.0,)) -> Learner[Model]:
    """A learner that is fitted anew for each of its settings, the cheapest first."""
    return one_setting(fit, lambda model, encoded: model.scores(encoded), settings)


def _by_strength(fit: Fit) -> Learner[Model]:
    """Of linear models; on large tables the penalty makes no difference."""
    every, last = usual(fit, STRENGTHS), usual(fit, STRENGTHS[-1:])

    def try_out(
        encoded: Encoded, label: np.ndarray, held: Encoded, held_label: np.ndarray
    ) -> Mapping[float, np.ndarray]:
        return (every if len(label) < CROSS_ROWS else last).try_out(encoded, label, held, held_label)

    return Learner(try_out, fit, calibrated=True)


LEARNERS: dict[str, Callable[[Job], Learner[Model]]] = {
    "network": deep_learner,
    "tree": tree_learner,
    "forest": forest_learner,
    "boosting": boosting_learner,
    "xgboost": xgboost_learner,
    "catboost": catboost_learner,
    "svm": svm_learner,
    "neural": neural_learner,
    "naive_bayes": naive_bayes_learner,
    "knn": knn_learner,
    "logistic": linear_learner,
    "linear": linear_learner,
    # Of the candidates of `train churn`, where each shape by itself is weighed.
    **{name: partial(boosting_learner, shape=shape, stop_rows=0) for name, shape in SHAPES.items()},
}
