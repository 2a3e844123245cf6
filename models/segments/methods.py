"""Points to segments: scikit-learn's k-means and mixtures, and Ward's hierarchy over k-means prototypes."""

# N rows, D components, K segments

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ludocast.models.segments.hierarchy import cut, ward_tree
from ludocast.models.segments.partition import Mixture, Partition, Prototypes, assign
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

LARGE = 50_000  # rows from which on k-means goes by small batches, and a mixture learns from a sample of as many
MOST_PROTOTYPES = 100  # twice as many each follow more noise: simulated groups were found again less well
STARTS = 5
FLOOR = 0.1  # added to the variances of a mixture, in squared standard deviations
FULL_ROWS = 5  # rows a number of a covariance from which on a mixture has full ones


@dataclass(frozen=True)
class Fit:
    """A partition, and the tree it was cut from.

    Attributes:
        partition: K segments.
        tree: As `ward_tree`; None where there is none.
        sizes: Rows of each prototype of the tree.
    """

    partition: Partition
    tree: np.ndarray | None = None
    sizes: np.ndarray | None = None


def fit_kmeans(z: np.ndarray, k: int, seed: int) -> Fit:
    """K-means."""
    return Fit(Prototypes(_centres(z, k, seed), np.arange(k)))


def fit_hierarchical(z: np.ndarray, k: int, seed: int) -> Fit:
    """Prototypes by k-means, then Ward's hierarchy over them: linear in rows."""
    count = min(MOST_PROTOTYPES, max(k, len(z) // 10))
    centres = _centres(z, count, seed, starts=1)
    sizes = _sizes(centres, z)
    centres, sizes = centres[sizes > 0], sizes[sizes > 0]
    tree = ward_tree(centres, sizes)
    return Fit(Prototypes(centres, cut(tree, k)), tree, sizes)


def fit_mixture(z: np.ndarray, k: int, seed: int) -> Fit:
    """A mixture of normal distributions from k-means on, with full covariances where there are rows for them.

    A start at chance would often end in a category: its places have no variance, so that a distribution of its own is
    as dense there as `FLOOR` allows.
    """
    return _mixture(z, Prototypes(_centres(z, k, seed), np.arange(k)), seed)


def refined(fit: Fit, z: np.ndarray, seed: int) -> Fit:
    """The same segments learnt from more rows; a hierarchy stays as it is.

    Anew on all rows, a method might find other segments than those that were chosen.
    """
    if len(z) > LARGE and isinstance(fit.partition, Mixture):
        z = z[np.sort(np.random.default_rng(seed).choice(len(z), LARGE, False))]
    if isinstance(fit.partition, Mixture):
        return _mixture(z, fit.partition, seed)
    if fit.tree is not None:
        return fit
    assert isinstance(fit.partition, Prototypes)
    centres = fit.partition.centres
    return Fit(Prototypes(_centres(z, len(centres), seed, 1, centres), np.arange(len(centres))))


def _mixture(z: np.ndarray, start: Partition, seed: int) -> Fit:
    """From the segments of another partition on."""
    k, width = start.size, z.shape[1]
    owner = assign(start, z)
    sizes = np.bincount(owner, minlength=k)
    means = np.array([z[owner == i].mean(axis=0) if sizes[i] else z.mean(axis=0) for i in range(k)])
    covariances = np.array(
        [np.cov(z[owner == i] if sizes[i] else z, rowvar=False, bias=True).reshape(width, width) for i in range(k)]
    )
    covariances += FLOOR * np.eye(width)
    is_full = len(z) >= FULL_ROWS * k * width * (width + 1) / 2
    model = GaussianMixture(
        k,
        covariance_type="full" if is_full else "diag",
        reg_covar=FLOOR,
        max_iter=200,
        init_params="random_from_data",
        weights_init=np.maximum(sizes, 1) / np.maximum(sizes, 1).sum(),
        means_init=means,
        precisions_init=np.linalg.inv(covariances) if is_full else 1 / np.diagonal(covariances, axis1=1, axis2=2),
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(z)
    cholesky = model.precisions_cholesky_
    factors = cholesky if is_full else np.array([np.diag(row) for row in cholesky])
    return Fit(Mixture(model.weights_, model.means_, factors))


METHODS: Mapping[str, Callable[[np.ndarray, int, int], Fit]] = {
    "kmeans": fit_kmeans,
    "mixture": fit_mixture,
    "hierarchical": fit_hierarchical,
}


def _centres(z: np.ndarray, k: int, seed: int, starts: int = STARTS, begin: np.ndarray | None = None) -> np.ndarray:
    kind = MiniBatchKMeans if len(z) > LARGE else KMeans
    more: dict[str, Any] = {"batch_size": 4096} if len(z) > LARGE else {}
    if begin is not None:
        more["init"] = begin
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than k: checked by the caller
        model = kind(k, n_init=starts, random_state=seed, **more).fit(z)
    return np.asarray(model.cluster_centers_, np.float64)


def _sizes(centres: np.ndarray, z: np.ndarray) -> np.ndarray:
    sizes = np.zeros(len(centres))
    square = (centres**2).sum(axis=1)
    for start in range(0, len(z), 8192):
        nearest = (square - 2 * z[start : start + 8192] @ centres.T).argmin(axis=1)
        sizes += np.bincount(nearest, minlength=len(centres))
    return sizes
