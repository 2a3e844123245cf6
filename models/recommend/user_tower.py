"""The tower of attributes as a model: its training on players with attributes and pairs, its scores."""

# U users, B users of a batch, D numbers of a user, I items

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from ludocast.models.recommend.item_item import NotFittedError
from ludocast.models.recommend.products import owners
from ludocast.models.recommend.tower_module import Batch, TowerModule
from ludocast.models.recommend.tower_network import TowerSettings, UserTower
from ludocast.models.trainer import TrainerSettings, make_trainer, without_hints
from scipy import sparse
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

MOST_USERS = 100_000  # more teach little further about attributes; so many are drawn
MOST_ITEMS = 2_000  # the most popular ones; to all others attributes mean nothing, their answer is popularity


class _Pairs(Dataset[Batch]):
    """Batches of players by their numbers: the pairs become dense here."""

    def __init__(self, vectors: np.ndarray, history: sparse.csr_matrix) -> None:
        self.vectors, self.history = vectors, history

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: list[int]) -> Batch:
        return (
            torch.from_numpy(self.vectors[rows]),
            torch.from_numpy(self.history[rows].toarray().astype(np.float32)),
        )


class TowerScores:
    """A tower as a model of attributes.

    Args:
        settings: Of the training.
        stop: Epochs after which training ends; those of the settings when None.
        trainer: Of Lightning.
    """

    def __init__(
        self, settings: TowerSettings | None = None, stop: int | None = None, trainer: TrainerSettings | None = None
    ) -> None:
        self.settings = settings if settings is not None else TowerSettings()
        self.stop = stop
        self.trainer = trainer if trainer is not None else TrainerSettings()
        self.network: UserTower | None = None

    def fit(
        self,
        vectors: np.ndarray,
        history: sparse.csr_matrix,
        blank: np.ndarray,
        groups: np.ndarray,
        after_epoch: Callable[[UserTower], None] | None = None,
    ) -> Self:
        """Learn from players with attributes and pairs.

        Args:
            vectors: Numbers of the players, float32 [U, D].
            history: 1 where a player had an item, CSR [U, I].
            blank: Numbers of a player of whom nothing is told, float32 [D].
            groups: Of which column each number is, int64 [D].
            after_epoch: Called after each epoch with a copy of the network.
        """
        settings = self.settings
        if len(vectors) > MOST_USERS:
            drawn = np.sort(np.random.default_rng(settings.seed).choice(len(vectors), MOST_USERS, replace=False))
            vectors, history = vectors[drawn], history[drawn]
        popularity = owners(history)
        head = np.sort(np.argsort(-popularity, kind="stable")[:MOST_ITEMS])

        def tell(network: UserTower) -> None:
            if after_epoch is not None:
                after_epoch(with_all_items(network, head, popularity))

        module = TowerModule(vectors.shape[1], len(head), settings, blank, groups, tell)
        varies = (vectors != vectors[0]).any(axis=0) | (vectors[0] != blank)
        module.network.begin(log_shares(popularity)[head], varies, settings.seed)
        shuffle = torch.Generator().manual_seed(settings.seed)
        pairs = _Pairs(np.ascontiguousarray(vectors), sparse.csr_matrix(history[:, head]))
        sampler = BatchSampler(RandomSampler(pairs, generator=shuffle), settings.batch, drop_last=False)
        loader = DataLoader(pairs, batch_size=None, sampler=sampler)
        with without_hints(for_authors=True):
            epochs = settings.epochs if self.stop is None else self.stop
            make_trainer(replace(self.trainer, stage="tower"), epochs).fit(module, loader)
        self.network = with_all_items(module.network.cpu().eval().double(), head, popularity)
        return self

    def scores(self, vectors: np.ndarray) -> np.ndarray:
        """Logits, float64 [B, I]."""
        if self.network is None:
            raise NotFittedError("TowerScores has learnt nothing yet; call fit")
        with torch.inference_mode():
            return np.asarray(self.network(torch.from_numpy(vectors.astype(np.float64))).numpy())


def log_shares(popularity: np.ndarray) -> np.ndarray:
    """Logarithm of each item's share of all pairs, as if each had one pair more."""
    return np.asarray(np.log((popularity + 1.0) / (popularity + 1.0).sum()))


def with_all_items(network: UserTower, head: np.ndarray, popularity: np.ndarray) -> UserTower:
    """The tower of the most popular items as one of all; the logits of the others are their popularity.

    Args:
        network: Of the items `head`.
        head: Their numbers, ascending.
        popularity: Users of each item [I].
    """
    wide, old = copy.deepcopy(network), network.items
    wide.items = nn.Linear(old.in_features, len(popularity)).to(old.weight)
    with torch.no_grad():
        wide.items.weight.zero_()
        wide.items.weight[head] = old.weight
        wide.items.bias.copy_(torch.from_numpy(log_shares(popularity)))
        wide.items.bias[head] = old.bias
    return wide
