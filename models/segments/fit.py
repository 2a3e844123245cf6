"""A table to fitted segments: scales, points, a partition, names by size."""

# N rows, D components, K segments

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.fit_distances import DistanceScales, fit_distances
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.schema import Schema
from ludocast.models.segments.partition import Partition, assign
from ludocast.models.segments.segmentation import encoded_chunks
from ludocast.models.segments.space import FIT_ROWS, Space, fit_space, told_weights


@dataclass(frozen=True)
class Points:
    """A table as points.

    Attributes:
        scales: How columns became numbers.
        space: How these became points.
        z: float64 [N, D].
        told: Column to a sentence on its scale and weight.
    """

    scales: DistanceScales
    space: Space
    z: np.ndarray
    told: dict[str, str]


def fit_points(schema: Schema, columns: RawColumns, seed: int) -> Points:
    """Fit scales, weights and components, and apply them.

    Raises:
        ValueError: If all rows are alike.
    """
    scales = fit_distances(schema, columns)
    rows = len(next(iter(columns.values())))
    used = {column.name: columns[column.name] for column in scales.schema.inputs}
    sample = used
    if rows > FIT_ROWS:
        drawn = np.sort(np.random.default_rng(seed).choice(rows, FIT_ROWS, False))
        sample = {name: values[drawn] for name, values in used.items()}
    space = fit_space(scales.preprocessing, scales.preprocessing.encode(sample))
    z = np.concatenate([space.points(encoded) for encoded in encoded_chunks(scales.preprocessing, used)])
    if bool((np.abs(z - z[0]) < 1e-9).all()):
        raise ValueError("all rows are alike in the columns that are used, so there are no segments to find")
    told = dict(scales.told)
    for name, sentence in told_weights(scales.preprocessing, space).items():
        told[name] += f"; {sentence}"
    return Points(scales, space, z, told)


def by_size(partition: Partition, z: np.ndarray) -> Partition:
    """The same segments, the largest first."""
    sizes = np.bincount(assign(partition, z), minlength=partition.size)
    return partition.renamed(np.argsort(-sizes, kind="stable"))


def different_rows(z: np.ndarray, enough: int) -> int:
    """How many different points there are; counted up to `enough` at least, for k cannot be above it."""
    for rows in (50 * enough, len(z)):
        found = len(np.unique(z[:rows].round(9), axis=0))
        if found >= enough:
            break
    return found
