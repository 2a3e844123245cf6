"""Which pairs of inputs act on the label together: score tests against a model in which each input acts alone.

The null model is a logistic regression on every input by itself: each code one-hot, each number on its quantile-normal
scale and once more in bins, so that a bend of one number does not pass for a pair. What it leaves of the label is held
against each pair (Rao's score test; the pairwise scan of Lou et al., KDD 2013, section 4, with a significance level in
place of a ranking). With more than two classes the statistics of the classes but the first are added up. Where the
label is a number, the null model is a ridge regression, and every row's variance is that of its residuals.
"""

# N rows, D numbers, S code columns, V codes of all columns, C classes

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.stats import chi2
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

SIGNIFICANCE = 0.01  # over all pairs of a kind together (Bonferroni)
MOST = 8  # pairs of a kind
CELL_ROWS = 10  # cells of fewer rows do not count in a test
SCAN_ROWS = 50_000  # of more rows a sample is enough to find what is worth an input
SCAN_CODES = 128  # columns of more codes are not paired
BINS = 5


@dataclass(frozen=True)
class Interactions:
    """Pairs of positions, the strongest first: of numbers whose product counts, of code columns that count jointly."""

    products: tuple[tuple[int, int], ...] = ()
    crosses: tuple[tuple[int, int], ...] = ()


def find_interactions(
    numbers: np.ndarray, codes: np.ndarray, code_sizes: list[int], label: np.ndarray, seed: int = 0
) -> Interactions:
    """Test all pairs of numbers and all pairs of code columns.

    Args:
        numbers: float32 [N, D], scaled.
        codes: int64 [N, S].
        code_sizes: Codes of each column.
        label: Class index, int64 [N], of several labels 0 or 1, int64 [N, L], or numbers, float64 [N].
        seed: Of the sample of rows.
    """
    if len(label) > SCAN_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(len(label), SCAN_ROWS, replace=False))
        numbers, codes, label = numbers[rows], codes[rows], label[rows]
    narrow = [s for s, size in enumerate(code_sizes) if size <= SCAN_CODES]
    if (label == label[0]).all() or (numbers.shape[1] < 2 and len(narrow) < 2):
        return Interactions()
    sizes = [code_sizes[s] for s in narrow]
    hot = one_hot(codes[:, narrow], sizes)
    residual, weight = _null_model(numbers, hot, label)
    crosses = _cross_pairs(hot, sizes, residual, weight)
    return Interactions(_product_pairs(numbers, residual, weight), tuple((narrow[a], narrow[b]) for a, b in crosses))


def one_hot(codes: np.ndarray, sizes: list[int]) -> sparse.csr_matrix:
    """Codes [N, S] one-hot, float32 [N, sum(sizes)]."""
    rows, columns = codes.shape
    offset = np.cumsum([0, *sizes])
    flat = (codes + offset[:-1]).ravel()
    starts = np.arange(0, rows * columns + 1, columns) if columns else np.zeros(rows + 1, np.int64)
    return sparse.csr_matrix((np.ones(len(flat), np.float32), flat, starts), shape=(rows, int(offset[-1])))


def _null_model(numbers: np.ndarray, hot: sparse.csr_matrix, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Residuals y − p and variances p (1 − p) of the classes but the first, [N, C − 1] each; of numbers [N, 1].

    Of several labels, [N, L], they are those of each.
    """
    edges = np.quantile(numbers, np.arange(1, BINS) / BINS, axis=0)
    bins = np.zeros(numbers.shape, np.int64)
    for d, edge in enumerate(edges.T):
        bins[:, d] = np.searchsorted(edge, numbers[:, d], side="right")
    design = sparse.hstack([sparse.csr_matrix(numbers), one_hot(bins, [BINS] * numbers.shape[1]), hot]).tocsr()
    if label.dtype.kind == "f":
        scaled = (label - label.mean()) / label.std()
        left = scaled - Ridge(alpha=1.0).fit(design, scaled).predict(design)
        return left[:, None], np.full((len(left), 1), float(np.mean(left**2)))
    if label.ndim == 2:
        # A label that all rows of the sample have, or none, tells nothing.
        each = [_class_residuals(design, one) for one in np.ascontiguousarray(label.T) if one.min() != one.max()]
        residuals, weights = zip(*each, strict=True)
        return np.hstack(residuals), np.hstack(weights)
    return _class_residuals(design, label)


def _class_residuals(design: sparse.csr_matrix, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # residuals of a few steps short of the optimum serve
        model = LogisticRegression(max_iter=100).fit(design, label)
    p = model.predict_proba(design)[:, 1:]
    return (label[:, None] == model.classes_[1:]) - p, p * (1 - p)


def _product_pairs(numbers: np.ndarray, residual: np.ndarray, weight: np.ndarray) -> tuple[tuple[int, int], ...]:
    statistic = product_statistics(numbers, residual, weight)
    first, second = np.triu_indices(numbers.shape[1], 1)
    found = statistic[first, second]
    order = np.argsort(-found, kind="stable")[:MOST]
    limit = chi2.isf(SIGNIFICANCE / max(len(found), 1), residual.shape[1])
    return tuple((int(first[k]), int(second[k])) for k in order if found[k] > limit)


def product_statistics(numbers: np.ndarray, residual: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """U² / var U of U = Σ r xᵢ xⱼ, var U = Σ p (1 − p) (xᵢ xⱼ)²: χ² of one degree of freedom a class, [D, D].

    Args:
        numbers: [N, D].
        residual: y − p, [N, C − 1].
        weight: p (1 − p), [N, C − 1].
    """
    z = numbers.astype(np.float64)
    statistic = np.zeros((z.shape[1], z.shape[1]))
    for r, w in zip(residual.T, weight.T, strict=True):
        statistic += (z.T @ (z * r[:, None])) ** 2 / np.maximum((z**2).T @ (z**2 * w[:, None]), 1e-12)
    return statistic


def _cross_pairs(
    hot: sparse.csr_matrix, sizes: list[int], residual: np.ndarray, weight: np.ndarray
) -> list[tuple[int, int]]:
    if not sizes:
        return []
    statistic, freedom = cross_statistics(hot, sizes, residual, weight)
    pairs = [(a, b) for a in range(len(sizes)) for b in range(a + 1, len(sizes)) if freedom[a, b] > 0]
    significant = [pair for pair in pairs if chi2.sf(statistic[pair], freedom[pair]) * len(pairs) < SIGNIFICANCE]
    return sorted(significant, key=lambda pair: freedom[pair] - statistic[pair])[:MOST]


def cross_statistics(
    hot: sparse.csr_matrix, sizes: list[int], residual: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Σ over the cells of two code columns of (Σ r)² / Σ p (1 − p), and the degrees of freedom, [S, S] each.

    Args:
        hot: The codes one-hot, [N, V].
        sizes: Codes of each column.
        residual: y − p, [N, C − 1].
        weight: p (1 − p), [N, C − 1].
    """
    rows = (hot.T @ hot).toarray()
    cells = np.zeros(rows.shape)
    for r, w in zip(residual.T, weight.T, strict=True):
        sums, variances = ((hot.T @ hot.multiply(v[:, None]).tocsr()).toarray() for v in (r, w))
        cells += sums**2 / np.maximum(variances, 1e-12)
    counted = rows >= CELL_ROWS
    starts = np.cumsum([0, *sizes])[:-1]

    def by_columns(values: np.ndarray) -> np.ndarray:
        return np.asarray(np.add.reduceat(np.add.reduceat(values, starts, axis=0), starts, axis=1))

    return by_columns(cells * counted), by_columns(counted.astype(np.int64)) * residual.shape[1]
