"""Which segment each row of a table was in, kept beside the figures, and how far two runs agree on it."""

# N rows

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import adjusted_rand_score

SEGMENTS_FILE = "segments.parquet"
_KEY = b"ludocast"


@dataclass(frozen=True)
class Assignments:
    """Segments of the rows they were found in.

    Attributes:
        data_sha256: Of the table.
        segment: Of each row in its order, a position in `names`, int64 [N].
        names: Of the segments.
    """

    data_sha256: str
    segment: np.ndarray
    names: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Write as `SEGMENTS_FILE` of a folder."""
        names = pa.array(self.names, pa.string())
        column = pa.DictionaryArray.from_arrays(pa.array(self.segment, pa.int32()), names)
        about = json.dumps({"data_sha256": self.data_sha256, "names": self.names}, ensure_ascii=False)
        table = pa.table({"segment": column}).replace_schema_metadata({_KEY: about.encode()})
        pq.write_table(table, folder / SEGMENTS_FILE, compression="zstd")


def read_assignments(folder: Path) -> Assignments:
    """Read what `Assignments.write` wrote.

    Raises:
        ValueError: If they are damaged.
    """
    path = folder / SEGMENTS_FILE
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[_KEY])
        names = tuple(map(str, about["names"]))
        found = pa.compute.index_in(table["segment"].cast(pa.string()), pa.array(names, pa.string()))
        return Assignments(str(about["data_sha256"]), found.to_numpy().astype(np.int64), names)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__} {error}); find the segments again") from error


@dataclass(frozen=True)
class Agreement:
    """How far two runs put the same rows together.

    Attributes:
        index: Adjusted Rand index, 1 for the same segments, about 0 for chance.
        pairs: Of each segment of the second run its name, that of the first run's with which it shares most rows, and
            the share of its own rows that these are; the largest segment first.
    """

    index: float
    pairs: tuple[tuple[str, str, float], ...]


def agreement(first: Assignments, second: Assignments) -> Agreement:
    """Compare segments of the same rows.

    Raises:
        ValueError: If they are of different tables.
    """
    if first.data_sha256 != second.data_sha256 or len(first.segment) != len(second.segment):
        raise ValueError(
            "the segments were found in different tables, so no row can be held against itself; `ludocast evaluate` "
            "tells how far another table has moved from the one of a bundle"
        )
    both = np.zeros((len(second.names), len(first.names)))
    np.add.at(both, (second.segment, first.segment), 1)
    sizes = both.sum(axis=1)
    order = [k for k in np.argsort(-sizes, kind="stable").tolist() if sizes[k]]
    nearest = both.argmax(axis=1)
    pairs = tuple((second.names[k], first.names[nearest[k]], float(both[k, nearest[k]] / sizes[k])) for k in order)
    return Agreement(float(adjusted_rand_score(first.segment, second.segment)), pairs)
