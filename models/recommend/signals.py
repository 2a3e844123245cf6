"""What several linear models say of a user's best candidates: the inputs of the network that ranks them again."""

# B users of a batch, C candidates, S signals, F inputs of a candidate, I items

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from ludocast.models.recommend.contributions import contribution_names, contributions
from ludocast.models.recommend.item_item import (
    EASE,
    ConditionalNeighbours,
    CosineNeighbours,
    ItemItem,
    RP3Beta,
    fit_together,
)
from ludocast.models.recommend.products import owners
from ludocast.models.recommend.ranking import recommend
from scipy import sparse

CANDIDATES = 100
TOLD = ("EASE, users weighted, 20", "conditional")
NOT_SUMMED = ("conditional",)  # its sums say little beside those of the others, and the network then learns worse
NO_SCORE = 1e-6  # below this deviation all scores of a list count as equal


def default_signals() -> dict[str, ItemItem]:
    """Linear models that err in different ways; the first one names the candidates."""
    return {
        "EASE, users weighted, 20": EASE(20, user_power=0.5),
        "EASE, users weighted, 100": EASE(100, user_power=0.5),
        "EASE, users weighted, 400": EASE(400, user_power=0.5),
        "EASE, 400": EASE(400),
        "cosine": CosineNeighbours(),
        "RP3beta": RP3Beta(),
        "conditional": ConditionalNeighbours(),
    }


@dataclass(frozen=True)
class CandidateLists:
    """Candidates of some users, the best first.

    Attributes:
        items: int64 [B, C], `NOBODY` where a user has no further candidate.
        inputs: float64 [B, C, F]; 0 there.
        best: Scores of the first signal, float64 [B, C].
    """

    items: np.ndarray
    inputs: np.ndarray
    best: np.ndarray


class Signals:
    """Fitted linear models and what else is told of a candidate.

    Inputs of a candidate: of each model its score, that score standardised within the user's list, and the logarithm
    of its rank there; of some the single weights that make up the score; then the logarithm of the item's number of
    users, and that of the length of the history.

    Args:
        models: Name to model; the first one names the candidates.
        candidates: C, at most.
        told: Models of which single weights are told; by default none of models that are given.
        summed: Models of which the score is told; by default all models that are given.
    """

    def __init__(
        self,
        models: Mapping[str, ItemItem] | None = None,
        candidates: int = CANDIDATES,
        told: Sequence[str] | None = None,
        summed: Sequence[str] | None = None,
    ) -> None:
        self.models = dict(models) if models is not None else default_signals()
        self.candidates = candidates
        self.told = tuple(told) if told is not None else TOLD if models is None else ()
        every = tuple(name for name in self.models if models is not None or name not in NOT_SUMMED)
        self.summed = tuple(summed) if summed is not None else every
        self.popularity: np.ndarray | None = None

    @property
    def names(self) -> list[str]:
        """Of the inputs, F."""
        kinds = ("score", "standardised score", "log rank")
        single = [column for name in self.told for column in contribution_names(name)]
        whole = [f"{kind} of {name}" for kind in kinds for name in self.summed]
        return [*whole, *single, "log popularity", "log history"]

    def fit(self, history: sparse.csr_matrix) -> Self:
        """Fit all of them; as `Recommender.fit`."""
        fit_together(list(self.models.values()), history)
        self.popularity = owners(history)
        return self

    def lists(self, history: sparse.csr_matrix, excluded: sparse.csr_matrix | None = None) -> CandidateLists:
        """Candidates that are not in the history.

        Args:
            history: CSR [B, I].
            excluded: Not 0 where an item is no candidate, CSR [B, I]; by default the history.
        """
        if self.popularity is None:
            raise ValueError("the signals have learnt nothing yet; call fit")
        first, *_ = self.models.values()
        items, best = recommend(first, history, self.candidates, excluded=excluded)
        is_real = items >= 0
        place = np.where(is_real, items, 0)
        of_first = np.where(is_real, best, 0.0)
        summed = [self.models[name] for name in self.summed]
        score_SBC = np.stack([of_first if one is first else one.scores_of(history, place) for one in summed])
        columns = [*score_SBC, *_standardised(score_SBC, is_real), *np.log1p(ranks(score_SBC, is_real))]
        for name in self.told:
            columns += list(np.moveaxis(contributions(self.models[name], history, place), 2, 0))
        length = np.diff(history.indptr)
        columns += [np.log1p(self.popularity)[place], np.broadcast_to(np.log1p(length)[:, None], items.shape)]
        inputs = np.stack(columns, axis=-1) * is_real[:, :, None]
        return CandidateLists(items, inputs, best)


def _standardised(score_SBC: np.ndarray, is_real: np.ndarray) -> np.ndarray:
    """Each score less the mean of its list, over the deviation there; 0 where all are equal."""
    count = np.maximum(is_real.sum(axis=1, keepdims=True), 1)
    centred = score_SBC - (score_SBC * is_real).sum(axis=2, keepdims=True) / count
    deviation = np.sqrt((centred**2 * is_real).sum(axis=2, keepdims=True) / count)
    return np.asarray(np.where(deviation > NO_SCORE, centred / np.maximum(deviation, NO_SCORE), 0.0))


def ranks(score_SBC: np.ndarray, is_real: np.ndarray) -> np.ndarray:
    """Place of each candidate in its list by a score, from 0; of equal scores the one that stands first is ahead."""
    order = np.argsort(np.where(is_real, -score_SBC, np.inf), axis=2, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.broadcast_to(np.arange(order.shape[2]), order.shape), 2)
    return place


def hidden_targets(lists: Sequence[np.ndarray] | np.ndarray, hidden: sparse.csr_matrix) -> np.ndarray:
    """1 where a candidate is one of a user's hidden items, bool [B, C]."""
    items = np.asarray(lists)
    users = np.repeat(np.arange(len(items)), items.shape[1])
    wanted = np.repeat(np.arange(len(items)), np.diff(hidden.indptr)) * hidden.shape[1] + hidden.indices
    found = np.isin(users * hidden.shape[1] + items.ravel(), wanted) & (items.ravel() >= 0)
    return np.asarray(found.reshape(items.shape))
