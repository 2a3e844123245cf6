"""A search: what it tries, gives up, keeps and puts together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from ludocast.datamodules.infer import RawColumns, describe, infer_schema, label_index, label_values, raw_columns
from ludocast.datamodules.number_label import number_label
from ludocast.datamodules.preprocess import Encoded
from ludocast.datamodules.read import from_frame
from ludocast.datamodules.schema import Schema
from ludocast.models.calibration import loss
from ludocast.models.fitted import FittedClasses, FittedNumbers
from ludocast.models.learner import Learner
from ludocast.models.number_loss import SQUARED, LossName, NumberLoss
from ludocast.models.table.deep import AS_USUAL
from ludocast.models.table.goal import NumberGoal
from ludocast.models.table.learners import LEARNERS, Job
from ludocast.models.table.prepared import prepare
from ludocast.models.table.search import Budget, Searched, first_trials, search_table
from ludocast.models.table.search_store import TrialStore, draw_settings
from ludocast.models.table.spaces import FIRST, SPACES
from ludocast.models.table.trials import InnerFolds, LateError, Trial, run_trial, with_deadline
from ludocast.serve.graph_table import export_table
from sklearn.metrics import mean_absolute_error, mean_poisson_deviance

from tests.serve.made_table import hostile, made_frame

FAST = {2: "naive_bayes,boosting,svm,logistic", 3: "naive_bayes,svm,logistic", 0: "naive_bayes,svm,linear"}


def table(classes: int, rows: int = 200) -> tuple[Schema, RawColumns, np.ndarray]:
    made = from_frame(made_frame(classes, rows))
    schema = infer_schema(made, "y", task="auto")
    columns, _ = raw_columns(made, schema)
    missing = frozenset(schema.missing_tokens)
    label = label_index(label_values(made, "y", missing), schema) if classes else number_label(made, "y", missing)
    return describe(schema, columns, np.arange(len(label))), columns, label


@pytest.fixture(scope="module", params=[2, 3, 0], ids=["binary", "multiclass", "regression"])
def searched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Searched, Path, int]:
    folder = tmp_path_factory.mktemp("search")
    found = search_table(*table(request.param), None, Budget(trials=12), names=FAST[request.param], folder=folder)
    return found, folder, request.param


def test_first_each_learner_then_known_settings_then_drawn_ones(searched: tuple[Searched, Path, int]) -> None:
    trials = searched[0].trials
    assert [trial.number for trial in trials] == list(range(1, 13))
    far = {trial.learner for trial in trials if not trial.settings and trial.state == "pruned"}
    first = [(name, s) for name, s in first_trials(FAST[searched[2]].split(","), 200) if not s or name not in far]
    assert [(trial.learner, trial.settings) for trial in trials[: len(first)]] == first
    for trial in trials[len(first) :]:
        ranges = SPACES[trial.learner].ranges
        assert set(trial.settings) == set(ranges)
        assert all(one.low <= trial.settings[name] <= one.high for name, one in ranges.items())
    assert all(trial.state == "whole" for trial in trials if not trial.settings and trial.learner not in far)
    assert all(len(trial.losses) == 5 for trial in trials if trial.state == "whole")


def test_the_ensemble_has_whole_trials_only_and_is_no_worse_where_it_was_chosen(
    searched: tuple[Searched, Path, int],
) -> None:
    found, _, classes = searched
    whole = {trial.name: trial for trial in found.trials if trial.state == "whole"}
    weights = found.found.model.weights
    assert set(weights) <= set(whole)
    held = found.found.held_out
    scores = np.sum([weights[name] * held.logits[name] for name in weights], axis=0)
    if isinstance(found.found.model, FittedClasses):
        scores = scores / found.found.model.temperature
    assert (
        loss(scores, held.label) <= min(trial.loss for trial in whole.values()) * 1.05
    )  # few rows pull to equal weights
    assert found.found.leaderboard[0].loss == pytest.approx(
        min(trial.loss for trial in whole.values())
        if classes
        else found.found.model.width * min(trial.loss for trial in whole.values()) ** 0.5  # type: ignore[union-attr]
    )


def test_the_ensembles_graph_equals_training(searched: tuple[Searched, Path, int]) -> None:
    found, _, classes = searched
    _, columns, _ = table(classes)
    model = found.found.model
    session = ort.InferenceSession(export_table(model).SerializeToString(), providers=["CPUExecutionProvider"])
    for rows in (columns, hostile(columns, 500)):
        fed = {f"x{i}": rows[column.name][:, None] for i, column in enumerate(model.schema.inputs)}
        answers = session.run(None, fed)
        if isinstance(model, FittedClasses):
            np.testing.assert_allclose(answers[1], model.predict(rows), atol=1e-5)
        else:
            assert isinstance(model, FittedNumbers)
            np.testing.assert_allclose(answers[0], model.predict(rows), atol=1e-5 * model.width)


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(
    searched: tuple[Searched, Path, int], tmp_path: Path
) -> None:
    whole, folder, classes = searched
    if classes == 3:
        pytest.skip("once is enough")
    for trials in (3, 10, 12):
        again = search_table(*table(classes), None, Budget(trials=trials), names=FAST[classes], folder=tmp_path)
    timeless = [
        [(t.number, t.learner, t.settings, t.state, t.losses, t.setting) for t in one.trials] for one in (whole, again)
    ]
    assert timeless[0] == timeless[1]
    assert again.found.model.weights == whole.found.model.weights
    a, b = (export_table(one.found.model).SerializeToString() for one in (whole, again))
    assert a == b
    kept = {path.name for path in folder.glob("*.npy")}
    assert kept == {f"{trial.number:05}.npy" for trial in whole.trials if trial.state == "whole"}


def learner(scores: Any) -> Learner[Any]:
    """Answers for held-out rows with the first number of theirs, by some function of it."""

    def try_out(encoded: Encoded, label: np.ndarray, held: Encoded, held_label: np.ndarray) -> dict[float, np.ndarray]:
        return {0.0: scores(held.numbers[:, :1].astype(np.float64))}

    def fit(encoded: Encoded, label: np.ndarray, setting: float) -> None:
        return None

    return Learner(try_out, fit)


def test_a_trial_is_given_up_once_it_is_clearly_behind() -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(500, 1))
    encoded = Encoded(truth.astype(np.float32), np.zeros((500, 0), np.int64), truth.astype(np.float32))
    label = truth[:, 0] + 0.5 * generator.normal(size=500)
    folds = InnerFolds(NumberGoal(SQUARED, 0.0, 1.0), encoded, label, np.arange(500) % 5)
    good = run_trial(learner(lambda x: x), folds, None)
    assert good.state == "whole"
    assert good.losses[-1] == pytest.approx(float(np.mean((label - encoded.numbers[:, 0]) ** 2)))
    # The losses of 100 rows differ by 1² + … of those of the rival, far above two standard errors.
    bad = run_trial(learner(lambda x: x + 1), folds, good.scores)
    assert (bad.state, len(bad.losses), bad.scores) == ("pruned", 1, None)
    allowed = run_trial(learner(lambda x: x + 1), folds, good.scores, allowed=9.0)
    assert allowed.state == "whole"  # 1 + 0.25 is less than 10 · 0.25
    near = run_trial(learner(lambda x: 0.99 * x), folds, good.scores)
    assert near.state == "whole"
    late = run_trial(learner(lambda x: x), folds, None, seconds=0.0)
    assert (late.state, len(late.losses), late.scores) == ("late", 1, None)
    with pytest.raises(FloatingPointError, match="not finite"):
        run_trial(learner(lambda x: x * np.nan), folds, None)


def test_a_network_for_which_there_is_no_time_is_given_up() -> None:
    schema, columns, label = table(2)
    ready = prepare(schema, columns, label, None, 0, 0)
    folds = InnerFolds(ready.goal, ready.encoded, ready.label, ready.folds(0))
    network = LEARNERS["network"](Job(ready.preprocessing, 2, training=with_deadline(AS_USUAL, 0.0)))
    with pytest.raises(LateError):
        run_trial(network, folds, None)


def test_trials_come_back_from_the_disk_as_they_were(tmp_path: Path) -> None:
    settings = SPACES["boosting"].first[0]
    trials = [
        Trial(1, "naive_bayes", {}, "whole", (0.1, 0.2 / 3), 0.0, 1.5, 2.25),
        Trial(2, "boosting", settings, "pruned", (0.7,), None, 0.1, 2.4),
        Trial(3, "svm", {}, "failed", (), None, 0.1, 2.5, "no room for so many rows"),
        Trial(4, "tree", {}, "late", (0.4, 0.5), None, 9.0, 11.5),
    ]
    scores = np.random.default_rng(0).normal(size=(7, 2))
    store = TrialStore(tmp_path)
    for trial in trials:
        store.add(trial, scores if trial.state == "whole" else None)
    again = TrialStore(tmp_path)
    assert again.trials() == trials
    assert (again.scores(1) == scores).all()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["00001.npy", "study.db"]


def test_what_is_drawn_follows_from_seed_number_and_trials() -> None:
    trials = [
        Trial(k, "svm", {"strength": 0.1 * k, "narrow": 1.0}, "whole", (0.5 + 0.01 * k,), 1.0, 1.0, float(k))
        for k in range(1, 8)
    ]
    one = draw_settings("svm", trials, 3, 8)
    assert draw_settings("svm", trials, 3, 8) == one
    assert draw_settings("svm", trials, 3, 9) != one
    assert draw_settings("svm", trials, 4, 8) != one


@pytest.mark.parametrize("name", ["absolute", "poisson"])
def test_numbers_are_searched_by_their_loss(name: LossName) -> None:
    schema, columns, label = table(0)
    by = NumberLoss(name)
    found = search_table(schema, columns, label, None, Budget(trials=4), names="linear,boosting", loss=by).found
    assert isinstance(found.model, FittedNumbers)
    assert found.model.loss == by
    best = next(iter(found.every))
    unit = found.held_out.label * found.model.width + found.model.centre
    scores = found.held_out.logits[best][:, 0] * found.model.width + found.model.centre
    wanted = {"absolute": mean_absolute_error, "poisson": mean_poisson_deviance}[name](unit, scores)
    assert found.leaderboard[0].loss == pytest.approx(wanted)


def test_a_budget_is_kept_or_said_to_be_too_small() -> None:
    with pytest.raises(ValueError, match=r"the budget of 0.001 s was over before one learner had been tried; about "):
        search_table(*table(2), None, Budget(seconds=0.001), names="naive_bayes")


def test_every_learner_that_is_tuned_has_its_first_settings_within_their_ranges() -> None:
    for name, space in SPACES.items():
        for settings in space.first:
            assert set(settings) == set(space.ranges), name
            assert all(space.ranges[key].low <= value <= space.ranges[key].high for key, value in settings.items())
    assert set(FIRST) <= set(LEARNERS)
    assert set(SPACES) <= set(LEARNERS)
