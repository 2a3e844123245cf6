"""Whether and how new items join a catalogue: chosen on items that were held out whole."""

# I items, M new ones, F features, U users

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from ludocast.datamodules.split import held_out_twice
from ludocast.models.metrics import Interval
from ludocast.models.recommend.metrics import mean_metrics, user_metrics
from ludocast.models.recommend.new_items import ShareSettings, beside_new, shares_of, with_new_items
from ludocast.models.recommend.products import owners
from ludocast.models.recommend.ranking import Recommender, recommend, top_items, user_batches
from scipy import sparse

RANKS, SLOTS = 20, 10
CHOSEN_BY = "ndcg@10"
PENALTIES, OWN = (3.0, 10.0, 30.0, 100.0), (0.0, 0.5, 1.0)
LEAST_ITEMS = 20  # fewer items with attributes tell nothing of new ones
SCALES = tuple(0.8**step for step in range(24))
ASKED_USERS = 500  # by whom a scale is found
NAMES = {
    "nothing": "random order", "popularity": "popularity of items alike", "weights": "weights of items alike",
}  # fmt: skip
Make = Callable[[], Recommender]
Features = Callable[[np.ndarray], sparse.csr_matrix]  # of all items [I, F], their weights and scales fitted on some


class TooFewError(ValueError):
    """Too few items or users to tell how new items are found."""


@dataclass(frozen=True)
class NewItemsTried:
    """A way to rank new items, and how it did.

    Attributes:
        kind: Of `NAMES`.
        settings: Of the shares.
        validation: NDCG@10 of the held-out items ranked among themselves.
        bought: Pairs that the held-out items had over those that their likeness expected.
        test: Measures on items that took part in nothing; None before they were asked about.
    """

    kind: str
    settings: ShareSettings
    validation: float
    bought: float = 1.0
    test: dict[str, Interval] | None = None


@dataclass(frozen=True)
class _Held:
    """Items held out: what is learnt from, and what is asked about."""

    known: sparse.csr_matrix
    hidden: sparse.csr_matrix
    features: sparse.csr_matrix
    features_new: sparse.csr_matrix
    _shares: dict[float, np.ndarray] = field(default_factory=dict)

    def shares(self, penalty: float) -> np.ndarray:
        """As of `shares_of` [I, M]; each penalty's are solved for once."""
        if penalty not in self._shares:
            self._shares[penalty] = shares_of(self.features_new, self.features, owners(self.known), penalty)
        return self._shares[penalty]


def check_enough(items: int) -> None:
    """Whether so many items, each with attributes and pairs, can tell of new ones.

    Raises:
        TooFewError: If not.
    """
    if items < LEAST_ITEMS:
        raise TooFewError(f"{items} items have both attributes and pairs; {LEAST_ITEMS} or more tell of new ones")


def try_new_items(
    make: Make, history: sparse.csr_matrix, features: Features, seed: int = 0, share: float = 0.2
) -> list[NewItemsTried]:
    """The ways, the chosen one first, each measured on items that nothing was learnt from.

    Users with a held-out item and another one are asked to rank the held-out ones among themselves.

    Args:
        make: Makes the model whose weights are mixed, not fitted.
        history: 1 where a user had an item, CSR [U, I].
        features: Gives those of all items, CSR [I, F], fitted on items by number: never on those held out.
        seed: Of the items held out.
        share: Of the items held out, each time.

    Raises:
        TooFewError: If there are too few items, or no user has one that is held out and another one.
    """
    check_enough(history.shape[1])
    train, held, rest, test = held_out_twice(history.shape[1], share, seed)
    tried = _chosen(make, _held(history, features, train, held), seed)
    asked = _held(history, features, rest, test)
    fitted = make().fit(asked.known)
    return [
        replace(one, test=mean_metrics(top_items(_scores(one, fitted, asked, seed), RANKS)[0], asked.hidden))
        for one in tried
    ]


def _held(history: sparse.csr_matrix, features: Features, learnt: np.ndarray, held: np.ndarray) -> _Held:
    known, hidden = sparse.csr_matrix(history[:, learnt]), sparse.csr_matrix(history[:, held])
    asked = (np.diff(known.indptr) > 0) & (np.diff(hidden.indptr) > 0)
    if not asked.any():
        raise TooFewError("no user has an item that is held out and another one, so nothing tells of new items")
    # Users who are not asked teach as others do; they stand behind, so that rows of both matrices agree.
    order = np.concatenate([np.flatnonzero(asked), np.flatnonzero(~asked)])
    found = features(learnt)
    return _Held(known[order], hidden[np.flatnonzero(asked)], found[learnt], found[held])


