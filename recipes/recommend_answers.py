"""What a trained recommender answers to all users that it knows of, as `suggestions.parquet` has it."""

# U users, I items

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from ludocast.datamodules.attributes import of_rows
from ludocast.datamodules.user_items import UserItems
from ludocast.models.recommend.cold_start import ColdStart
from ludocast.models.recommend.ranking import BATCH_SCORES, Recommender, recommend, top_items
from ludocast.recipes.recommend_cold import PlayerTable
from ludocast.serve.manifest import PairColumns
from scipy import sparse


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


def suggestions_for_new(answered: Answered, table: PlayerTable, pairs: PairColumns, k: int = 20) -> pd.DataFrame:
    """Suggestions for users of whom attributes alone are known."""
    ids, rows = table.without_pairs(answered.data)
    count = len(answered.data.items)
    parts = []
    for begin in range(0, len(rows), max(1, BATCH_SCORES // count)):
        part = rows[begin : begin + max(1, BATCH_SCORES // count)]
        raw = of_rows(table.raw, part)
        empty = sparse.csr_matrix((len(part), count))
        scores = answered.model.scores(empty) if answered.cold is None else answered.cold.scores(raw)
        parts.append(_ranks(ids[begin : begin + len(part)], *top_items(scores, k), answered.data.items, pairs))
    none = np.zeros((0, 1), np.int64)
    return pd.concat([_ranks(ids[:0], none, none, answered.data.items, pairs), *parts], ignore_index=True)


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


def suggestions(
    model: Recommender, data: UserItems, user: str, item: str, k: int = 20, repeatable: np.ndarray | None = None
) -> pd.DataFrame:
    """A row for each suggestion: the user, the item, its rank from 1, its score; users and ranks ascending.

    Args:
        model: Fitted.
        data: Whose histories it answers.
        user: Name of the column of users.
        item: Name of the column of items.
        k: Ranks.
        repeatable: Items that are suggested though they are owned, bool [I]; None for none.
    """
    history, owned = data.history, None
    if repeatable is not None:
        owned = sparse.csr_matrix(history @ sparse.diags((~repeatable).astype(float)))
        owned.eliminate_zeros()
    items, scores = recommend(model, history, k, excluded=owned)
    return _ranks(data.users, items, scores, data.items, PairColumns(user, item))
