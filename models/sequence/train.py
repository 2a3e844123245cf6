"""Training of a network on sequences by a Lightning Trainer, and the calibration of who leaves."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch
from ludocast.datamodules.sequence import SequenceDataModule
from ludocast.models.churn.train import TrainerSettings, last_checkpoint, make_trainer
from ludocast.models.same_command import SameCommand
from ludocast.models.sequence.metrics import platt
from ludocast.models.sequence.module import SequenceModule
from ludocast.models.sequence.predict import leaving_logits
from ludocast.models.sequence.tasks import LeavingModule


def train_sequence_module(
    module: SequenceModule, data: SequenceDataModule, settings: TrainerSettings, epochs: int
) -> dict[str, float]:
    """Train, and tell the measures of the last epoch on training and validation.

    Args:
        module: Not yet trained; left in eval mode on the CPU.
        data: Its sequences.
        settings: Of the Trainer; with `checkpoints` a stopped training goes on from its last epoch. Several processes
            have to call this alike.
        epochs: Passes over the training part.
    """
    resumed = last_checkpoint(settings)
    same = SameCommand({"the data": data.parts.rule, "sequences": len(data.parts.train), "epochs": epochs})
    trainer = make_trainer(replace(settings, callbacks=(*settings.callbacks, same)), epochs)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # batches come from memory
        warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
        trainer.fit(module, datamodule=data, ckpt_path=None if resumed is None else str(resumed), weights_only=False)
    module.cpu().eval()
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def calibrate(module: LeavingModule, data: SequenceDataModule) -> tuple[float, float]:
    """Set slope and shift of the logits from the validation part, and tell them."""
    label = data.parts.validation.static["label"]
    slope, shift = platt(leaving_logits(module, data.val_dataloader()), label)
    module.calibration.copy_(torch.tensor([slope, shift]))
    return slope, shift
