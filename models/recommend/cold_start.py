"""New players with attributes and no item: who answers them, chosen on players that were held out whole."""

# U players, I items, B players of a batch, D numbers of a player

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from ludocast.datamodules.attributes import UserColumns, fit_user_columns, is_blank, of_rows
from ludocast.datamodules.infer import RawColumns
from ludocast.datamodules.schema import Schema
from ludocast.datamodules.split import held_out_twice
from ludocast.models.metrics import Interval
from ludocast.models.recommend.attribute_blend import BlendScores
from ludocast.models.recommend.item_item import Popularity
from ludocast.models.recommend.metrics import mean_metrics, user_metrics
from ludocast.models.recommend.new_items import with_mixed
from ludocast.models.recommend.products import owners
from ludocast.models.recommend.ranking import BATCH_SCORES, top_items
from ludocast.models.recommend.segments import SegmentPopularity
from ludocast.models.recommend.tower_network import TowerSettings, UserTower
from ludocast.models.recommend.user_tower import TowerScores
from ludocast.models.trainer import TrainerSettings
from scipy import sparse
from torch import nn

RANKS = 20
CHOSEN_BY = "ndcg@10"
LEAST_USERS = 50  # fewer players with attributes tell nothing of new ones
NAMES = {
    "popularity": "popularity", "segments": "popularity by segment", "tower": "tower of attributes",
    "both": "tower and segments",
}  # fmt: skip
WEIGHTS = (0.25, 0.5, 1.0, 2.0)  # of segments beside the tower
SEGMENTS = tuple((count, smoothing) for count in (4, 16, 64, 256) for smoothing in (20.0, 100.0))


class AttributeModel(Protocol):
    """Scores of items from the numbers of players."""

    def scores(self, vectors: np.ndarray) -> np.ndarray:
        """float64 [B, I] of float32 [B, D]."""
        ...


@dataclass(frozen=True)
class ColdStart:
    """What answers a player without history.

    Attributes:
        columns: Of the attributes, fitted on the training players.
        model: Fitted on them.
        popularity: Users of each item [I]: the answer where nothing is told.
    """

    columns: UserColumns
    model: SegmentPopularity | TowerScores | BlendScores
    popularity: np.ndarray

    def scores(self, raw: RawColumns) -> np.ndarray:
        """Scores of players by their raw columns, float64 [B, I]; comparable within one player only."""
        found = self.model.scores(self.columns.vectors(raw))
        return np.where(is_blank(raw)[:, None], self.popularity, found)


def widened(cold: ColdStart, shares: np.ndarray, scale: float) -> ColdStart:
    """The same of a catalogue with new items behind the others, each the mix of those that it stands for.

    Args:
        cold: Fitted on I items.
        shares: As of `new_items.shares_of` [I, M].
        scale: Of the new items beside others.
    """
    popularity = with_mixed(cold.popularity, shares, scale)
    model = cold.model
    if isinstance(model, BlendScores):
        # The scale counts once: it is in both parts, whose logarithms are added up with 1 and the weight.
        part = scale ** (1 / (1 + model.weight))
        wide = replace(
            model, tower=_wide_tower(model.tower, shares, part), segments=_wide_table(model.segments, shares, part)
        )
        return replace(cold, model=wide, popularity=popularity)
    if isinstance(model, TowerScores):
        return replace(cold, model=_wide_tower(model, shares, scale), popularity=popularity)
    return replace(cold, model=_wide_table(model, shares, scale), popularity=popularity)


def _wide_tower(tower: TowerScores, shares: np.ndarray, scale: float) -> TowerScores:
    assert tower.network is not None
    wide = copy.copy(tower)
    wide.network = _with_items(tower.network, shares, scale)
    return wide


def _wide_table(segments: SegmentPopularity, shares: np.ndarray, scale: float) -> SegmentPopularity:
    assert segments.table is not None
    wide = copy.copy(segments)
    wide.table = with_mixed(segments.table, shares, scale)
    return wide


