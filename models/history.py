"""How a training went: its loss over the steps and the measures after each epoch, kept across resumed trainings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

POINTS = 100  # of the curve at least, once there are as many steps; twice as many at most


class History(Callback):
    """Means of the training loss over equal stretches of steps, and what was measured after each epoch.

    Where a module tells the part of an average batch that a batch is, as `batch_share`, batches count by it. Of several
    processes each keeps its own training loss. A checkpoint holds it all, so a resumed training goes on with the same
    curve.

    Attributes:
        epochs: After each epoch its number from 1 as "epoch", the optimiser's steps so far as "step", measures, and
            "train_loss", the mean over all of it: Lightning's own mean forgets what came before a resumption.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self._stretches: list[tuple[float, float]] = []  # sums of losses and shares
        self._width = 1
        self._sums: Tensor | None = None  # of losses and shares, since the last stretch ended
        self._count = 0
        self._epoch_sums = torch.zeros(2, dtype=torch.float64)  # the same, of the epoch's stretches that have ended

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """The middle of each stretch in steps, and the mean loss there; float64 [K] each."""
        loss, share = np.array(self._stretches).reshape(-1, 2).T
        known = np.flatnonzero(share > 0)  # the last lanes of an epoch may all be those of other processes
        return (known + 0.5) * self._width, loss[known] / share[known]

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,  # noqa: ARG002
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Take the batch's loss in."""
        loss = outputs["loss"].detach()
        share = torch.as_tensor(getattr(pl_module, "batch_share", 1.0), device=loss.device)
        both = torch.stack([loss.double(), share.double()])
        self._sums = both if self._sums is None else self._sums.to(loss.device) + both
        self._count += 1  # tensors until the stretch ends: a GPU is waited for no more often
        if self._count < self._width:
            return
        ended = self._sums.cpu()
        self._epoch_sums = self._epoch_sums + ended
        self._stretches.append((float(ended[0]), float(ended[1])))
        self._sums, self._count = None, 0
        if len(self._stretches) == 2 * POINTS:
            pairs = zip(self._stretches[::2], self._stretches[1::2], strict=True)
            self._stretches = [(a[0] + b[0], a[1] + b[1]) for a, b in pairs]
            self._width *= 2

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Keep what was measured."""
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        open_sums = torch.zeros(2, dtype=torch.float64) if self._sums is None else self._sums.cpu()
        loss_sum, share_sum = (self._epoch_sums + open_sums).tolist()
        self._epoch_sums = -open_sums  # the next epoch's first stretch began in this one
        if share_sum > 0:
            found["train_loss"] = loss_sum / share_sum
        self.epochs.append({"epoch": trainer.current_epoch + 1, "step": trainer.global_step, **found})

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "epochs": self.epochs, "stretches": self._stretches, "width": self._width, "sums": self._sums,
            "epoch_sums": self._epoch_sums, "count": self._count,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.epochs, self._stretches = list(state_dict["epochs"]), list(state_dict["stretches"])
        self._width, self._sums, self._count = state_dict["width"], state_dict["sums"], state_dict["count"]
        self._epoch_sums = state_dict["epoch_sums"]
