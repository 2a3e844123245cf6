"""The re-ranker: linear models name and describe candidates, a small network ranks them.

It learns from what is hidden of the training pairs: a random fifth of them is hidden, the signals are fitted on the
rest, and the network learns to find the hidden ones; several times, each time with other pairs hidden. Then the signals
are fitted on all pairs. Nothing else than the training pairs is ever looked at.
"""

# U users, I items, C candidates, F inputs of a candidate

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from ludocast.models.recommend.item_item import NotFittedError
from ludocast.models.recommend.module import RecommenderModule
from ludocast.models.recommend.ranking import rank_all, user_batches
from ludocast.models.recommend.signals import CandidateLists, Signals
from ludocast.models.recommend.training_lists import ListsDataModule, TrainingLists, lists_with_hidden
from ludocast.models.trainer import TrainerSettings, make_trainer, without_hints
from scipy import sparse

BATCH_USERS = 512  # whose candidates are described at once
FEW = 0.01  # of all pairs: that many less change no weight that matters
MARGIN = 1.0  # between the last candidate and the best of the items that are none


@dataclass(frozen=True)
class RerankSettings:
    """How the re-ranker learns.

    Attributes:
        draws: How often pairs are hidden.
        share: Of the pairs that is hidden each time.
        epochs: Passes over all lists.
        batch: Lists of a batch.
        members: Networks of other first weights, whose scores are averaged.
        hidden: Units of each layer.
        dropout: Of these.
        learning_rate: At its highest.
        weight_decay: Of AdamW.
        users: At most so many, drawn anew each time, have pairs hidden.
        seed: Of draws, weights and shuffles.
    """

    draws: int = 4
    share: float = 0.2
    epochs: int = 12
    batch: int = 64
    members: int = 1
    hidden: int = 64
    dropout: float = 0.0
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    users: int = 20_000
    seed: int = 0


