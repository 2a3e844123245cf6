"""Ward's tree equals scipy's, and weights stand for rows."""

from __future__ import annotations

import numpy as np
from ludocast.models.segments.hierarchy import cut, ward_tree
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score


def test_the_tree_is_that_of_scipy() -> None:
    points = np.random.default_rng(0).normal(size=(60, 4))
    ours, wanted = ward_tree(points, np.ones(60)), linkage(points, "ward")
    np.testing.assert_allclose(ours[:, 2:], wanted[:, 2:], rtol=1e-9)
    assert (np.sort(ours[:, :2]) == np.sort(wanted[:, :2])).all()
    for k in (1, 2, 5, 60):
        assert adjusted_rand_score(cut(ours, k), fcluster(wanted, k, "maxclust")) == 1


def test_a_weight_is_as_many_rows_at_one_place() -> None:
    points = np.random.default_rng(1).normal(size=(12, 2))
    weights = np.random.default_rng(2).integers(1, 6, 12)
    tree = linkage(np.repeat(points, weights, axis=0), "ward")
    heights = tree[tree[:, 2] > 1e-9, 2]  # rows of one place join at 0
    np.testing.assert_allclose(ward_tree(points, weights)[:, 2], heights, rtol=1e-9)
