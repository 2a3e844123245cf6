"""Training of a network on sequences by a Lightning Trainer, and the calibration of who leaves."""

from __future__ import annotations

from dataclasses import replace

from ludocast.datamodules.sequence import SequenceDataModule
from ludocast.models.calibration import fit_drifting_temperature
from ludocast.models.same_command import SameCommand
from ludocast.models.sequence.module import SequenceModule
from ludocast.models.sequence.predict import leaving_logits
from ludocast.models.sequence.tasks import LeavingModule
from ludocast.models.trainer import TrainerSettings, last_checkpoint, make_trainer, without_hints


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
    with without_hints():
        trainer.fit(module, datamodule=data, ckpt_path=None if resumed is None else str(resumed), weights_only=False)
    module.cpu().eval()
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def calibrate(module: LeavingModule, data: SequenceDataModule) -> float:
    """Set the temperature from the validation part, and tell it.

    Only the temperature: the share of those who leave drifts from month to month, and a shift of the logits fitted to
    the few snapshot times of a validation part would carry the drift of those times into all answers.
    """
    known = data.parts.validation.static
    logit = leaving_logits(module, data.val_dataloader())
    temperature = fit_drifting_temperature(logit, known["label"], known["time"])
    module.temperature.fill_(temperature)
    return temperature
