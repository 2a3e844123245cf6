"""A fitted segmentation: raw columns to a segment's name, and a distance or probability a segment."""

# N rows, D components, K segments

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.preprocess import Encoded, Preprocessing
from ludocast.datamodules.schema import Schema
from ludocast.models.segments.anomalies import Anomalies
from ludocast.models.segments.partition import CHUNK, Partition, segments_of
from ludocast.models.segments.space import Space


@dataclass(frozen=True)
class Segmentation:
    """All that is fitted.

    Attributes:
        names: One a segment.
        anomalies: None where they were not asked for.
    """

    schema: Schema
    preprocessing: Preprocessing
    space: Space
    partition: Partition
    names: tuple[str, ...]
    anomalies: Anomalies | None = None

    @property
    def measures(self) -> tuple[str, ...]:
        """What is told of each segment, then "anomaly" where there is a score of the row."""
        return (self.partition.measure, *(() if self.anomalies is None else ("anomaly",)))

    def predict(self, columns: RawColumns) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Segment of each row, int64 [N]; distances or probabilities, float32 [N, K]; anomaly scores, float32 [N]."""
        found = [self._predict(encoded) for encoded in encoded_chunks(self.preprocessing, columns)]
        segment, measured, score = zip(*found, strict=True)
        scores = None if self.anomalies is None else np.concatenate([one for one in score if one is not None])
        return np.concatenate(segment), np.concatenate(measured), scores

    def _predict(self, encoded: Encoded) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        measured = self.partition.measured(self.space.points(encoded))
        score = None if self.anomalies is None else self.anomalies.scores(encoded).astype(np.float32)
        return segments_of(self.partition, measured), measured.astype(np.float32), score


def encoded_chunks(preprocessing: Preprocessing, columns: RawColumns) -> Iterator[Encoded]:
    """Some rows at a time; one chunk at least."""
    rows = len(next(iter(columns.values())))
    for start in range(0, max(rows, 1), CHUNK):
        yield preprocessing.encode({name: values[start : start + CHUNK] for name, values in columns.items()})
