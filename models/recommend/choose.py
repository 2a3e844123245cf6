"""Which model serves some data best: candidates of each family, held against hidden pairs of the training part."""

# U users, I items

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from ludocast.models.recommend.als import ImplicitALS
from ludocast.models.recommend.item_item import EASE, CosineNeighbours, ItemItem, Popularity, RP3Beta, fit_together
from ludocast.models.recommend.memory import dense_items
from ludocast.models.recommend.metrics import user_metrics
from ludocast.models.recommend.ranking import Recommender, recommend
from ludocast.models.recommend.rerank import Reranker, RerankSettings
from ludocast.models.trainer import TrainerSettings
from scipy import sparse

CHOSEN_BY = "ndcg@10"
RANKS = 20
Family = Literal["popularity", "cosine", "rp3beta", "als", "ease", "ease_weighted", "edlae", "ease_near", "network"]
FAMILY_NAMES: dict[Family, str] = {
    "popularity": "popularity",
    "cosine": "item neighbours (cosine)",
    "rp3beta": "random walks (RP3beta)",
    "als": "implicit ALS",
    "ease": "EASE",
    "ease_weighted": "EASE, users weighted",
    "edlae": "EDLAE, users weighted",
    "ease_near": "EASE on near items, users weighted",
    "network": "network",
}
LARGE: dict[Family, tuple[int, ...]] = {
    "cosine": (0,),
    "als": (),
    "ease": (2, 4),
    "ease_weighted": (2, 4),
    "edlae": (2,),
    "ease_near": (),  # as the others are, where items are many
}
NO_GRAPH: frozenset[Family] = frozenset({"als"})  # a new user's factors are the solution of a system of equations
FAMILIES: tuple[Family, ...] = get_args(Family)


@dataclass(frozen=True)
class Candidate:
    """A model that may be chosen.

    Attributes:
        family: It is one of.
        settings: What tells it from others of its family, in words.
        make: Makes it, not fitted.
    """

    family: Family
    settings: str
    make: Callable[[], Recommender]


@dataclass(frozen=True)
class Validated:
    """A candidate and how it did.

    Attributes:
        candidate: That was fitted on what is known.
        ndcg: NDCG@10 on the hidden pairs, mean over users.
        seconds: Of fitting and ranking.
        of_users: NDCG@10 of each user, [U].
    """

    candidate: Candidate
    ndcg: float
    seconds: float
    of_users: np.ndarray


def candidates(
    families: Sequence[Family] = FAMILIES,
    rerank: RerankSettings | None = None,
    trainer: TrainerSettings | None = None,
    is_large: bool = False,
) -> list[Candidate]:
    """The candidates of these families, in their order; of large data those that `LARGE` names alone."""
    asked = rerank if rerank is not None else RerankSettings()
    training = trainer if trainer is not None else TrainerSettings()
    every: dict[Family, list[tuple[str, Callable[[], Recommender]]]] = {
        "popularity": [("", Popularity)],
        "cosine": [(_neighbours(n), lambda n=n: CosineNeighbours(n)) for n in (None, 200, 50)],  # type: ignore[misc]
        "rp3beta": [(f"beta {b:g}", lambda b=b: RP3Beta(beta=b)) for b in (0.2, 0.4, 0.6)],  # type: ignore[misc]
        "als": [
            (f"penalty {p:g}, unobserved {a:g}", lambda p=p, a=a: ImplicitALS(64, p, a, seed=asked.seed))  # type: ignore[misc]
            for p, a in ((0.003, 0.1), (0.01, 0.1))
        ],
        "ease": [(f"penalty {p:g}", lambda p=p: EASE(p)) for p in (20.0, 50.0, 100.0, 200.0, 400.0)],  # type: ignore[misc]
        "ease_weighted": [
            (f"penalty {p:g}", lambda p=p: EASE(p, 0.5))  # type: ignore[misc]
            for p in (5.0, 10.0, 20.0, 50.0, 100.0)
        ],
        "edlae": [
            (f"penalty {p:g}, dropout 0.3", lambda p=p: EASE(p, 0.5, 0.3))  # type: ignore[misc]
            for p in (10.0, 20.0, 50.0)
        ],
        "ease_near": [
            (f"penalty {p:g}, {n} neighbours", lambda p=p, n=n: EASE(p, 0.5, neighbours=n))  # type: ignore[misc]
            for n in (50, 100)
            for p in (10.0, 20.0, 50.0)
        ],
        "network": [
            (f"{asked.draws} draws, {asked.members} member(s)", lambda: Reranker(settings=asked, trainer=training))
        ],
    }
    return [
        Candidate(family, words, make)
        for family in families
        for place, (words, make) in enumerate(every[family])
        if not is_large or place in LARGE.get(family, (place,))
    ]


def _neighbours(count: int | None) -> str:
    return "all neighbours" if count is None else f"{count} neighbours"


def validate(candidate: Candidate, known: sparse.csr_matrix, hidden: sparse.csr_matrix) -> Validated:
    """Fit on what is known and measure on what is hidden.

    Args:
        candidate: To be tried.
        known: CSR [U, I].
        hidden: CSR [U, I]; users of whom nothing is hidden are not asked.
    """
    begin = time.perf_counter()
    return measured(candidate, candidate.make().fit(known), known, hidden, begin)


def measured(
    candidate: Candidate, model: Recommender, known: sparse.csr_matrix, hidden: sparse.csr_matrix, begin: float
) -> Validated:
    """The same of a model that is fitted; begin is `time.perf_counter()` at the start of fitting."""
    asked = np.flatnonzero(np.diff(hidden.indptr))
    ranked, _ = recommend(model, known[asked], RANKS)
    ndcg = user_metrics(ranked, hidden[asked], (10,))[CHOSEN_BY]
    return Validated(candidate, float(ndcg.mean()), time.perf_counter() - begin, ndcg)


def fitted(tried: Sequence[Candidate], known: sparse.csr_matrix) -> Iterator[tuple[Candidate, Recommender, float]]:
    """Each candidate fitted, and when its fitting began, with `time.perf_counter()`.

    Where weights are sparse, models of items by items are fitted together, for what they share takes most of the time;
    each is told an equal part of it.
    """
    shared: dict[int, ItemItem] = {}
    begin = time.perf_counter()
    if known.shape[1] > dense_items():
        made = ((place, one.make()) for place, one in enumerate(tried))
        shared = {place: model for place, model in made if isinstance(model, ItemItem)}
        fit_together(list(shared.values()), known)
    each = (time.perf_counter() - begin) / max(1, len(shared))
    for place, one in enumerate(tried):
        begin = time.perf_counter()
        if place in shared:
            yield one, shared.pop(place), begin - each
        else:
            yield one, one.make().fit(known), begin


def best_of_families(found: Sequence[Validated]) -> list[Validated]:
    """The best candidate of each family, the best family first; of equal ones that which was tried first."""
    best: dict[str, Validated] = {}
    for one in found:
        held = best.get(one.candidate.family)
        if held is None or one.ndcg > held.ndcg:
            best[one.candidate.family] = one
    return sorted(best.values(), key=lambda one: -one.ndcg)


def shippable_first(found: Sequence[Validated]) -> list[Validated]:
    """The best one that a bundle can hold, then all others in their order."""
    ours = next((one for one in found if one.candidate.family not in NO_GRAPH), None)
    if ours is None:
        return list(found)
    return [ours, *(one for one in found if one is not ours)]
