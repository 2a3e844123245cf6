"""Batches for several members at once, from tensors in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

Batch = tuple[Tensor, Tensor, Tensor]


class TableTensors(Dataset[Batch]):
    """Encoded rows; an index tensor [M, B] picks a batch (numbers [M, B, D], codes [M, B, S], label [M, B])."""

    def __init__(self, numbers: Tensor, codes: Tensor, label: Tensor) -> None:
        self.numbers, self.codes, self.label = numbers, codes, label

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: Tensor) -> Batch:
        return self.numbers[index], self.codes[index], self.label[index]


class MemberSampler(Sampler[Tensor]):
    """Each member's own shuffle of its own rows, [M, B] indices a batch; sharded over the ranks of a process group.

    Args:
        rows: The row numbers of each member.
        batch: Rows of a member in a batch, over all ranks together.
        seed: With the epoch it seeds the shuffles, so a resumed run sees the batches of an unbroken one.
    """

    def __init__(self, rows: Sequence[Tensor], batch: int, seed: int) -> None:
        self.rows, self.batch, self.seed = rows, batch, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning tells the epoch before it begins."""
        self.epoch = epoch

    def __len__(self) -> int:
        return max(1, max(len(rows) for rows in self.rows) // self.batch)

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        shuffled = [rows[torch.randperm(len(rows), generator=generator)] for rows in self.rows]
        ranks, rank = world_and_rank()
        for step in range(len(self)):
            positions = torch.arange(step * self.batch + rank, (step + 1) * self.batch, ranks)
            yield torch.stack([rows[positions % len(rows)] for rows in shuffled])


def world_and_rank() -> tuple[int, int]:
    """Number of processes that train together, and which of them this one is; 1 and 0 without a process group."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size(), torch.distributed.get_rank()
    return 1, 0


def train_loader(data: TableTensors, rows: Sequence[Tensor], batch: int, seed: int) -> DataLoader[Batch]:
    """Shuffled batches; sharded by the sampler itself, so the Trainer needs `use_distributed_sampler=False`."""
    return DataLoader(data, sampler=MemberSampler(rows, batch, seed), batch_size=None)


def evaluation_loader(data: TableTensors, batch: int = 4096) -> DataLoader[Batch]:
    """All rows in order, as one member."""
    chunks = [part.unsqueeze(0) for part in torch.split(torch.arange(len(data)), batch)]
    return DataLoader(data, sampler=chunks, batch_size=None)
