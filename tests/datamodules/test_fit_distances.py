"""Scales for distances: values by hand, what is drawn in, what is left out."""

from __future__ import annotations

import numpy as np
import pytest
from ludocast.datamodules.fit_distances import fit_distances
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.schema import Column, Kind, Schema


def schema(**kinds: Kind) -> Schema:
    return Schema(tuple(Column(name, kind, "") for name, kind in kinds.items()), "", (), None)


def numbers(columns: RawColumns, **kinds: Kind) -> np.ndarray:
    return fit_distances(schema(**kinds), columns).preprocessing.encode(columns).numbers


def test_a_number_is_centred_in_standard_deviations() -> None:
    x = np.array([-1, 0, 1, 2, 3, np.nan], np.float32)
    wanted = (np.array([-1, 0, 1, 2, 3]) - 1) / np.sqrt(2)
    found = numbers({"x": x}, x="number")
    np.testing.assert_allclose(found[:5, 0], wanted, atol=1e-6)
    assert found[5].tolist() == [0, 1]  # the mean, and that it is missing


def test_an_amount_with_a_tail_is_taken_by_its_logarithm() -> None:
    x = np.exp(np.random.default_rng(0).normal(size=2000) * 1.5).astype(np.float32)
    found = numbers({"x": x}, x="number")[:, 0]
    inside = np.log1p(x.astype(np.float64) / np.median(x))
    inside = (inside - inside.mean()) / inside.std()
    assert np.corrcoef(found, inside)[0, 1] > 0.999
    assert np.abs(found - inside).max() < 0.1  # straight between 64 knots


def test_a_far_value_does_not_press_the_others_together() -> None:
    x = np.append(np.random.default_rng(0).normal(size=1000), 1e30).astype(np.float32)
    found = numbers({"x": x}, x="number")[:, 0]
    assert found[:1000].std() == pytest.approx(1, abs=0.05)
    assert found[1000] < 8


def test_rare_values_share_a_place_and_names_are_left_out() -> None:
    columns: RawColumns = {
        "a": np.array(["x"] * 600 + ["y"] * 396 + list("abcd"), object),
        "name": np.array([f"n{i}" for i in range(1000)], object),
    }
    found = fit_distances(schema(a="category", name="category"), columns)
    assert found.preprocessing.codes[0].keys.tolist() == ["x", "y"]
    assert "4 rarer values share one" in found.told["a"]
    assert {column.name: column.kind for column in found.schema.columns} == {"a": "category", "name": "ignored"}
    with pytest.raises(ValueError, match='no column is left to tell rows apart \\("name": no value is frequent'):
        fit_distances(schema(name="category"), {"name": columns["name"]})
