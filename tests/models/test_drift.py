import math

import numpy as np
import pytest
from ludocast.datamodules.reference import ColumnReference, describe_column
from ludocast.models.drift import drifts, stability_index
from scipy.stats import ks_2samp

ROWS = 800


def test_the_index_by_hand() -> None:
    # Counts 9.5, 89.5 (of 99) and 49.5, 49.5 with half a row more in each cell.
    p, q = 9.5 / 99, 0.5
    by_hand = (q - p) * math.log(q / p) + (p - q) * math.log((1 - q) / (1 - p))
    assert stability_index(np.array([9, 89]), np.array([49, 49])) == pytest.approx(by_hand)
    assert stability_index(np.array([5, 5]), np.array([5, 5])) == 0


def _columns(generator: np.random.Generator, shift: float = 0.0) -> list[np.ndarray]:
    """Six numbers and four texts, of which the first ones may have moved."""
    numbers = [generator.normal(size=ROWS), generator.lognormal(0, 2, ROWS), generator.poisson(2, ROWS).astype(float)]
    numbers += [np.where(generator.random(ROWS) < 0.3, np.nan, generator.normal(size=ROWS)) for _ in range(3)]
    numbers[0] = numbers[0] + shift
    texts = [np.array(["a", "b", "c", "d"], object)[generator.integers(4, size=ROWS)] for _ in range(3)]
    texts.append(np.char.add("v", generator.zipf(1.6, ROWS).clip(0, 500).astype(str)).astype(object))
    return [*(one.astype(np.float32) for one in numbers), *texts]


def _described(columns: list[np.ndarray]) -> list[ColumnReference]:
    kinds = ["category" if one.dtype == object else "number" for one in columns]
    return [describe_column(f"c{k}", kind, one) for k, (kind, one) in enumerate(zip(kinds, columns, strict=True))]


def test_tables_that_have_not_moved_are_seldom_said_to_have() -> None:
    generator = np.random.default_rng(4)
    alarms = 0
    for _ in range(150):
        then = _described(_columns(generator))
        now = [one.count(values[:200]) for one, values in zip(then, _columns(generator), strict=True)]
        alarms += any(one.level != "none" for one in drifts(then, now))
    assert alarms <= 6  # 1 % is stated; more than 6 of 150 have a chance of 1e-3 at that rate


def test_a_column_that_has_moved_is_found_and_comes_first() -> None:
    generator = np.random.default_rng(5)
    then = _described(_columns(generator))
    moved = _columns(generator, shift=0.6)
    moved[8][:300] = "new"
    moved[4][:400] = np.nan
    found = drifts(then, [one.count(values) for one, values in zip(then, moved, strict=True)])
    assert {one.name for one in found if one.level != "none"} == {"c0", "c4", "c8"}
    assert {one.name for one in found[:3]} == {"c0", "c4", "c8"}
    by_name = {one.name: one for one in found}
    assert "37.5% of rows hold values that training has not seen" in by_name["c8"].sentence()
    assert "missing in" in by_name["c4"].sentence()
    assert by_name["c4"].ks is not None
    assert by_name["c4"].ks < 0.1  # what is known is distributed as before


def test_ks_is_that_of_scipy_but_for_the_width_of_a_bin() -> None:
    generator = np.random.default_rng(6)
    first, second = generator.normal(size=ROWS), generator.normal(0.4, 1.2, 500)
    then = describe_column("x", "number", first.astype(np.float32))
    (found,) = drifts([then], [then.count(second.astype(np.float32))])
    exact = ks_2samp(first, second)
    assert found.ks is not None
    assert found.ks_chance is not None
    assert exact.statistic - 0.015 < found.ks <= exact.statistic + 1e-6
    assert found.ks_chance < 1e-6
    assert found.level == "moderate" if found.psi < 0.25 else "large"


def test_nothing_to_compare_is_no_drift() -> None:
    empty = describe_column("x", "number", np.full(20, np.nan, np.float32))
    (found,) = drifts([empty], [empty])
    assert (found.level, found.psi, found.ks) == ("none", 0.0, None)
