"""New players and new items of `ludocast train recommend`: their tables, what is learnt of them, what is told of it."""

# U users, I items, M new items, R rows of a table

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path
from typing import Literal

import numpy as np
from ludocast.datamodules.attributes import AttributeTable, read_attributes, user_schema
from ludocast.datamodules.cells import WHOLE
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.item_features import item_features
from ludocast.datamodules.schema import Schema
from ludocast.datamodules.user_items import UserItems
from ludocast.models.recommend.cold_start import LEAST_USERS, ColdData, ColdStart, ColdTried, try_cold, widened
from ludocast.models.recommend.cold_start import NAMES as PLAYER_WAYS
from ludocast.models.recommend.item_item import EASE, ItemItem, Popularity
from ludocast.models.recommend.new_item_choice import NAMES as ITEM_WAYS
from ludocast.models.recommend.new_item_choice import (
    Joined,
    NewItemsTried,
    TooFewError,
    check_enough,
    join_new_items,
    try_new_items,
)
from ludocast.models.recommend.new_items import beside_new, shares_of
from ludocast.models.recommend.products import owners
from ludocast.models.recommend.ranking import Recommender
from ludocast.models.recommend.rerank import Reranker
from ludocast.models.recommend.tower_network import TowerSettings
from ludocast.models.trainer import TrainerSettings
from ludocast.serve.recommend_export import TWO_GB
from ludocast.serve.recommend_names import ALLOWED, EXCLUDE_OWNED, HISTORY, LENGTH
from ludocast.serve.recommend_report import Newcomers, Way
from ludocast.serve.suggest_options import OPTIONS
from scipy import sparse

MOST_NEW = 2_000  # new items in a catalogue; of more those that are expected to be bought most
TAKEN = {HISTORY, LENGTH, ALLOWED, EXCLUDE_OWNED, *OPTIONS}
Join = Literal["never", "auto", "always"]


@dataclass(frozen=True)
class PlayerTable:
    """A table of players that was read.

    Attributes:
        attributes: By id.
        schema: What its columns are.
        raw: Raw columns [R].
        rows: Row of each user of the pairs, −1 where there is none, int64 [U].
        notes: What to tell of it.
    """

    attributes: AttributeTable
    schema: Schema
    raw: RawColumns
    rows: np.ndarray
    notes: tuple[str, ...]

    def without_pairs(self, data: UserItems) -> tuple[np.ndarray, np.ndarray]:
        """Ids, of the type that the pairs have, and rows of players of whom there is no pair."""
        rest = np.setdiff1d(np.arange(len(self.attributes.ids)), self.rows)
        ids = self.attributes.ids.to_numpy()[rest]
        fits = _fits(ids, data.users)
        return ids[fits].astype(data.users.dtype), rest[fits]


def read_players(path: Path, user: str, data: UserItems, encoding: str, delimiter: str | None) -> PlayerTable:
    """Read the table of players.

    Raises:
        ValueError: If it cannot be used, has a column that means something else in a request, or no user of the pairs.
    """
    attributes = read_attributes(path, user, "--users", encoding, delimiter)
    schema, raw, told = user_schema(attributes)
    taken = sorted({column.name for column in schema.inputs} & TAKEN)
    if taken:
        raise ValueError(f'--users {path}: a request has a "{taken[0]}" of its own; rename that column')
    rows = attributes.rows_of(data.users)
    if (rows < 0).all():
        raise ValueError(f'--users {path}: no user of the pairs is in it; is "{user}" written alike in both?')
    known = int((rows >= 0).sum())
    if known < LEAST_USERS:
        told_by = f"{known} users have both attributes and pairs; {LEAST_USERS} or more tell of new ones"
        raise ValueError(f"--users {path}: {told_by}, so leave the option out")
    absent = int((rows < 0).sum())
    notes = [f"{absent:,} of {len(rows):,} users have no row in --users"] if absent else []
    return PlayerTable(attributes, schema, raw, rows, (*told, *notes))


