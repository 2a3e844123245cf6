"""Ward's hierarchy over weighted points: the tree of k-means prototypes, each as heavy as the rows it stands for."""

# P points, D components

from __future__ import annotations

import numpy as np


def ward_tree(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The tree as `scipy.cluster.hierarchy` has it, float64 [P − 1, 4]; equal to scipy's where all weights are 1.

    Joins the two groups whose union adds least to the squared distances from the groups' means (Ward, 1963); the height
    of a join is √(2 a b / (a + b)) · |distance of the means|, the last column the number of points.

    Args:
        points: float64 [P, D].
        weights: Above 0, float64 [P].
    """
    centres, weight = points.astype(np.float64), weights.astype(np.float64)
    count = len(points)
    names, members = np.arange(count), np.ones(count)
    alive = np.ones(count, bool)
    cost = np.array([_costs(centres, weight, i) for i in range(count)])
    np.fill_diagonal(cost, np.inf)
    tree = np.zeros((max(count - 1, 0), 4))
    for step in range(count - 1):
        a, b = np.unravel_index(int(cost.argmin()), cost.shape)
        height = float(np.sqrt(2 * cost[a, b]))
        tree[step] = [*sorted((names[a], names[b])), height, members[a] + members[b]]
        total = weight[a] + weight[b]
        centres[a] = (weight[a] * centres[a] + weight[b] * centres[b]) / total
        weight[a], names[a], members[a] = total, count + step, members[a] + members[b]
        alive[b] = False
        row = np.where(alive, _costs(centres, weight, a), np.inf)
        row[a] = np.inf
        cost[a], cost[:, a] = row, row
        cost[b], cost[:, b] = np.inf, np.inf
    return tree


def _costs(centres: np.ndarray, weight: np.ndarray, i: int | np.intp) -> np.ndarray:
    """What joining i with each other adds to the squared distances."""
    square = ((centres - centres[i]) ** 2).sum(axis=1)
    return np.asarray(weight * weight[i] / (weight + weight[i]) * square)


def cut(tree: np.ndarray, k: int) -> np.ndarray:
    """Group of each point, int64 [P], numbered by their first points, after all joins but the last k − 1."""
    count = len(tree) + 1
    group = {name: [name] for name in range(count)}
    for step in range(count - k):
        a, b = (int(name) for name in tree[step, :2])
        group[count + step] = group.pop(a) + group.pop(b)
    owner = np.empty(count, np.int64)
    for number, points in enumerate(sorted(group.values(), key=min)):
        owner[points] = number
    return owner
