"""Small made sequences whose answer is known."""

from __future__ import annotations

import numpy as np
import pytorch_lightning as pl
import torch
from ludocast.datamodules.ragged import offsets_of
from ludocast.datamodules.sequence import SequenceDataModule, SequenceParts, SequenceSource
from ludocast.datamodules.sequence_batches import SequenceBatch, SequenceTensors
from ludocast.datamodules.sequences import Sequences, from_offsets
from ludocast.models.sequence.module import LearningSettings
from ludocast.models.sequence.network import NetworkSettings
from ludocast.models.sequence.tasks import LanguageModule
from pytorch_lightning.callbacks import Callback

SIZES = {"tokens": 6, "numbers": 0, "classes": 6}
SMALL = NetworkSettings("gru", hidden=8, layers=1, embedding=5, dropout=0.0)


class Made(SequenceSource):
    """The next token is the one after the last but one, mod 4: it takes a memory of one step.

    Args:
        lengths: Of the training sequences.
    """

    def __init__(self, lengths: tuple[int, ...] = (23, 9, 14, 30, 5, 17)) -> None:
        self.lengths = np.array(lengths)

    def read(self) -> SequenceParts:
        train, validation, test = (sequences(self.lengths, seed) for seed in range(3))
        return SequenceParts(train, validation, test, SIZES)


def sequences(lengths: np.ndarray, seed: int) -> Sequences:
    generator = np.random.default_rng(seed)
    rows = []
    for length in lengths:
        row = list(generator.integers(0, 4, 2))
        while len(row) <= length:
            row.append((row[-2] + 1) % 4)
        rows.append(np.array(row) + 2)
    offsets = offsets_of(np.array([len(row) for row in rows]))
    return from_offsets({"token": np.concatenate(rows).astype(np.int32)}, offsets).with_next("token")


def whole_batch(part: Sequences) -> SequenceBatch:
    from ludocast.datamodules.length_buckets import LengthBuckets

    sampler = LengthBuckets(part.lengths, len(part), is_shuffled=False)
    pick = next(iter(sampler))
    return SequenceTensors(part).batch(pick, float(part.lengths.sum()), float(len(part)))


def language(network: NetworkSettings = SMALL, seed: int = 0, rate: float = 0.02) -> LanguageModule:
    return LanguageModule(network, LearningSettings(learning_rate=rate, average=0.9, seed=seed))


def trainer(epochs: int = 1, *callbacks: Callback) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, num_sanity_val_steps=0, callbacks=list(callbacks),
        enable_checkpointing=bool(callbacks),
    )  # fmt: skip


def data(tbptt: int | None = None, batch: int = 2, seed: int = 0) -> SequenceDataModule:
    return SequenceDataModule(Made(), batch=batch, evaluation_batch=3, tbptt_steps=tbptt, seed=seed)


def weights(module: LanguageModule) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
