"""Known groups of a simulated table with columns of every kind are found again."""

from __future__ import annotations

import pytest
from ludocast.models.segments.methods import METHODS
from sklearn.metrics import adjusted_rand_score

from tests.models.segments.made import fitted, made


@pytest.mark.parametrize("method", METHODS)
def test_known_groups_are_found_again(method: str) -> None:
    columns, points, truth = made(3000, 2)
    segment, _, _ = fitted(points, columns, method, 5).predict(columns)
    assert adjusted_rand_score(truth, segment) >= 0.95