def _chosen(make: Make, held: _Held, seed: int) -> list[NewItemsTried]:
    fitted = make().fit(held.known)
    found = [NewItemsTried("nothing", ShareSettings(), 0.0)]
    by_kind: dict[str, list[NewItemsTried]] = {"popularity": [], "weights": []}
    popularity, pairs = owners(held.known), float(held.hidden.nnz)
    for penalty in PENALTIES:
        bought = pairs / max(np.maximum(popularity @ held.shares(penalty), 0).sum(), 1.0)
        by_kind["popularity"].append(NewItemsTried("popularity", ShareSettings(penalty, 0.0), 0.0, bought))
        by_kind["weights"] += [NewItemsTried("weights", ShareSettings(penalty, own), 0.0, bought) for own in OWN]
    for ways in by_kind.values():
        figures = [_ndcg(_scores(one, fitted, held, seed), held.hidden) for one in ways]
        best = int(np.argmax(figures))
        found.append(replace(ways[best], validation=figures[best]))
    found[0] = replace(found[0], validation=_ndcg(_scores(found[0], fitted, held, seed), held.hidden))
    return sorted(found, key=lambda one: -one.validation)


def _scores(way: NewItemsTried, fitted: Recommender, held: _Held, seed: int) -> np.ndarray:
    """Of the held-out items, float64 [users asked, M]."""
    users, new = held.hidden.shape
    if way.kind == "nothing":
        return np.tile(np.random.default_rng(seed).random(new), (users, 1))
    shares = held.shares(way.settings.penalty)
    if way.kind == "popularity":
        return np.tile(owners(held.known) @ shares, (users, 1))
    wide = with_new_items(fitted, shares, way.settings.own, 1.0)
    known = held.known[:users]
    parts = [wide.scores(beside_new(part, new))[:, -new:] for part in user_batches(known)]
    return np.concatenate(parts)


def _ndcg(scores: np.ndarray, hidden: sparse.csr_matrix) -> float:
    ranked, _ = top_items(scores, RANKS)
    return float(user_metrics(ranked, hidden, (10,))[CHOSEN_BY].mean())


@dataclass(frozen=True)
class Joined:
    """A model whose catalogue holds the new items, the last ones.

    Attributes:
        model: Of I + M items.
        scale: Of the new items' weights.
        expected: The share of all pairs that the new items' likeness expects of them.
        shown: Their share of the first 10 suggestions.
    """

    model: Recommender
    scale: float
    expected: float
    shown: float


def join_new_items(
    model: Recommender, way: NewItemsTried, history: sparse.csr_matrix, shares: np.ndarray, seed: int = 0
) -> Joined:
    """New items in the catalogue, scaled so that they are shown as often as they would be bought, no more.

    What they would be bought is the popularity of what they are mixed of, corrected by what held-out items had of it.
    The scale is the greatest of 1, 0.8, 0.64, … with which their share of the first 10 suggestions is not above that.

    Args:
        model: Fitted on all I items.
        way: Chosen, of kind "weights".
        history: CSR [U, I].
        shares: Of the new items [I, M].
        seed: Of the users by whom the scale is found.
    """
    popularity = owners(history)
    bought = float(np.maximum(popularity @ shares, 0).sum()) * way.bought
    expected = bought / (bought + popularity.sum())
    users = np.flatnonzero(np.diff(history.indptr))
    drawn = np.sort(np.random.default_rng(seed).choice(users, min(ASKED_USERS, len(users)), replace=False))
    asked = beside_new(history[drawn], shares.shape[1])

    def joined(scale: float) -> Joined:
        wide = with_new_items(model, shares, way.settings.own, scale)
        ranked, _ = recommend(wide, asked, SLOTS)
        return Joined(wide, scale, expected, float((ranked >= history.shape[1]).mean()))

    return _greatest(SCALES, joined)


def _greatest(scales: Sequence[float], joined: Callable[[float], Joined]) -> Joined:
    """By halving; the smallest scale where none is enough."""
    low, high = 0, len(scales) - 1
    found = joined(scales[high])
    while low < high:
        middle = (low + high) // 2
        now = joined(scales[middle])
        if now.shown <= now.expected:
            high, found = middle, now
        else:
            low = middle + 1
    return found
