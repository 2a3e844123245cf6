"""Answers to all sequences of a part, in the part's own order."""

# N sequences, T real steps of all of them, C outputs

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from ludocast.datamodules.sequence import SequenceDataModule
from ludocast.datamodules.sequence_batches import SequenceBatch
from ludocast.datamodules.sequence_loader import SequenceLoader
from ludocast.models.sequence.module import SequenceModule, carried
from ludocast.models.sequence.tasks import LeavingModule, TagModule
from torch import Tensor


def batch_logits(module: SequenceModule, loader: SequenceLoader) -> Iterator[tuple[SequenceBatch, Tensor]]:
    """Each batch with its logits, the state carried over."""
    state = None
    with torch.inference_mode():
        for batch in loader:
            logits, state = module(batch, carried(state, batch))
            yield batch, logits


def leaving_logits(module: LeavingModule, loader: SequenceLoader) -> np.ndarray:
    """Logits before calibration, float64 [N]."""
    found = np.full(len(loader.data), np.nan)
    for batch, logits in batch_logits(module, loader):
        found[batch.row.numpy()] = logits[:, 0].double().numpy()
    return found


def tag_ids(module: TagModule, data: SequenceDataModule) -> list[np.ndarray]:
    """Ids of the tags of each test sequence."""
    found: list[np.ndarray] = [np.zeros(0, np.int64)] * len(data.parts.test)
    for batch, logits in batch_logits(module, data.test_dataloader()):
        for row, length, ids in zip(batch.row.tolist(), batch.length.tolist(), logits.argmax(-1).numpy(), strict=True):
            found[row] = ids[:length]
    return found
