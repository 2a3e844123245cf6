"""Known groups of a simulated table with columns of every kind are found again."""

from __future__ import annotations

import pytest
from ludocast.models.segments.choose import choose
from ludocast.models.segments.methods import METHODS
from ludocast.models.segments.partition import assign
from sklearn.metrics import adjusted_rand_score

from tests.models.segments.made import fitted, made


@pytest.mark.parametrize("method", METHODS)
def test_known_groups_are_found_again(method: str) -> None:
    columns, points, truth = made(3000, 2)
    segment, _, _ = fitted(points, columns, method, 5).predict(columns)
    assert adjusted_rand_score(truth, segment) >= 0.95


def test_their_number_is_found_in_the_tree() -> None:
    _, points, truth = made(3000, 0)
    choice = choose(points.z, ["hierarchical"], None, 100, 0)
    assert choice.chosen.k == 5
    assert adjusted_rand_score(truth, assign(choice.fit.partition, points.z)) >= 0.95
