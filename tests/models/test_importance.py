from __future__ import annotations

import numpy as np
import pytest
from ludocast.datamodules.infer import RawColumns
from ludocast.models.importance import contributions, effects, permutation_importance, shown_value


def predict(columns: RawColumns) -> np.ndarray:
    """Log odds 2 x + (1 for "a"); z is not used."""
    odds = 2 * columns["x"] + (columns["c"] == "a")
    p = 1 / (1 + np.exp(-odds.astype(np.float64)))
    return np.stack([1 - p, p], axis=1)


def drawn(rows: int = 2000) -> tuple[RawColumns, np.ndarray]:
    generator = np.random.default_rng(0)
    columns = {
        "x": generator.normal(size=rows).astype(np.float32),
        "c": generator.choice(np.array(["a", "b"], dtype=object), rows),
        "z": generator.normal(size=rows).astype(np.float32),
    }
    return columns, (generator.random(rows) < predict(columns)[:, 1]).astype(int)


def test_an_unused_column_has_no_importance() -> None:
    columns, label = drawn()
    found = {entry.column: entry for entry in permutation_importance(predict, columns, label, 1)}
    assert found["z"].auc == 0
    assert found["z"].log_loss == 0
    assert found["x"].auc > found["c"].auc > 0


def test_effect_is_the_mean_over_rows_with_the_value_set() -> None:
    columns, _ = drawn()
    (effect,) = effects(predict, columns, ["c"], 1)
    assert sorted(effect.values) == ["a", "b"]  # type: ignore[type-var]
    rows = np.random.default_rng(0).permutation(2000)[:200]
    for value, p in zip(effect.values, effect.probability, strict=True):
        odds = 2 * columns["x"][rows].astype(float) + (value == "a")
        assert p == pytest.approx(float(np.mean(1 / (1 + np.exp(-odds)))), abs=1e-6)


def test_contributions_of_an_additive_model_are_differences_from_the_mean() -> None:
    columns, _ = drawn()
    found = {e.column: e for e in contributions(predict, columns, {"x": 1.0, "c": "a", "z": 9.0}, 1)}
    rows = np.random.default_rng(0).permutation(2000)[:100]
    assert found["x"].log_odds == pytest.approx(2 - 2 * float(columns["x"][rows].mean()), abs=1e-5)
    assert found["c"].log_odds == pytest.approx(1 - float((columns["c"][rows] == "a").mean()), abs=1e-6)
    assert found["z"].log_odds == pytest.approx(0, abs=1e-9)


def test_values_are_shown_as_people_read_them() -> None:
    assert shown_value(2.5, np.dtype(np.float32)) == "2.5"
    assert shown_value(float("nan"), np.dtype(np.float32)) == "missing"
    assert shown_value(86_400.0 * 365, np.dtype(np.float64)) == "1971-01-01"
    assert shown_value("", np.dtype(object)) == "missing"
