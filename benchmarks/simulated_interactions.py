"""A simulated log of who had what, of any size: tastes, popularity of a long tail, histories of all lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CLUSTERS, TASTES = 200, 4  # of items, and of a user
BY_TASTE = 0.7  # of the rows; the others go by popularity alone
SPREAD = 0.8  # deviation of the logarithm of a history's length
ZIPF, HEAD = 0.8, 10.0  # popularity of rank r is (r + HEAD)^−ZIPF
LONGEST = 2_000
CHUNK = 50_000  # users at once


def write_interactions(path: Path, users: int, items: int, rows: int, seed: int = 0) -> int:
    """Write a Parquet file of the columns `user` and `item`, whole numbers, user after user.

    A user's rows are drawn with replacement, so a few pairs stand twice.

    Args:
        path: Of the file.
        users: Number of them.
        items: Number of them.
        rows: About so many.
        seed: Of all draws.

    Returns:
        Rows that were written.
    """
    generator = np.random.default_rng(seed)
    popularity = (generator.permutation(items) + HEAD) ** -ZIPF
    cluster = generator.integers(0, CLUSTERS, items)
    order = np.argsort(cluster, kind="stable")
    begin = np.searchsorted(cluster[order], np.arange(CLUSTERS + 1))
    by_taste = np.concatenate([[0.0], np.cumsum(popularity[order])])
    by_all = np.cumsum(popularity)
    written = 0
    schema = pa.schema([("user", pa.int64()), ("item", pa.int64())])
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, users, CHUNK):
            count = min(CHUNK, users - first)
            length = np.exp(generator.normal(np.log(rows / users) - SPREAD**2 / 2, SPREAD, count))
            length = np.clip(length.round().astype(int), 1, LONGEST)
            tastes = generator.integers(0, CLUSTERS, (count, TASTES))
            user = np.repeat(np.arange(count), length)
            taste = tastes[user, generator.integers(0, TASTES, len(user))]
            low, high = by_taste[begin[taste]], by_taste[begin[taste + 1]]
            draw = np.searchsorted(by_taste, low + (high - low) * generator.random(len(user)), side="right") - 1
            liked = order[np.minimum(draw, items - 1)]
            known = np.minimum(np.searchsorted(by_all, by_all[-1] * generator.random(len(user))), items - 1)
            item = np.where(generator.random(len(user)) < BY_TASTE, liked, known)
            writer.write_table(pa.table({"user": user + first, "item": item}, schema))
            written += len(user)
    return written