def _with_items(network: UserTower, shares: np.ndarray, scale: float) -> UserTower:
    """New items have the mix of the others' vectors, and of exp(b), which is their popularity, scaled."""
    wide, old = copy.deepcopy(network), network.items
    weight, bias = old.weight.detach().numpy(), old.bias.detach().numpy()
    share = np.exp(bias - bias.max())
    mixed = np.maximum(scale * (share @ shares), share.min() / 10)
    wide.items = nn.Linear(old.in_features, len(bias) + shares.shape[1]).double().eval()
    with torch.no_grad():
        wide.items.weight.copy_(torch.from_numpy(np.concatenate([weight, shares.T @ weight])))
        wide.items.bias.copy_(torch.from_numpy(np.concatenate([bias, np.log(mixed) + bias.max()])))
    return wide


@dataclass(frozen=True)
class ColdTried:
    """A way to answer new players, and how it did.

    Attributes:
        kind: Of `NAMES`.
        settings: In words.
        validation: NDCG@10 on held-out players.
        segments: Number and smoothing, of "segments" and "both".
        epochs: When to stop, of "tower" and "both".
        weight: Of the segments, of "both".
        test: Measures on players that took part in nothing; None before they were asked.
    """

    kind: str
    settings: str
    validation: float
    segments: tuple[int, float] | None = None
    epochs: int | None = None
    weight: float | None = None
    test: dict[str, Interval] | None = None


@dataclass(frozen=True)
class ColdData:
    """Players with attributes and pairs.

    Attributes:
        schema: What the columns are.
        raw: Raw columns [U].
        history: 1 where a player had an item, CSR [U, I].
    """

    schema: Schema
    raw: RawColumns
    history: sparse.csr_matrix

    def rows(self, index: np.ndarray) -> ColdData:
        """Some of the players."""
        return ColdData(self.schema, of_rows(self.raw, index), sparse.csr_matrix(self.history[index]))


def try_cold(
    data: ColdData, settings: TowerSettings, trainer: TrainerSettings, share: float = 0.2
) -> tuple[list[ColdTried], ColdStart | None]:
    """Choose on held-out players, measure on others, and fit what was chosen on all.

    A share of the players is the test part, the same share of the rest the validation part; no pair of theirs is ever
    learnt from before its figure is known. Of equal figures the simpler way is taken: popularity, segments, tower,
    both.

    Args:
        data: Players with attributes and one pair or more each.
        settings: Of the tower.
        trainer: Of Lightning.
        share: Of players held out, each time.

    Returns:
        Each way, the chosen one first; and what is shipped, None where popularity was best.

    Raises:
        ValueError: If there are too few players.
    """
    users = data.history.shape[0]
    if users < LEAST_USERS:
        raise ValueError(f"{users} players have both attributes and pairs; {LEAST_USERS} or more tell of new ones")
    train, held, rest, test = held_out_twice(users, share, settings.seed)
    tried = choose_cold(data.rows(train), data.rows(held), settings, trainer)
    learnt, asked = data.rows(rest), data.rows(test)
    measured = [
        replace(one, test=mean_metrics(_ranked(fit_cold(one, learnt, settings, trainer), asked, learnt), asked.history))
        for one in tried
    ]
    return measured, fit_cold(measured[0], data, settings, trainer)


