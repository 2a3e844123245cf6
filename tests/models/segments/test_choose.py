"""The number of segments: its criteria against scikit-learn's, and the rule."""

from __future__ import annotations

import numpy as np
import pytest
from ludocast.models.segments.choose import Candidate, _best, bic, choose, judge
from ludocast.models.segments.fit import by_size
from ludocast.models.segments.methods import METHODS, fit_mixture, refined
from ludocast.models.segments.partition import Mixture, Prototypes, assign
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture


def blobs(rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    z, group = make_blobs(rows, centers=[[0, 0], [6, 0], [0, 6], [6, 6]], cluster_std=1.0, random_state=0)[:2]
    return np.asarray(z), np.asarray(group)


@pytest.mark.parametrize("method", METHODS)
def test_four_groups_are_counted(method: str) -> None:
    z, _ = blobs()
    choice = choose(z, [method], None, 100, 0)
    assert choice.chosen.k == 4
    assert [one.k for one in choice.candidates] == list(range(2, 11))
    final, stability = judge(z, refined(choice.fit, z, 0).partition, method, 0)
    assert (stability > 0.9).all()
    assert final.stability == pytest.approx(choice.chosen.stability, abs=0.05)


def test_the_bic_of_a_mixture_is_that_of_scikit_learn() -> None:
    z, _ = blobs()
    partition = fit_mixture(z, 4, 0).partition
    assert isinstance(partition, Mixture)
    model = GaussianMixture(4)
    model.weights_, model.means_ = partition.weights, partition.means
    model.precisions_cholesky_, model.covariances_ = partition.factors, np.zeros((4, 2, 2))
    assert bic(partition, z, assign(partition, z)) == pytest.approx(model.bic(z), rel=1e-9)
    np.testing.assert_allclose(partition.measured(z), model.predict_proba(z), atol=1e-9)


def test_the_bic_of_prototypes_by_a_loop() -> None:
    z = np.array([[0.0, 0.0], [0.0, 2.0], [10.0, 0.0]])
    partition = Prototypes(np.array([[0.0, 1.0], [10.0, 0.0]]), np.arange(2))
    variance = 2 / 6  # two squares of 1 over three rows of two numbers
    likelihood = 0.0
    for size, square in ((2, 1.0), (2, 1.0), (1, 0.0)):
        likelihood += np.log(size / 3) - np.log(2 * np.pi * variance) - square / (2 * variance)
    assert bic(partition, z, np.array([0, 0, 1])) == pytest.approx(-2 * likelihood + 6 * np.log(3))


def test_the_rule() -> None:
    def one(method: str, k: int, silhouette: float, bic: float, stability: float) -> Candidate:
        return Candidate(method, k, silhouette, bic, stability)

    stable, best, shaky = (one("kmeans", k, s, 0, t) for k, s, t in ((2, 0.3, 0.9), (3, 0.4, 0.81), (4, 0.9, 0.79)))
    assert _best([stable, best, shaky]) is best
    assert _best([stable, best, one("kmeans", 4, 0.2, 0, 1.0)]).k == 2  # 3 is too far below the most stable
    assert _best([shaky, one("kmeans", 5, 1.0, 0, 0.5)]) is shaky
    low = one("mixture", 3, 0.1, -5, 0.9)
    assert _best([one("mixture", 2, 0.5, 0, 0.9), low]) is low


def test_the_largest_segment_is_the_first() -> None:
    z = np.concatenate([np.zeros((3, 1)), np.full((5, 1), 9.0)])
    for partition in (Prototypes(np.array([[0.0], [9.0]]), np.arange(2)), fit_mixture(z, 2, 0).partition):
        assert assign(by_size(partition, z), z).tolist() == [1] * 3 + [0] * 5


@pytest.mark.parametrize("method", METHODS)
def test_of_many_rows_the_segments_are_those_chosen_on_the_sample(method: str) -> None:
    z, group = blobs(9000)
    choice = choose(z, [method], 4, 100, 0)
    owner = assign(refined(choice.fit, z, 0).partition, z)
    assert adjusted_rand_score(owner, assign(choice.fit.partition, z)) > 0.97
    assert adjusted_rand_score(owner, group) > 0.97