class Reranker:
    """Signals and the networks that rank their candidates.

    Args:
        signals: Not fitted; by default those of `default_signals`.
        settings: Of the training.
        trainer: Of Lightning.
    """

    def __init__(
        self,
        signals: Signals | None = None,
        settings: RerankSettings | None = None,
        trainer: TrainerSettings | None = None,
    ) -> None:
        self.signals = signals if signals is not None else Signals()
        self.settings = settings if settings is not None else RerankSettings()
        self.trainer = trainer if trainer is not None else TrainerSettings()
        self.modules: list[RecommenderModule] = []

    def fit(self, history: sparse.csr_matrix) -> Self:
        """Learn; as `Recommender.fit`.

        Raises:
            ValueError: If no hidden item is ever among the candidates.
        """
        drawn = training_lists(self.signals, history, self.settings)
        self.modules = [
            train_module(
                drawn, self.signals.names, replace(self.settings, seed=self.settings.seed + member), self.trainer
            )
            for member in range(self.settings.members)
        ]
        serving = drawn.serving
        if serving is None:
            return self.refit(history)
        self.signals = serving
        return self

    def refit(self, history: sparse.csr_matrix) -> Self:
        """Fit the signals anew, on more pairs than the networks have learnt from.

        Args:
            history: As `Recommender.fit` takes it.
        """
        self.signals.fit(history)
        return self

    def scores(self, history: sparse.csr_matrix) -> np.ndarray:
        """The network's scores of the candidates; below them all other items in the order of the first signal.

        Items of the history are no candidates, so they come below as well. Without history the first signal decides,
        which then is popularity.
        """
        return self.scores_among(history, history)

    def scores_among(self, history: sparse.csr_matrix, excluded: sparse.csr_matrix) -> np.ndarray:
        """The same where other items than those of the history are no candidates; as `RanksCandidates`."""
        if not self.modules:
            raise NotFittedError("Reranker has learnt nothing yet; call fit")
        parts = zip(user_batches(history), user_batches(excluded), strict=True)
        return np.concatenate([self._scores(part, without) for part, without in parts])

    def _scores(self, history: sparse.csr_matrix, excluded: sparse.csr_matrix) -> np.ndarray:
        lists = self.signals.lists(history, excluded)
        base = next(iter(self.signals.models.values())).scores(history)
        is_real, found = lists.items >= 0, self._network_scores(lists)
        lowest = np.where(is_real, found, np.inf).min(axis=1, keepdims=True)
        scores = base - base.max(axis=1, keepdims=True) + lowest - MARGIN
        row, place = np.nonzero(is_real)
        scores[row, lists.items[row, place]] = found[row, place]
        new = np.diff(history.indptr) == 0
        scores[new] = base[new]
        return np.asarray(scores)

    def best(self, history: sparse.csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best items that are not in the history; as `RanksAlone`."""
        if not self.modules:
            raise NotFittedError("Reranker has learnt nothing yet; call fit")
        if k > self.signals.candidates:
            return rank_all(self, history, k)
        width = min(k, history.shape[1])
        items, scores = np.zeros((history.shape[0], width), np.int64), np.zeros((history.shape[0], width))
        for begin in range(0, history.shape[0], BATCH_USERS):
            part = history[begin : begin + BATCH_USERS]
            lists = self.signals.lists(part)
            is_new = np.diff(part.indptr) == 0
            score = np.where(is_new[:, None], lists.best, self._network_scores(lists))
            score = np.where(lists.items >= 0, score, -np.inf)
            order = np.lexsort((lists.items, -score), axis=1)[:, :width]
            items[begin : begin + BATCH_USERS] = np.take_along_axis(lists.items, order, 1)
            scores[begin : begin + BATCH_USERS] = np.take_along_axis(score, order, 1)
        return items, scores

    def _network_scores(self, lists: CandidateLists) -> np.ndarray:
        """Means over the members, float64 [B, C]."""
        with torch.inference_mode():
            inputs, real = torch.from_numpy(lists.inputs), torch.from_numpy(lists.items >= 0)
            found = torch.stack([module(inputs, real) for module in self.modules])
        return np.asarray(found.mean(0).numpy())


def training_lists(signals: Signals, history: sparse.csr_matrix, settings: RerankSettings) -> TrainingLists:
    """Lists of all draws; those without a hidden item, and of users of whom nothing is left, teach nothing.

    Args:
        signals: Are fitted on copies.
        history: Of training.
        settings: Draws, share, users and seed.

    Raises:
        ValueError: If no list holds a hidden item.
    """
    generator = np.random.default_rng(settings.seed)
    found, serving = [], None
    for _ in range(settings.draws):
        is_hidden = generator.random(history.nnz) < settings.share
        if history.shape[0] > settings.users:
            is_drawn = np.zeros(history.shape[0], bool)
            is_drawn[generator.choice(history.shape[0], settings.users, replace=False)] = True
            is_hidden &= np.repeat(is_drawn, np.diff(history.indptr))
        rest, hidden = _of(history, ~is_hidden), _of(history, is_hidden)
        serving = None  # or the next one would be fitted beside it
        serving = copy.deepcopy(signals).fit(rest)
        found.append(lists_with_hidden(serving, rest, hidden))
        serving = serving if hidden.nnz < FEW * history.nnz else None
    inputs, is_hidden, is_real = (
        np.concatenate([getattr(lists, part) for lists in found]) for part in ("inputs", "is_hidden", "is_real")
    )
    if not len(inputs):
        raise ValueError("no hidden item was ever among the candidates; there are too few pairs for a network")
    return TrainingLists(inputs, is_hidden, is_real, serving)


def train_module(
    lists: TrainingLists, names: list[str], settings: RerankSettings, trainer: TrainerSettings
) -> RecommenderModule:
    """A trained network.

    Args:
        lists: To learn from.
        names: Of the inputs, F.
        settings: Of the training.
        trainer: Of Lightning.
    """
    module = RecommenderModule(
        settings.hidden, settings.dropout, settings.learning_rate, settings.weight_decay,
        seed=settings.seed, inputs=len(names),
    )  # fmt: skip
    data = ListsDataModule(lists, batch=settings.batch, seed=settings.seed)
    with without_hints(for_authors=True):
        make_trainer(trainer, settings.epochs).fit(module, data)
    return module.cpu().eval().double()  # scores that are close stay in one order, whatever computes them


def _of(history: sparse.csr_matrix, is_kept: np.ndarray) -> sparse.csr_matrix:
    """These pairs alone; is_kept bool [P] as `history.data`."""
    kept = sparse.csr_matrix(
        (is_kept.astype(np.float64), history.indices, history.indptr), shape=history.shape, copy=True
    )
    kept.eliminate_zeros()
    return kept
