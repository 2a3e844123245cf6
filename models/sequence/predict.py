"""Answers to all sequences of a part, in the part's own order."""

# N sequences, T real steps of all of them, C outputs

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from ludocast.datamodules.length_buckets import LengthBuckets
from ludocast.datamodules.sequence import SequenceDataModule
from ludocast.datamodules.sequence_batches import CorpusMean, SequenceBatch, SequenceTensors
from ludocast.datamodules.sequence_loader import SequenceLoader
from ludocast.datamodules.sequences import Sequences
from ludocast.datamodules.vocabulary import FIRST, PADDING, UNKNOWN
from ludocast.models.sequence.metrics import Ranked
from ludocast.models.sequence.module import SequenceModule, carried
from ludocast.models.sequence.tasks import LanguageModule, LeavingModule, NextModule, TagModule
from torch import Tensor

SHOWN_BEFORE = 12  # tokens of an example's past
SHOWN_ANSWERS = 5


def batch_logits(module: SequenceModule, loader: SequenceLoader) -> Iterator[tuple[SequenceBatch, Tensor]]:
    """Each batch with its logits, the state carried over."""
    state = None
    with torch.inference_mode():
        for batch in loader:
            logits, state = module(batch, carried(state, batch))
            yield batch, logits


def leaving_probabilities(module: LeavingModule, part: Sequences) -> np.ndarray:
    """Calibrated probabilities of any whole sequences, float64 [N]."""
    sampler = LengthBuckets(part.lengths, 512, is_shuffled=False, is_shared=False)
    logits = leaving_logits(module, SequenceLoader(SequenceTensors(part), sampler))
    return np.asarray(1 / (1 + np.exp(-logits / float(module.temperature))))


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


@dataclass(frozen=True)
class Example:
    """A step of the test part, in ids.

    Attributes:
        before: What went before, the last few; the step's own token is the last of them.
        came: What followed.
        answers: The likeliest answers and their probabilities.
    """

    before: list[int]
    came: int
    answers: list[tuple[int, float]]


def ranked_steps(module: LanguageModule, data: SequenceDataModule, examples: int = 6) -> tuple[Ranked, list[Example]]:
    """What came at all steps of the test part as the network expected it, and some of them, evenly spread.

    The steps stand in the part's own order, sequence by sequence.
    """
    loader = data.test_dataloader()
    wanted = np.linspace(0, loader.sampler.total - 1, examples + 2)[1:-1].astype(np.int64)
    losses, ranks, places, shown, count = [], [], [], [], 0
    behind = np.zeros(len(loader.data), np.int64)  # steps of each sequence in the batches before
    for batch, logits in batch_logits(module, loader):
        target = batch.steps["target"][batch.mask]
        logarithms = module.answer(logits[batch.mask])
        own = logarithms.gather(1, target[:, None])
        losses.append(-own[:, 0].double().numpy())
        ranks.append(((logarithms >= own).sum(1) - 1).numpy())
        lanes, within = (index.numpy() for index in torch.nonzero(batch.mask, as_tuple=True))
        rows = batch.row.numpy()[lanes]
        step = behind[rows] + within
        places.append(np.stack([step, rows]))
        for k in np.unique(wanted[(wanted >= count) & (wanted < count + len(lanes))] - count):
            before = _before(loader, int(rows[k]), int(step[k]))
            shown.append(Example(before, int(target[k]), _likeliest(logarithms[k])))
        real = batch.length > 0
        behind[batch.row[real].numpy()] += batch.length[real].numpy()
        count += len(lanes)
    order = np.lexsort(np.concatenate(places, axis=1))
    return Ranked(np.concatenate(losses)[order], np.concatenate(ranks)[order]), shown


def _before(loader: SequenceLoader, row: int, step: int) -> list[int]:
    end = int(loader.data.begin[row]) + step + 1
    return [int(token) for token in loader.data.steps["token"][max(end - SHOWN_BEFORE, end - step - 1) : end]]


def _likeliest(logarithms_C: Tensor) -> list[tuple[int, float]]:
    top = logarithms_C.exp().topk(min(SHOWN_ANSWERS, len(logarithms_C)))
    return [(index, p) for index, p in zip(top.indices.tolist(), top.values.tolist(), strict=True) if index != PADDING]


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
