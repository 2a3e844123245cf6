"""The Lightning glue of the tower: a softmax over all items against each pair, some columns hidden."""

# B players of a batch, D numbers of a player, I items

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from ludocast.models.recommend.tower_network import TowerSettings, UserTower
from torch import Tensor
from torch.nn import functional as F

Batch = tuple[Tensor, Tensor]  # vectors [B, D] and pairs [B, I]


class TowerModule(pl.LightningModule):
    """Trains a `UserTower`.

    Args:
        inputs: D.
        items: I.
        settings: Of the training.
        blank: The numbers of a player of whom nothing is told [D].
        groups: Of which column each number is [D].
        after_epoch: Called with the network after each epoch.
    """

    def __init__(
        self,
        inputs: int,
        items: int,
        settings: TowerSettings,
        blank: np.ndarray,
        groups: np.ndarray,
        after_epoch: Callable[[UserTower], None] | None = None,
    ) -> None:
        super().__init__()
        self.settings, self.after_epoch = settings, after_epoch
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.network = UserTower(inputs, items, settings)
        self.blank, self.groups = torch.from_numpy(blank), torch.from_numpy(groups)

    def forward(self, x_BD: Tensor) -> Tensor:
        """Logits [B, I]."""
        logits: Tensor = self.network(x_BD)
        return logits

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed by epoch, so that dropout repeats itself."""
        if batch_idx == 0:
            torch.manual_seed(self.settings.seed * 100_003 + self.current_epoch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean over pairs of the cross-entropy, some columns hidden."""
        x_BD, pairs_BI = batch
        is_hidden = torch.rand(len(x_BD), int(self.groups.max()) + 1) < self.settings.hide
        x_BD = torch.where(is_hidden[:, self.groups], self.blank, x_BD)
        loss = -(F.log_softmax(self(x_BD), 1) * pairs_BI).sum() / pairs_BI.sum().clamp(min=1)
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(x_BD))
        return loss

    def on_train_epoch_end(self) -> None:
        """Tell whoever wants to know."""
        if self.after_epoch is not None:
            self.network.eval()
            self.after_epoch(self.network)
            self.network.train()

    def configure_optimizers(self) -> Any:
        """AdamW along a cosine; the items' popularity is not drawn towards 0."""
        settings = self.settings
        bias = [self.network.items.bias]
        others = [one for one in self.network.parameters() if one is not bias[0]]
        optimizer = torch.optim.AdamW(
            [{"params": others, "weight_decay": settings.weight_decay}, {"params": bias, "weight_decay": 0.0}],
            lr=settings.learning_rate,
        )
        epochs = self.trainer.max_epochs
        assert epochs is not None
        steps = max(1, int(self.trainer.estimated_stepping_batches) * settings.epochs // epochs)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}
