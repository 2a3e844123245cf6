"""Processes that train together have to be asked the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class SameCommand(Callback):
    """Compares what each process was asked to do with the first's, before they wait for one another in vain.

    Args:
        asked: What has to agree, by name.
    """

    def __init__(self, asked: Mapping[str, Any]) -> None:
        self.asked = dict(asked)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        """Compare.

        Raises:
            ValueError: If another process than the first was asked something else; it names what.
        """
        first = trainer.strategy.broadcast(self.asked)
        for name, value in self.asked.items():
            if first[name] != value:
                raise ValueError(
                    f"process {trainer.global_rank} was started with {name} {value!r}, the first with {first[name]!r}; "
                    "all processes have to train the same on the same data"
                )
