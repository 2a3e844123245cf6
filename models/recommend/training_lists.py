"""Lists of candidates that the re-ranker's network learns from, as arrays and as a Lightning data module."""

# U users, I items, N lists, C candidates, F inputs of a candidate

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytorch_lightning as pl
import torch
from ludocast.models.recommend.ranking import user_batches
from ludocast.models.recommend.signals import Signals, hidden_targets
from scipy import sparse
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

Batch = tuple[Tensor, Tensor, Tensor]  # inputs [N, C, F], is_hidden [N, C] and is_real [N, C]


@dataclass(frozen=True)
class TrainingLists:
    """Lists that hold a hidden item.

    Attributes:
        inputs: float32 [N, C, F].
        is_hidden: bool [N, C].
        is_real: bool [N, C].
        serving: The signals as they were fitted last, where so few pairs were hidden from them that they serve as those
            of all pairs do; else None.
    """

    inputs: np.ndarray
    is_hidden: np.ndarray
    is_real: np.ndarray
    serving: Signals | None = None


def lists_with_hidden(signals: Signals, rest: sparse.csr_matrix, hidden: sparse.csr_matrix) -> TrainingLists:
    """The candidates of users, where a hidden item is among them and a history is left.

    Args:
        signals: Fitted on the rest.
        rest: What is known, CSR [U, I].
        hidden: What is sought, CSR [U, I].
    """
    found = []
    asked = np.flatnonzero(np.diff(hidden.indptr))
    for part, sought in zip(user_batches(rest[asked]), user_batches(hidden[asked]), strict=True):
        lists = signals.lists(part)
        target = hidden_targets(lists.items, sought)
        kept = target.any(axis=1) & (np.diff(part.indptr) > 0)
        found.append((lists.inputs[kept].astype(np.float32), target[kept], lists.items[kept] >= 0))
    inputs, is_hidden, is_real = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return TrainingLists(inputs, is_hidden, is_real)


class ListsDataModule(pl.LightningDataModule):
    """Lists that are there.

    Args:
        lists: To learn from.
        validation: That change nothing.
        batch: Lists of a batch.
        seed: Of the shuffles.
    """

    def __init__(
        self, lists: TrainingLists | None, validation: TrainingLists | None = None, batch: int = 64, seed: int = 0
    ) -> None:
        super().__init__()
        self.lists, self.validation, self.batch, self.seed = lists, validation, batch, seed

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """All lists, shuffled anew each epoch."""
        shuffle = torch.Generator().manual_seed(self.seed)
        return DataLoader(_dataset(self.lists), self.batch, shuffle=True, generator=shuffle)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]] | list[DataLoader[tuple[Tensor, ...]]]:
        """Those of validation in order."""
        return [] if self.validation is None else DataLoader(_dataset(self.validation), self.batch)


def _dataset(lists: TrainingLists | None) -> TensorDataset:
    assert lists is not None
    return TensorDataset(*(torch.from_numpy(array) for array in (lists.inputs, lists.is_hidden, lists.is_real)))
