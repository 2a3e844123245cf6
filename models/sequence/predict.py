"""Answers to all sequences of a part, in the part's own order."""

# N sequences, T real steps of all of them, C outputs

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from ludocast.datamodules.sequence import SequenceDataModule
from ludocast.datamodules.sequence_batches import CorpusMean, SequenceBatch
from ludocast.datamodules.sequence_loader import SequenceLoader
from ludocast.datamodules.vocabulary import FIRST, PADDING, UNKNOWN
from ludocast.models.sequence.module import SequenceModule, carried
from ludocast.models.sequence.tasks import LeavingModule, NextModule, TagModule
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


def next_answers(module: NextModule, data: SequenceDataModule, count: int) -> np.ndarray:
    """Ids of the likeliest events at the last step of each test session, int64 [N, count, or as many as there are]."""
    part = data.parts.test
    count = min(count, data.sizes["classes"] - FIRST)
    found = np.zeros((len(part), count), np.int64)
    for batch, logits in batch_logits(module, data.test_dataloader()):
        # Of a session in chunks the last one to come stays.
        real = torch.nonzero(batch.length > 0)[:, 0]
        last = logits[real, batch.length[real] - 1]
        last[:, [PADDING, UNKNOWN]] = -torch.inf  # no event that anyone could expect
        found[batch.row[real].numpy()] = last.topk(count).indices.numpy()
    return found


def evaluated(module: SequenceModule, data: SequenceDataModule) -> dict[str, float]:
    """Measures on the test part, without a Trainer."""
    mean = CorpusMean()
    if isinstance(module, TagModule):
        module.classes = data.parts.classes
    module.begin_scores()
    for batch, logits in batch_logits(module, data.test_dataloader()):
        loss, mask, _ = module.losses(logits, batch)
        mean.update(loss, mask)
        module.take_scores(logits, batch)
    # Not `compute`, which waits for the other processes of a training: they have gone.
    return module.scores(float(mean.total[0] / mean.total[1]))
