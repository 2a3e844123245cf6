"""Training of the tabular network by a Lightning Trainer: how long, and in what batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from ludocast.datamodules.batches import Batch, MemberSampler, evaluation_loader, train_loader
from ludocast.datamodules.preprocess import Encoded
from ludocast.datamodules.row_group_loader import RowGroupLoader, TrainingStream
from ludocast.datamodules.tabular import table_tensors
from ludocast.models.same_command import SameCommand
from ludocast.models.table.module import TabularModule
from ludocast.models.table.relevance import relevant_inputs
from ludocast.models.trainer import TrainerSettings, last_checkpoint, make_trainer, without_hints
from torch.utils.data import DataLoader


def schedule(rows: int) -> tuple[int, int]:
    """Batch size and epochs for a number of training rows: at least about 1,000 steps, at most about 6,000.

    But each row is read four times, and as rows become millions, so often that six million are read.
    """
    batch = int(np.clip(2 ** np.round(np.log2(max(rows, 1) / 50)), 32, 256))
    epochs = int(np.clip(np.ceil(1_000 * batch / max(rows, 1)), 16, 60))
    if rows > 100_000:
        batch, epochs = 512, int(np.clip(6_000 * 512 / rows, min(4, np.ceil(6e6 / rows)), 16))
    return batch, epochs


def train_network(
    encoded: Encoded,
    label: np.ndarray,
    member_rows: Sequence[np.ndarray],
    sizes: dict[str, Any],
    settings: TrainerSettings,
    seed: int,
    validation: tuple[Encoded, np.ndarray] | None = None,
    stream: TrainingStream | None = None,
) -> TabularModule:
    """Train one member on each entry of `member_rows`, all side by side.

    Args:
        encoded: All rows that members draw from.
        label: int64 [N], or scaled numbers, float64 [N].
        member_rows: Row numbers of each member.
        sizes: `numbers` and `code_sizes` of the table, and what `models.table.heads.head_of` reads.
        settings: Of the Trainer; with `checkpoints` a stopped training goes on from its last epoch. Several processes
            have to call this alike; each then draws its share of every batch, and all get the same network.
        seed: Of weights, shuffles and dropout.
        validation: Rows whose loss is shown a epoch; they change nothing.
        stream: Rows on the disk that all members learn from, in place of those above, which are some of them. An epoch
            is then a part of a pass.
    """
    count = min(len(rows) for rows in member_rows) if stream is None else stream.rows
    batch, epochs = schedule(count)
    if settings.epochs is not None:
        epochs = settings.epochs
    hidden = settings.hidden if settings.hidden is not None else hidden_units(max(len(label), count))
    module = TabularModule(members=len(member_rows), hidden=hidden, seed=seed)
    module.build(sizes)
    if settings.ranks.is_first:  # DDP hands the first's buffers to the others
        _set_inputs(module, encoded, label, member_rows, seed)
    loader: DataLoader[Batch] | RowGroupLoader
    if stream is None:
        rows = [torch.from_numpy(np.ascontiguousarray(entry, np.int64)) for entry in member_rows]
        loader = train_loader(table_tensors(encoded, label), rows, batch, seed)
    else:
        loader = RowGroupLoader(stream, len(member_rows), batch, seed)
        epochs *= loader.parts
    resumed = last_checkpoint(settings)
    epoch = 0 if resumed is None else int(torch.load(resumed, weights_only=False)["epoch"]) + 1
    # Lightning begins to iterate before it tells the sampler which epoch a resumed training is in.
    cast("MemberSampler | RowGroupLoader", loader.sampler).set_epoch(epoch)
    same = SameCommand({"the epoch to go on from": epoch, "rows a batch": batch, "epochs": epochs, "seed": seed})
    trainer = make_trainer(replace(settings, callbacks=(*settings.callbacks, same)), epochs)
    torch.manual_seed(seed)
    with without_hints():
        trainer.fit(
            module,
            loader,
            None if validation is None else evaluation_loader(table_tensors(*validation)),
            ckpt_path=None if resumed is None else str(resumed),
            weights_only=False,
        )
    return module.cpu().eval()


def _set_inputs(
    module: TabularModule, encoded: Encoded, label: np.ndarray, member_rows: Sequence[np.ndarray], seed: int
) -> None:
    """Have each member read what is relevant on its own rows; members of equal rows agree."""
    found: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
    for rows in member_rows:
        if rows.tobytes() not in found:
            found[rows.tobytes()] = relevant_inputs(encoded.rows(rows), label[rows], seed)
    masks = [found[rows.tobytes()] for rows in member_rows]
    numbers, codes = (torch.from_numpy(np.stack(side)) for side in zip(*masks, strict=True))
    for network in (module.network, module.averaged):
        assert network is not None
        network.read_only(numbers, codes)


def hidden_units(rows: int) -> int:
    """Units of the MLP for a number of training rows."""
    return 384 if rows >= 5_000 else 128


def network_outputs(module: TabularModule, encoded: Encoded, batch: int = 4096) -> np.ndarray:
    """Outputs of each member, float32 [M, N, C]."""
    parts = []
    with torch.inference_mode():
        for start in range(0, max(len(encoded.numbers), 1), batch):
            numbers = torch.from_numpy(encoded.numbers[start : start + batch])
            codes = torch.from_numpy(encoded.codes[start : start + batch])
            parts.append(module.member_outputs(numbers, codes).numpy())
    return np.concatenate(parts, axis=1)
