"""What a profile says is true: every claim worked out anew from the table."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ludocast.datamodules.infer import RawColumns
from ludocast.models.segments.profiles import Profile, holm, profile_segments, typical_row
from ludocast.models.segments.told import ALIKE, LEVEL, SMALL, Teller
from ludocast.models.segments.trait import LARGE, Trait
from scipy.stats import mannwhitneyu, spearmanr

from tests.models.segments.made import fitted, made


@pytest.fixture(scope="module")
def case() -> tuple[RawColumns, np.ndarray, tuple[Profile, ...]]:
    columns, points, _ = made(1200, 4)
    segmentation = fitted(points, columns, "kmeans", 5)
    segment, _, _ = segmentation.predict(columns)
    return columns, segment, profile_segments(segmentation.schema, columns, segment, segmentation.names)


def sides(columns: RawColumns, segment: np.ndarray, k: int, trait: Trait) -> tuple[pd.Series, pd.Series]:
    """Known values, or whether a row has the category, inside and outside."""
    series: Any = pd.Series(columns[trait.column])
    if trait.value is not None:
        series = series.isna() if trait.value == "" and series.dtype != object else series == trait.value
    inside = segment == k
    return series[inside].dropna(), series[~inside].dropna()


def test_effects_and_medians_are_those_of_the_table(case: tuple[RawColumns, np.ndarray, tuple[Profile, ...]]) -> None:
    columns, segment, profiles = case
    for k, profile in enumerate(profiles):
        assert profile.rows == int((segment == k).sum())
        for trait in profile.traits:
            inside, outside = sides(columns, segment, k, trait)
            a, b = inside.to_numpy(float), outside.to_numpy(float)
            wins = np.sign(a[:, None] - b[None, :]).mean()  # every pair of rows
            assert trait.delta == pytest.approx(wins, abs=1e-9)
            assert trait.inside == pytest.approx(getattr(inside, trait.middle)(), rel=1e-6)
            assert trait.outside == pytest.approx(getattr(outside, trait.middle)(), rel=1e-6)


def test_tests_are_those_of_scipy_corrected_for_all(case: tuple[RawColumns, np.ndarray, tuple[Profile, ...]]) -> None:
    columns, segment, profiles = case
    traits = [(k, trait) for k, profile in enumerate(profiles) for trait in profile.traits]
    plain = []
    for k, trait in traits:
        inside, outside = (side.to_numpy(float) for side in sides(columns, segment, k, trait))
        asked: dict[str, Any] = {"method": "asymptotic", "use_continuity": False}
        same = len(np.unique(np.concatenate([inside, outside]))) == 1
        plain.append(1.0 if same else float(mannwhitneyu(inside, outside, **asked).pvalue))
    np.testing.assert_allclose([trait.p for _, trait in traits], holm(np.array(plain)), rtol=1e-6, atol=1e-300)


def test_every_sentence_is_true(case: tuple[RawColumns, np.ndarray, tuple[Profile, ...]]) -> None:
    columns, segment, profiles = case
    claims = 0
    assert not any(trait.alike for profile in profiles for trait in profile.told)
    for k, profile in enumerate(profiles):
        head, _, words = profile.sentence().partition(": ")
        found = re.fullmatch(r"Segment (\S+), (\S+) %", head)
        assert found is not None
        assert float(found[2]) == pytest.approx(100 * (segment == k).mean(), abs=0.51)
        for claim in words.split("; "):
            claims += check(claim, columns, segment == k)
    assert claims >= 15


def check(claim: str, columns: RawColumns, inside: np.ndarray) -> int:
    number = re.fullmatch(r"(\S+) (much )?(higher|lower|later|earlier) \(median (\S+) against (\S+)\)", claim)
    if number is not None:
        values = pd.Series(columns[number[1]])
        a, b = values[inside].dropna(), values[~inside].dropna()
        delta = np.sign(a.to_numpy()[:, None] - b.to_numpy()[None, :]).mean()
        assert (delta > 0) == (number[3] in ("higher", "later")), claim
        assert abs(delta) >= (LARGE if number[2] else SMALL), claim
        for said, true in ((number[4], a.median()), (number[5], b.median())):
            assert float(said.replace(",", "")) == pytest.approx(true, rel=0.006, abs=0.5 if true >= 1000 else 1e-9), (
                claim
            )
        assert mannwhitneyu(a, b).pvalue < LEVEL
        return 1
    text = re.fullmatch(r"(\S+) = (\S+) (more|less) often \((\S+) % against (\S+) %\)", claim)
    assert text is not None, claim
    has = columns[text[1]] == text[2]
    a, b = has[inside].mean(), has[~inside].mean()
    assert (a > b) == (text[3] == "more"), claim
    assert abs(a - b) >= SMALL, claim
    assert float(text[4]) == pytest.approx(100 * a, abs=0.51), claim
    assert float(text[5]) == pytest.approx(100 * b, abs=0.51), claim
    return 1


def test_columns_that_say_the_same_are_told_once() -> None:
    generator = np.random.default_rng(0)
    segment = np.repeat([0, 1], [40, 60])
    spent = generator.normal(size=100) + 3 * (segment == 0)
    noisy = spent + generator.normal(0, 2, 100)  # of the segment too, and not by the same rows
    plan = np.where(segment == 0, "gold", "free").astype(object)
    columns: RawColumns = {"spent": spent, "paid": np.exp(-spent), "noisy": noisy, "plan": plan, "same": plan.copy()}
    assert abs(spearmanr(spent, columns["paid"])[0]) >= ALIKE > abs(spearmanr(spent, noisy)[0])
    traits = [
        Trait("plan", "gold", 1.0, 0.0, 1.0, 0.0), Trait("plan", "free", -1.0, 0.0, 0.0, 1.0),
        Trait("same", "gold", 1.0, 0.0, 1.0, 0.0), Trait("spent", None, 0.9, 0.0, 3.0, 0.0),
        Trait("paid", None, -0.9, 0.0, 0.0, 1.0), Trait("noisy", None, 0.6, 0.0, 3.0, 0.0),
        Trait("other", None, 0.9, 2 * LEVEL, 3.0, 0.0), Trait("other", None, SMALL / 2, 0.0, 3.0, 0.0),
    ]  # fmt: skip
    told = Teller(columns).told(traits)
    assert [(one.column, one.value, one.alike) for one in told] == [
        ("plan", "gold", ("same",)),
        ("spent", None, ("paid",)),
        ("noisy", None, ()),
    ]
    assert told[0].words() == "plan = gold more often (100 % against 0 %), along with same"
    many = Trait("a", None, 0.9, 0.0, 3.0, 0.0, alike=("b", "c", "d", "e", "f"))
    assert many.words() == "a much higher (median 3 against 0), along with b, c, d and 2 more"


def test_holm_by_hand() -> None:
    # 0.01·4, 0.02·3, 0.03·2 no lower than before, 0.5·1
    np.testing.assert_allclose(holm(np.array([0.03, 0.01, 0.5, 0.02])), [0.06, 0.04, 0.5, 0.06])


def test_a_typical_row_is_nobodys() -> None:
    columns: RawColumns = {"a": np.arange(21, dtype=np.float32), "b": np.array(["x"] * 15 + ["y"] * 6, object)}
    assert typical_row(columns, columns["a"] < 9) is None  # a segment of nine
    assert typical_row(columns, columns["a"] < 21) is None  # a = 10 and b = x is one real row
    columns["a"] = np.repeat(np.array([1, 2], np.float32), [15, 6])
    assert typical_row(columns, np.ones(21, bool)) == {"a": 1.0, "b": "x"}  # of fifteen rows alike
