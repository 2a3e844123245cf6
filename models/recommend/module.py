"""The Lightning glue of the re-ranker: a softmax over each user's candidates against what was hidden."""

# N lists of a batch, C candidates, F inputs of a candidate

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from ludocast.models.recommend.network import CandidateNetwork
from ludocast.models.recommend.signals import Signals
from ludocast.models.recommend.training_lists import Batch, ListsDataModule
from torch import Tensor
from torch.nn import functional as F


class RecommenderModule(pl.LightningModule):
    """Trains a `CandidateNetwork` to rank hidden items first in a user's list.

    The inputs are standardised by the training lists of a `ListsDataModule` when the fit begins.

    Args:
        hidden: Units of each of two layers.
        dropout: Of these units.
        learning_rate: Of AdamW at its highest; one cycle.
        weight_decay: Of AdamW.
        warmup: Share of the steps until the highest learning rate.
        seed: Of the initial weights and the dropout.
        inputs: F; by default that of the default signals.
    """

    def __init__(
        self,
        hidden: int = 64,
        dropout: float = 0.0,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.01,
        warmup: float = 0.3,
        seed: int = 0,
        inputs: int | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        inputs = len(Signals().names) if inputs is None else inputs
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = CandidateNetwork(inputs, hidden, dropout)

    def forward(self, inputs_NCF: Tensor, is_real_NC: Tensor) -> Tensor:
        """Scores [N, C]."""
        scores: Tensor = self.network(inputs_NCF, is_real_NC)
        return scores

    def on_fit_start(self) -> None:
        """Take the inputs' scales from the training lists, unless a checkpoint brought them."""
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, ListsDataModule) or data.lists is None:
            raise ValueError("RecommenderModule learns from a ListsDataModule; pass one as datamodule=")
        if self.trainer.ckpt_path is None:
            self.network.standardise_by(torch.from_numpy(data.lists.inputs), torch.from_numpy(data.lists.is_real))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout by epoch, so that a resumed training repeats the unbroken one."""
        if batch_idx == 0:
            torch.manual_seed(self.hparams["seed"] * 100_003 + self.current_epoch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean over lists of the listwise loss."""
        inputs, is_hidden, is_real = batch
        loss = listwise_loss(self(inputs, is_real), is_hidden, is_real)
        self.log("train_loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(inputs))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The same of lists that change nothing."""
        inputs, is_hidden, is_real = batch
        loss = listwise_loss(self(inputs, is_real), is_hidden, is_real)
        self.log("validation_loss", loss, prog_bar=True, batch_size=len(inputs), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """AdamW; one cycle over all steps (Smith & Topin 2018)."""
        hparams = self.hparams
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=hparams["learning_rate"], weight_decay=hparams["weight_decay"]
        )
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, hparams["learning_rate"], pct_start=hparams["warmup"],
            total_steps=max(2, int(self.trainer.estimated_stepping_batches)),
        )  # fmt: skip
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


def listwise_loss(scores_NC: Tensor, is_hidden_NC: Tensor, is_real_NC: Tensor) -> Tensor:
    """Cross-entropy of the softmax over a list against its hidden items, equal shares each; the mean over lists.

    The listwise loss of ListNet's top one probability (Cao et al., ICML 2007, eq. 4) with binary relevance.

    Args:
        scores_NC: Of the candidates.
        is_hidden_NC: bool, one or more in each list.
        is_real_NC: bool, False where a list has no further candidate.
    """
    log_p = F.log_softmax(scores_NC.masked_fill(~is_real_NC, -torch.inf), dim=1)
    share = is_hidden_NC.to(scores_NC.dtype) / is_hidden_NC.sum(1, keepdim=True)
    return -(log_p.masked_fill(~is_hidden_NC, 0.0) * share).sum(1).mean()