def learn_new_players(
    table: PlayerTable, data: UserItems, seed: int, trainer: TrainerSettings
) -> tuple[list[ColdTried], ColdStart | None]:
    """The ways to answer players without pairs, the chosen one first, and what is shipped; None is popularity."""
    print("new players: trying popularity, segments, a tower of their attributes, and both …", flush=True)
    known = np.flatnonzero(table.rows >= 0)
    raw = {name: values[table.rows[known]] for name, values in table.raw.items()}
    learnt = ColdData(table.schema, raw, sparse.csr_matrix(data.history[known]))
    tried, cold = try_cold(learnt, TowerSettings(seed=seed), trainer)
    for one in tried:
        words = f" ({one.settings})" if one.settings else ""
        print(f"  {PLAYER_WAYS[one.kind]}{words}: NDCG@10 {one.validation:.4f}", flush=True)
    return tried, None if cold is None else replace(cold, popularity=owners(data.history))


@dataclass(frozen=True)
class ItemCatalogue:
    """A table of items that was read.

    Attributes:
        rows: Row of each item of the pairs, −1 where there is none, int64 [I].
        attributes: Its rows.
        ids: Of the new ones, of the type that the pairs have [M].
        new: Rows of these, int64 [M].
        notes: What to tell of it.
    """

    rows: np.ndarray
    attributes: AttributeTable
    ids: np.ndarray
    new: np.ndarray
    notes: tuple[str, ...]


def read_catalogue(
    path: Path, item: str, data: UserItems, paired: np.ndarray, join: Join, encoding: str, delimiter: str | None
) -> ItemCatalogue | None:
    """Read the table of items as a catalogue; None where each of its items has pairs.

    Args:
        path: CSV or Parquet file.
        item: Column of ids.
        data: Pairs that are learnt from.
        paired: Ids of all items that have pairs, those too rare to be learnt from among them.
        join: "always" is refused here where it cannot be, before anything is trained.
        encoding: Of a CSV file.
        delimiter: Of a CSV file; found by itself when None.

    Raises:
        ValueError: If it cannot be used, has no item of the pairs, or too few for new ones to join always.
    """
    attributes = read_attributes(path, item, "--items", encoding, delimiter)
    rows = attributes.rows_of(data.items)
    if (rows < 0).all():
        raise ValueError(f'--items {path}: no item of the pairs is in it; is "{item}" written alike in both?')
    new = np.setdiff1d(np.arange(len(attributes.ids)), attributes.rows_of(paired))
    fits = _fits(attributes.ids.to_numpy()[new], data.items)
    notes = [] if fits.all() else [f"{int((~fits).sum()):,} new items of --items have other ids than whole numbers"]
    if not fits.any():
        return None
    if join == "always":
        try:
            check_enough(int((rows >= 0).sum()))
        except TooFewError as error:
            raise ValueError(f"{error}, so --new-items always cannot be; give auto or never") from error
    _, told = item_features(attributes, rows[rows >= 0])
    ids = attributes.ids.to_numpy()[new[fits]].astype(data.items.dtype)
    return ItemCatalogue(rows, attributes, ids, new[fits], (*notes, *told))


