"""The Lightning Trainer of every recipe: where it trains, what it keeps, and how it goes on."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from ludocast.compression.strategy import Compression, ddp_strategy
from ludocast.datamodules.errors import first_line
from ludocast.models.ranks import Ranks
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import Logger

Accelerator = Literal["auto", "cpu", "gpu"]
ALONE = Ranks()


@dataclass(frozen=True)
class TrainerSettings:
    """What reaches the Lightning Trainer, and the size of the network.

    Attributes:
        accelerator: Where the network trains.
        ranks: The processes that train together.
        compression: How these average their gradients.
        precision: Of the training.
        epochs: None: scaled to the rows.
        hidden: Units of the MLP; None: scaled to the rows.
        checkpoints: Folder that gets one after each epoch.
        checkpoint_every: Steps after which it gets one too; None: after epochs alone.
        record: File that tells what 1-bit compression did, of the network trained last.
        resume: Go on from the last checkpoint there, if there is one.
        progress: Show a bar.
        callbacks: Of the Trainer.
        stage: Name of the training, for its logger; None: that of the checkpoints' folder.
        logger: From the name of a training to what it is logged by.
    """

    accelerator: str = "cpu"
    ranks: Ranks = ALONE
    compression: Compression = "auto"
    precision: str = "32-true"
    epochs: int | None = None
    hidden: int | None = None
    checkpoints: Path | None = None
    checkpoint_every: int | None = None
    record: Path | None = None
    resume: bool = True
    progress: bool = False
    callbacks: tuple[Callback, ...] = field(default=())
    stage: str | None = None
    logger: Callable[[str], Logger] | None = None


def last_checkpoint(settings: TrainerSettings) -> Path | None:
    """Where a stopped training goes on; None if it begins."""
    if settings.checkpoints is None or not settings.resume:
        return None
    last = settings.checkpoints / "last.ckpt"
    return last if last.exists() else None


def check_settings(settings: TrainerSettings) -> None:
    """Refuse settings with which no training can begin.

    Raises:
        ValueError: If the Trainer does not take them, with what it says.
    """
    if settings.accelerator == "gpu" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise ValueError("--accelerator gpu: torch finds no GPU on this machine; leave it out, and the CPU trains")
    try:
        make_trainer(replace(settings, checkpoints=None, progress=False, logger=None), 1)
    except (MisconfigurationException, ImportError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"--accelerator, --devices and --precision: {first_line(error)}") from error


def make_trainer(settings: TrainerSettings, epochs: int) -> pl.Trainer:
    """A Lightning Trainer; with `checkpoints` it writes one after each epoch, and within epochs if asked."""
    callbacks: list[Callback] = list(settings.callbacks)
    if settings.checkpoints is not None:
        # Both write last.ckpt, the one within epochs first.
        for name, steps in (("step", settings.checkpoint_every), ("epoch", None)):
            if name == "epoch" or steps is not None:
                callbacks.append(
                    ModelCheckpoint(
                        settings.checkpoints,
                        name,
                        save_last=True,
                        enable_version_counter=False,
                        every_n_train_steps=steps,
                    )
                )
    stage = settings.stage
    if stage is None:
        stage = "network" if settings.checkpoints is None else settings.checkpoints.name
    return pl.Trainer(
        accelerator=settings.accelerator,
        devices=settings.ranks.devices,
        num_nodes=settings.ranks.nodes,
        strategy=ddp_strategy(settings.compression, record=settings.record) if settings.ranks.world > 1 else "auto",
        precision=settings.precision,  # type: ignore[arg-type]
        max_epochs=epochs,
        callbacks=callbacks,
        enable_checkpointing=settings.checkpoints is not None,
        enable_progress_bar=settings.progress and sys.stdout.isatty(),  # a log file is no place for a moving bar
        enable_model_summary=False,
        logger=False if settings.logger is None else settings.logger(stage),
        log_every_n_steps=1,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )


def quiet_lightning() -> None:
    """Keep Lightning from telling what it runs on."""
    for noisy in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


@contextlib.contextmanager
def without_hints(*, for_authors: bool = False) -> Iterator[None]:
    """Keep from users what Lightning says of loaders that read from memory, and of GPUs that were not asked for.

    Args:
        for_authors: Keep from them as well what it says to authors of modules.
    """
    with warnings.catch_warnings():
        if for_authors:
            warnings.filterwarnings("ignore", module="pytorch_lightning")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
        yield
