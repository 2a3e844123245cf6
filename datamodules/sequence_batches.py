"""Padded batches of sequences, and the loss over them that no splitting or reordering of batches changes."""

# B sequences of a batch, L steps of the longest one, T steps of all sequences, D numbers a step

from __future__ import annotations

from typing import NamedTuple

import torch
from ludocast.datamodules.sequences import Sequences
from ludocast.datamodules.vocabulary import PADDING, UNKNOWN
from torch import Tensor

NO_ROW = -1  # of a lane that has no sequence left


class Pick(NamedTuple):
    """What goes into a batch.

    Attributes:
        row: Sequences, int64 [B]; `NO_ROW` for an idle lane.
        skip: Steps of them that lie before this batch, int64 [B].
        length: Steps to take, int64 [B].
        seed: Of the tokens that are dropped to unknown.
    """

    row: Tensor
    skip: Tensor
    length: Tensor
    seed: int


class SequenceBatch(NamedTuple):
    """A batch, padded at the end with zeros.

    Attributes:
        steps: Name to [B, L] or [B, L, D]; whole numbers as int64, others, and uint8 and bool, as float32.
        static: Name to [B] or [B, D], of the same types.
        length: Real steps, int64 [B]; 0 for an idle lane alone.
        mask: Which steps are real, bool [B, L].
        reset: Where a sequence begins, so that the state of that row alone is reset, bool [B].
        row: Which sequence each is, int64 [B]; `NO_ROW` for an idle lane.
        steps_per_batch: Real steps that a batch holds on average over the epoch and the ranks.
        rows_per_batch: Sequences that begin in a batch, on the same average; for a loss with one term a sequence.
    """

    steps: dict[str, Tensor]
    static: dict[str, Tensor]
    length: Tensor
    mask: Tensor
    reset: Tensor
    row: Tensor
    steps_per_batch: float
    rows_per_batch: float


class SequenceTensors:
    """Sequences in memory, from which batches are gathered.

    Args:
        sequences: Shared, not copied.
        unknown_share: Share of the tokens that become unknown at random, so that the unknown one is trained.
        token: The step that these tokens are.

    Raises:
        ValueError: If a share is none.
    """

    def __init__(self, sequences: Sequences, unknown_share: float = 0.0, token: str = "token") -> None:
        if not 0 <= unknown_share < 1:
            raise ValueError(f"the share of tokens dropped to unknown is at least 0 and below 1, got {unknown_share}")
        self.unknown_share, self.token = unknown_share, token
        self.steps = {name: torch.from_numpy(values) for name, values in sequences.steps.items()}
        self.static = {name: torch.from_numpy(values) for name, values in sequences.static.items()}
        self.begin = torch.from_numpy(sequences.begin)

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self.begin)

    def batch(self, pick: Pick, steps_per_batch: float = 1.0, rows_per_batch: float = 1.0) -> SequenceBatch:
        """Gather, pad, and drop tokens to unknown; a batch of idle lanes alone is one step of padding."""
        real = pick.row.clamp(min=0)
        place = torch.arange(max(1, int(pick.length.max())))
        mask_BL = place < pick.length[:, None]
        position_BL = torch.where(mask_BL, (self.begin[real] + pick.skip)[:, None] + place, 0)
        steps = {name: _padded(_wide(values[position_BL]), mask_BL) for name, values in self.steps.items()}
        if self.unknown_share > 0 and self.token in steps:
            steps[self.token] = drop_to_unknown(steps[self.token], self.unknown_share, pick.seed)
        static = {name: _wide(values[real]) for name, values in self.static.items()}
        averages = (steps_per_batch, rows_per_batch)
        return SequenceBatch(steps, static, pick.length, mask_BL, pick.skip == 0, pick.row, *averages)


def _wide(values: Tensor) -> Tensor:
    is_number = values.is_floating_point() or values.dtype in (torch.uint8, torch.bool)
    return values.to(torch.float32 if is_number else torch.int64)


def _padded(values: Tensor, mask_BL: Tensor) -> Tensor:
    return torch.where(mask_BL if values.dim() == 2 else mask_BL.unsqueeze(-1), values, torch.zeros_like(values))


def drop_to_unknown(token_BL: Tensor, share: float, seed: int) -> Tensor:
    """Each token becomes the unknown one with this probability; padding stays padding."""
    drawn = torch.rand(token_BL.shape, generator=torch.Generator().manual_seed(seed))
    return torch.where((drawn < share) & (token_BL != PADDING), UNKNOWN, token_BL)


def masked_sum(loss_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the losses of real steps, and their number; whatever stands at padding, NaN too, counts nowhere."""
    return torch.where(mask_BL, loss_BL, 0.0).sum(), mask_BL.sum()


def training_loss(loss_BL: Tensor, mask_BL: Tensor, steps_per_batch: float) -> Tensor:
    """A batch's part of the mean over all real steps of the corpus.

    Its mean over the batches of an epoch, and over the ranks, as DDP averages gradients, is that mean, however the
    steps are shared out; the mean over each batch's own steps would weigh those of small batches more.

    Args:
        loss_BL: Loss of each step.
        mask_BL: Which steps are real.
        steps_per_batch: Of the batch.
    """
    return masked_sum(loss_BL, mask_BL)[0] / steps_per_batch


class CorpusMean:
    """The mean over all real steps of all batches, and, where there is a process group, of all ranks."""

    def __init__(self) -> None:
        self.total = torch.zeros(2, dtype=torch.float64)  # sum and count

    def update(self, loss_BL: Tensor, mask_BL: Tensor) -> None:
        """Take a batch in."""
        self.total = self.total.to(loss_BL.device) + torch.stack(
            masked_sum(loss_BL.detach().to(torch.float64), mask_BL)
        )

    def compute(self) -> float:
        """Sum over count.

        Raises:
            ValueError: If there was no real step.
        """
        total = self.total.clone()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(total)
        if total[1] == 0:
            raise ValueError("a mean needs one real step or more, there was none")
        return float(total[0] / total[1])
