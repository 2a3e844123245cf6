"""What a trained recommender answers to all users that it knows of, as `suggestions.parquet` has it."""

# U users, I items, B users of a batch

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from ludocast.datamodules.attributes import of_rows
from ludocast.datamodules.user_items import UserItems
from ludocast.models.recommend.cold_start import ColdStart
from ludocast.models.recommend.ranking import BATCH_SCORES, NOBODY, Recommender, recommend, top_items
from ludocast.recipes.recommend_cold import PlayerTable
from ludocast.serve.manifest_sequences import PairColumns
from scipy import sparse

SOME_USERS = 40_960  # that are answered at once: 20 suggestions each take 13 MB, and more as a table


@dataclass(frozen=True)
class Answered:
    """What answers, and whom.

    Attributes:
        model: That is shipped.
        data: All pairs, their items being the catalogue.
        categories: Of the items, objects [I]; None where there are none.
        repeatable: Items that are suggested though they are owned, bool [I]; None for none.
        cold: What answers users without pairs by attributes; None for popularity.
        table: Users and their attributes; None where there is none.
    """

    model: Recommender
    data: UserItems
    categories: np.ndarray | None = None
    repeatable: np.ndarray | None = None
    cold: ColdStart | None = None
    table: PlayerTable | None = None


def longer(repeatable: np.ndarray | None, items: int) -> np.ndarray | None:
    """New items, which stand behind the others, are like those."""
    if repeatable is None:
        return None
    return np.concatenate([repeatable, np.full(items - len(repeatable), bool(repeatable.all()))])


def write_suggestions(path: Path, answered: Answered, pairs: PairColumns, k: int = 20) -> None:
    """A Parquet file with a row for each suggestion: the user, the item, its rank from 1, its score.

    Users ascend, those of whom attributes alone are known among them, and ranks ascend within each. Some users are
    answered at a time, so that memory does not grow with them.

    Args:
        path: Of the file.
        answered: Model and users.
        pairs: Names of the columns of users and items.
        k: Ranks.
    """
    data = answered.data
    known = len(data.users)
    new_ids, new_rows = data.users[:0], np.zeros(0, np.int64)
    if answered.table is not None:
        new_ids, new_rows = answered.table.without_pairs(data)
    ids = np.concatenate([data.users, new_ids])
    order = np.argsort(ids, kind="stable") if len(new_ids) else np.arange(known)
    sample = _ranks(data.users[:1], np.zeros((1, 1), np.int64), np.zeros((1, 1)), data.items, pairs)
    schema = pa.Table.from_pandas(sample, preserve_index=False).schema
    with pq.ParquetWriter(path, schema) as writer:
        for begin in range(0, len(order), SOME_USERS):
            part = order[begin : begin + SOME_USERS]
            items = np.full((len(part), min(k, len(data.items))), NOBODY)
            scores = np.zeros(items.shape)
            is_new = part >= known
            items[~is_new], scores[~is_new] = _of_known(answered, part[~is_new], k)
            items[is_new], scores[is_new] = _of_new(answered, new_rows[part[is_new] - known], k)
            frame = _ranks(ids[part], items, scores, data.items, pairs)
            writer.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False))


def _of_known(answered: Answered, users: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """As `recommend`, of these users [B]."""
    history, owned = sparse.csr_matrix(answered.data.history[users]), None
    if answered.repeatable is not None:
        owned = sparse.csr_matrix(history @ sparse.diags((~answered.repeatable).astype(float)))
        owned.eliminate_zeros()
    return recommend(answered.model, history, k, excluded=owned)


def _of_new(answered: Answered, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The same of users of whom attributes alone are known, by their rows of the table [B]."""
    count = len(answered.data.items)
    found = [(np.zeros((0, min(k, count)), np.int64), np.zeros((0, min(k, count))))]
    size = max(1, BATCH_SCORES // count)
    for begin in range(0, len(rows), size):
        part = rows[begin : begin + size]
        if answered.cold is None or answered.table is None:
            scores = answered.model.scores(sparse.csr_matrix((len(part), count)))
        else:
            scores = answered.cold.scores(of_rows(answered.table.raw, part))
        found.append(top_items(scores, k))
    return np.concatenate([items for items, _ in found]), np.concatenate([scores for _, scores in found])


def _ranks(
    users: np.ndarray, items: np.ndarray, scores: np.ndarray, names: np.ndarray, pairs: PairColumns
) -> pd.DataFrame:
    row, rank = np.nonzero(items >= 0)
    return pd.DataFrame(
        {
            pairs.user: users[row],
            pairs.item: names[items[row, rank]],
            "rank": (rank + 1).astype(np.int32),
            "score": scores[row, rank].astype(np.float32),
        }
    )