def _fits(ids: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether each text is an id of the type of others, bool."""
    if others.dtype == object:
        return np.ones(len(ids), bool)
    return np.array([re.match(WHOLE, one) is not None for one in ids.tolist()], bool)


@dataclass(frozen=True)
class NewItems:
    """New items in the catalogue.

    Attributes:
        joined: The model with them.
        ids: Theirs [M].
        shares: Of the other items in them [I, M].
    """

    joined: Joined
    ids: np.ndarray
    shares: np.ndarray

    def data(self, data: UserItems) -> UserItems:
        """The same pairs beside the longer catalogue."""
        matrix = beside_new(data.matrix, len(self.ids))
        return replace(data, matrix=matrix, items=np.concatenate([data.items, self.ids]))

    def cold(self, cold: ColdStart | None) -> ColdStart | None:
        """What answers new players, of the longer catalogue."""
        return None if cold is None else widened(cold, self.shares, self.joined.scale)


def learn_new_items(
    catalogue: ItemCatalogue,
    model: Recommender,
    make: Callable[[], Recommender],
    data: UserItems,
    join: Join,
    seed: int,
) -> tuple[list[NewItemsTried], NewItems | None]:
    """The ways to rank new items, the chosen one first, and the catalogue with them; None where they stay out.

    Args:
        catalogue: That was read.
        model: That is shipped, fitted on all pairs.
        make: Makes it, not fitted.
        data: All pairs.
        join: "auto" has them join if the weights of items alike were best on held-out items.
        seed: Of the items held out.

    Raises:
        ValueError: If they always join, and too few items tell of new ones.
    """
    print(f"new items: {len(catalogue.ids):,}; trying how items held out are found by their attributes …", flush=True)
    told = np.flatnonzero(catalogue.rows >= 0)
    history = sparse.csr_matrix(data.history[:, told])
    base: Callable[[], Recommender] = make if isinstance(model, ItemItem | Popularity) else lambda: EASE(20.0, 0.5)
    rows = catalogue.rows[told]
    try:
        tried = try_new_items(
            base, history, lambda known: item_features(catalogue.attributes, rows[known])[0][rows], seed
        )
    except TooFewError as error:
        if join == "always":
            raise
        print(f"note: new items stay out: {error}", flush=True)
        return [], None
    for one in tried:
        print(f"  {ITEM_WAYS[one.kind]}: NDCG@10 {one.validation:.4f}", flush=True)
    way = next(one for one in tried if one.kind == "weights")
    if join == "auto" and tried[0] is not way:
        return tried, None
    shares = np.zeros((len(data.items), len(catalogue.ids)))
    features, _ = item_features(catalogue.attributes, rows)
    shares[told] = shares_of(features[catalogue.new], features[rows], owners(history), way.settings.penalty)
    kept = _most_expected(owners(data.history) @ shares, _room(model, len(data.items)))
    if not len(kept):
        return tried, None
    joined = join_new_items(model, way, data.history, shares[:, kept], seed)
    return tried, NewItems(joined, catalogue.ids[kept], shares[:, kept])


def _room(model: Recommender, items: int) -> int:
    """How many new items the bundle has room for."""
    linear = list(model.signals.models.values()) if isinstance(model, Reranker) else [model]
    dense = sum(isinstance(one, ItemItem) and isinstance(one.weights, np.ndarray) for one in linear)
    return MOST_NEW if dense == 0 else max(0, min(MOST_NEW, isqrt(TWO_GB // (4 * dense)) - 1 - items))


def _most_expected(expected: np.ndarray, room: int) -> np.ndarray:
    """Positions of the new items of which most is expected, in their order."""
    return np.sort(np.argsort(-expected, kind="stable")[:room])


def about_players(tried: list[ColdTried]) -> Newcomers:
    """For the report."""
    chosen = tried[0]
    sentence = f"Chosen on players held out whole: {PLAYER_WAYS[chosen.kind]}. The figures are those of other players, "
    sentence += "held out as well."
    if chosen.kind not in ("tower", "both"):
        sentence += f" The tower did not pass {PLAYER_WAYS[chosen.kind]} here, so that is what is shipped."
    ways = [Way(PLAYER_WAYS[one.kind], one.settings, one.validation, one.test or {}) for one in tried]
    return Newcomers("Players without a history, by their attributes", sentence, ways)


def about_items(tried: list[NewItemsTried], new: NewItems | None) -> Newcomers:
    """For the report."""
    if not tried:
        return Newcomers(
            "Items that nobody has yet", "There are too few items to tell of new ones, so they stay out.", ()
        )
    sentence = "Items held out whole, ranked among themselves by what their attributes have in common with others. "
    if new is None:
        sentence += "New items stay out of the catalogue."
    else:
        joined = new.joined
        sentence += (
            f"{len(new.ids):,} new items joined the catalogue, their weights scaled by {joined.scale:.2f}: they are "
            f"expected to be {joined.expected:.1%} of what is bought, and are {joined.shown:.1%} of the first 10."
        )
    ways = [
        Way(
            ITEM_WAYS[one.kind],
            "" if one.kind == "nothing" else f"penalty {one.settings.penalty:g}, own {one.settings.own:g}",
            one.validation, one.test or {},
        )
        for one in tried
    ]  # fmt: skip
    return Newcomers("Items that nobody has yet, by their attributes", sentence, ways)
