"""Fitted segmentations of a simulated table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from ludocast.datamodules.infer import RawColumns, infer_columns, raw_columns
from ludocast.datamodules.schema import MISSING_TOKENS, Schema
from ludocast.datamodules.simulate_segments import simulate_segments
from ludocast.models.segments.anomalies import fit_anomalies
from ludocast.models.segments.fit import Points, by_size, fit_points
from ludocast.models.segments.methods import METHODS
from ludocast.models.segments.segmentation import Segmentation


def read(table: pa.Table) -> tuple[Schema, RawColumns]:
    """Schema and raw columns."""
    columns, _ = infer_columns(table, ["player_id"], frozenset(MISSING_TOKENS))
    schema = Schema(tuple(columns), "", (), None)
    return schema, raw_columns(table, schema)[0]


def made(rows: int, seed: int) -> tuple[RawColumns, Points, np.ndarray]:
    """Raw columns, points and true groups."""
    table, truth = simulate_segments(rows, seed)
    schema, columns = read(table)
    return columns, fit_points(schema, columns, 0), truth


def fitted(points: Points, columns: RawColumns, method: str, k: int) -> Segmentation:
    """With anomalies."""
    preprocessing = points.scales.preprocessing
    partition = by_size(METHODS[method](points.z, k, 0).partition, points.z)
    anomalies = fit_anomalies(preprocessing.encode(columns), preprocessing.code_sizes, 0)
    names = tuple(str(i + 1) for i in range(k))
    return Segmentation(points.scales.schema, preprocessing, points.space, partition, names, anomalies)
