"""Learners of amounts: against players of known value, a hurdle by hand, bounds by ranks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from ludocast.datamodules.infer import RawColumns, infer_schema, raw_columns
from ludocast.datamodules.simulate_value import simulate_value
from ludocast.models.conformal import fit_ratios
from ludocast.models.fitted import FittedNumbers
from ludocast.models.table.fit import FittedTable
from ludocast.models.value.fit import fit_value
from ludocast.models.value.learners import value_learner_names
from ludocast.models.value.measures import deviance, normalised_gini, tenth_table

LABEL = "spent_next_90d"
FAST = "hurdle_boosting,hurdle_tweedie,hurdle_linear,tweedie,boosting"
TRAINED, TESTED = 4_000, 10_000


@pytest.fixture(scope="module")
def players() -> tuple[pa.Table, np.ndarray]:
    return simulate_value(TRAINED + TESTED, 5)


@pytest.fixture(scope="module")
def found(players: tuple[pa.Table, np.ndarray]) -> tuple[FittedTable, RawColumns]:
    table, _ = players
    schema = infer_schema(table, LABEL, None, ["player_id"], task="regression")
    columns, _ = raw_columns(table, schema)
    label = table[LABEL].to_numpy()[:TRAINED]
    trained = {name: values[:TRAINED] for name, values in columns.items()}
    return fit_value(schema, trained, label, None, names=FAST), {
        name: values[TRAINED:] for name, values in columns.items()
    }


def test_the_ranking_is_near_the_best_possible_and_ahead_of_squared_errors(
    players: tuple[pa.Table, np.ndarray], found: tuple[FittedTable, RawColumns]
) -> None:
    mean = players[1][TRAINED:]  # the best prediction there can be
    fitted, columns = found
    ours, squared = (model.predict(columns) for model in (fitted.model, fitted.every["boosting"]))
    assert normalised_gini(ours, mean) > 0.95
    assert normalised_gini(ours, mean) > normalised_gini(squared, mean) + 0.01
    assert deviance(ours, mean) < deviance(squared, mean) / 2
    # How differently the tenths are off: by how much all of them are is chance, of so few who pay a lot.
    spread = [np.std([np.log(t.predicted / t.actual.value) for t in tenth_table(v, mean)]) for v in (ours, squared)]
    assert spread[0] < spread[1] / 1.5


def test_the_sum_is_that_of_the_held_out_rows(found: tuple[FittedTable, RawColumns]) -> None:
    fitted, _ = found
    for one in (fitted.model, *fitted.every.values()):
        assert isinstance(one, FittedNumbers)
        values = sum(weight * fitted.held_out.logits[name] for name, weight in one.weights.items())
        assert np.sum(values) == pytest.approx(fitted.held_out.label.sum())


def test_intervals_hold_what_they_promise(
    players: tuple[pa.Table, np.ndarray], found: tuple[FittedTable, RawColumns]
) -> None:
    label = players[0][LABEL].to_numpy()[TRAINED:]
    fitted, columns = found
    assert isinstance(fitted.model, FittedNumbers)
    value = fitted.model.predict(columns)
    bounds = fitted.model.bounds(value)
    inside = (bounds[:, 0] <= label) & (label <= bounds[:, 1])
    for part in np.array_split(np.argsort(value), 10):
        zeros = float(np.mean(label[part] == 0))
        assert inside[part].mean() > 0.85
        assert inside[part].mean() < max(0.94, zeros + 0.01), "no more than the rows of nothing make it"
    assert 0.88 < inside.mean() < 0.92


def test_bounds_are_those_of_the_ranks() -> None:
    """Of 39 rows the 5 % rank is ⌊40 · 0.05⌋ = 2; where a 0 stands there, the upper bound is that of 10 %, rank 4."""
    score, ratio = np.full(39, 2.0), np.arange(1.0, 40) / 20
    low, high = fit_ratios(score, score * ratio).offsets(np.array([2.0]))[0] + 2.0
    assert (low, high) == pytest.approx((2 * 2 / 20, 2 * 38 / 20))
    ratio[:2] = 0
    low, high = fit_ratios(score, score * ratio).offsets(np.array([2.0]))[0] + 2.0
    assert (low, high) == pytest.approx((0, 2 * 36 / 20))


def test_an_unknown_learner_is_told_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match='there is no learner "tweedy"; did you mean "tweedie"'):
        value_learner_names("tweedy")
    assert value_learner_names("boosting, tweedie,boosting") == ("boosting", "tweedie")
