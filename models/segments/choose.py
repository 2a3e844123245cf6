"""How many segments, and by which method: silhouette, BIC and stability of each candidate, and the rule."""

# N rows, D components, K segments

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ludocast.models.segments.methods import METHODS, Fit
from ludocast.models.segments.partition import Mixture, Partition, assign
from sklearn.metrics import adjusted_rand_score, silhouette_score

MOST = 10  # segments that are tried
SAMPLE = 3000  # rows that the criteria are measured on
HALVES = 5  # fits anew, on half of these rows each
STABLE, NEAR = 0.8, 0.1  # a number of segments is stable from this agreement on, and this near to the most stable one
RULE = (
    f"Of the numbers of segments that are stable (adjusted Rand index {STABLE} or more, and at most {NEAR} below the "
    f"best, between the segments of the sample and those found anew on {HALVES} halves of it) the one with the highest "
    "silhouette is taken, of a mixture the one with the lowest BIC; where none is stable, the most stable one. Of "
    "several methods the one is taken whose choice has the highest stability plus silhouette."
)


@dataclass(frozen=True)
class Candidate:
    """What was measured of a method and a number of segments.

    Attributes:
        silhouette: Mean over rows, −1 to 1: how much nearer a row lies to its own segment than to the next.
        bic: Bayesian information criterion, less is better; of prototypes as of equal round normal distributions.
        stability: Mean adjusted Rand index.
    """

    method: str
    k: int
    silhouette: float
    bic: float
    stability: float


@dataclass(frozen=True)
class Choice:
    """The candidates in the order of trial, the chosen one, and its fit on the sample."""

    candidates: tuple[Candidate, ...]
    chosen: Candidate
    fit: Fit


def choose(z: np.ndarray, methods: Sequence[str], k: int | None, most: int, seed: int) -> Choice:
    """Measure candidates and choose by `RULE`.

    Args:
        z: Points [N, D].
        methods: To try.
        k: Number of segments; None to try 2 to `MOST`.
        most: No more segments than this, the number of different rows.
        seed: Of the sample, its halves and all fits.
    """
    sample, _ = _drawn(z, seed)
    # A half has to have rows for the segments.
    counts = [k] if k is not None else list(range(2, max(min(MOST, most, len(sample) // 4), 2) + 1))
    if k is not None and len(np.unique(sample, axis=0)) < k:
        sample = np.unique(z, axis=0)  # k different rows at least
    found, fits = [], []
    for method in methods:
        for count in counts:
            fits.append(METHODS[method](sample, count, seed))
            found.append(judge(z, fits[-1].partition, method, seed)[0])
    each = [_best([one for one in found if one.method == method]) for method in methods]
    chosen = max(each, key=lambda one: round(one.stability + one.silhouette, 3))
    return Choice(tuple(found), chosen, fits[found.index(chosen)])


def judge(z: np.ndarray, partition: Partition, method: str, seed: int) -> tuple[Candidate, np.ndarray]:
    """The criteria of a partition on the sample, and the stability of each of its segments, float64 [K].

    That is the mean Jaccard index of the segment with its nearest one of each half found anew (Hennig, 2007).

    Args:
        z: Points [N, D].
        partition: To judge.
        method: That found it, and finds segments of the halves.
        seed: As of `choose`.
    """
    sample, halves = _drawn(z, seed)
    owner, k = assign(partition, sample), partition.size
    silhouette = float(silhouette_score(sample, owner)) if 2 <= len(np.unique(owner)) < len(sample) else 0.0
    agreements, likeness = [], np.zeros(k)
    for i, half in enumerate(halves):
        if len(np.unique(sample[half], axis=0)) < k:
            continue
        other = assign(METHODS[method](sample[half], k, seed + 1 + i).partition, sample)
        agreements.append(adjusted_rand_score(owner, other))
        both = np.zeros((k, k))
        np.add.at(both, (owner, other), 1)
        union = both.sum(axis=1, keepdims=True) + both.sum(axis=0) - both
        likeness += (both / np.maximum(union, 1)).max(axis=1)
    stability = float(np.mean(agreements)) if agreements else 0.0
    candidate = Candidate(method, k, silhouette, bic(partition, sample, owner), stability)
    return candidate, likeness / max(len(agreements), 1)


def _drawn(z: np.ndarray, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """The rows that criteria are measured on, and the positions of halves of them."""
    rng = np.random.default_rng(seed)
    sample = z if len(z) <= SAMPLE else z[np.sort(rng.choice(len(z), SAMPLE, False))]
    return sample, [np.sort(rng.permutation(len(sample))[: max(len(sample) // 2, 1)]) for _ in range(HALVES)]


def _best(candidates: Sequence[Candidate]) -> Candidate:
    enough = max(STABLE, max(one.stability for one in candidates) - NEAR)
    stable = [one for one in candidates if one.stability >= enough]
    if not stable:
        return max(candidates, key=lambda one: one.stability)
    if stable[0].method == "mixture":
        return min(stable, key=lambda one: one.bic)
    return max(stable, key=lambda one: one.silhouette)


def bic(partition: Partition, z: np.ndarray, owner: np.ndarray) -> float:
    """−2 ln L + p ln N."""
    rows, width = z.shape
    k = partition.size
    if isinstance(partition, Mixture):
        logs = partition.log_densities(z)
        top = logs.max(axis=1)
        likelihood = float((top + np.log(np.exp(logs - top[:, None]).sum(axis=1))).sum())
        free = k * width + (k - 1) + k * (width * (width + 1) // 2 if partition.is_full else width)
        return float(-2 * likelihood + free * np.log(rows))
    sizes = np.bincount(owner, minlength=k)
    means = np.array([z[owner == i].mean(axis=0) if sizes[i] else np.zeros(width) for i in range(k)])
    squares = float(((z - means[owner]) ** 2).sum())
    variance = max(squares / (rows * width), 1e-12)
    likelihood = float((sizes * np.log(np.maximum(sizes, 1) / rows)).sum())
    likelihood -= 0.5 * rows * width * (float(np.log(2 * np.pi * variance)) + 1)
    return float(-2 * likelihood + (k * width + k) * np.log(rows))