def choose_cold(train: ColdData, held: ColdData, settings: TowerSettings, trainer: TrainerSettings) -> list[ColdTried]:
    """The best of each kind on held-out players, the best kind first.

    Args:
        train: To learn from.
        held: To be asked.
        settings: Of the tower.
        trainer: Of Lightning.
    """
    popular = Popularity().fit(train.history)
    assert popular.popularity is not None
    found = [ColdTried("popularity", "", _ndcg(popular.popularity[None], held.history))]
    columns = fit_user_columns(train.schema, train.raw, np.arange(train.history.shape[0]))
    known, asked = columns.vectors(train.raw), columns.vectors(held.raw)
    segments: list[tuple[ColdTried, SegmentPopularity]] = []
    for count, smoothing in SEGMENTS:
        model = SegmentPopularity(count, smoothing).fit(known, train.history)
        words = f"{count} segments at most, smoothing {smoothing:g}"
        figure = _ndcg_of(model, asked, held.history)
        segments.append((ColdTried("segments", words, figure, segments=(count, smoothing)), model))
    parted, by_segment = max(segments, key=lambda one: one[0].validation)
    curve: list[float] = []
    best = TowerScores(settings)

    def after_epoch(network: UserTower) -> None:
        now = TowerScores(settings)
        now.network = network.eval().double()
        curve.append(_ndcg_of(now, asked, held.history))
        if curve[-1] > max(curve[:-1], default=-1.0):
            best.network = now.network

    blank = columns.vectors(columns.blank())[0]
    TowerScores(settings, trainer=trainer).fit(known, train.history, blank, columns.groups, after_epoch)
    stop = int(np.argmax(curve)) + 1
    tower = ColdTried("tower", f"{stop} of {settings.epochs} epochs", curve[stop - 1], epochs=stop)
    both = [
        ColdTried(
            "both", f"{tower.settings}; {parted.settings}, weight {weight:g}",
            _ndcg_of(BlendScores(best, by_segment, weight), asked, held.history),
            parted.segments, stop, weight,
        )
        for weight in WEIGHTS
    ]  # fmt: skip
    found += [parted, tower, max(both, key=lambda one: one.validation)]
    return sorted(found, key=lambda one: -one.validation)


def fit_cold(chosen: ColdTried, data: ColdData, settings: TowerSettings, trainer: TrainerSettings) -> ColdStart | None:
    """What was chosen, fitted on these players; None of popularity."""
    if chosen.kind == "popularity":
        return None
    columns = fit_user_columns(data.schema, data.raw, np.arange(data.history.shape[0]))
    vectors = columns.vectors(data.raw)
    popularity = owners(data.history)
    segments, tower = None, None
    if chosen.segments is not None:
        segments = SegmentPopularity(*chosen.segments).fit(vectors, data.history)
    if chosen.epochs is not None:
        blank = columns.vectors(columns.blank())[0]
        tower = TowerScores(settings, chosen.epochs, trainer).fit(vectors, data.history, blank, columns.groups)
    if segments is None or tower is None:
        model = segments if segments is not None else tower
        assert model is not None
        return ColdStart(columns, model, popularity)
    assert chosen.weight is not None
    return ColdStart(columns, BlendScores(tower, segments, chosen.weight), popularity)


def _ranked(model: ColdStart | None, asked: ColdData, learnt: ColdData) -> np.ndarray:
    """Items by rank, int64 [B, K]."""
    users = asked.history.shape[0]
    if model is None:
        ranked, _ = top_items(owners(learnt.history)[None], RANKS)
        return np.tile(ranked, (users, 1))
    parts = [top_items(model.scores(of_rows(asked.raw, part)), RANKS)[0] for part in _batches(users, asked.history)]
    return np.concatenate(parts)


def _ndcg_of(model: AttributeModel, vectors: np.ndarray, hidden: sparse.csr_matrix) -> float:
    parts = [top_items(model.scores(vectors[part]), RANKS)[0] for part in _batches(len(vectors), hidden)]
    return float(user_metrics(np.concatenate(parts), hidden, (10,))[CHOSEN_BY].mean())


def _ndcg(scores: np.ndarray, hidden: sparse.csr_matrix) -> float:
    """Of one list for all."""
    ranked, _ = top_items(scores, RANKS)
    return float(user_metrics(np.tile(ranked, (hidden.shape[0], 1)), hidden, (10,))[CHOSEN_BY].mean())


def _batches(users: int, history: sparse.csr_matrix) -> Sequence[np.ndarray]:
    size = max(1, BATCH_SCORES // history.shape[1])
    return [np.arange(start, min(start + size, users)) for start in range(0, users, size)]
