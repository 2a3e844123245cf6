"""The Lightning glue of the tabular network: loss, optimiser, averaged weights."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytorch_lightning as pl
import torch
from ludocast.models.averaging import move_average
from ludocast.models.table.heads import Head, head_of
from ludocast.models.table.network import TabularNetwork
from torch import Tensor

Batch = tuple[Tensor, Tensor, Tensor]  # numbers [M, B, D], codes [M, B, S], label [M, B]


class TabularModule(pl.LightningModule):
    """Trains a `TabularNetwork` and keeps an exponential average of its weights, which is what predicts.

    The sizes of the table come from the data module at the first `configure_model`, and from the checkpoint later.

    Args:
        members: Networks trained side by side; their outputs are averaged.
        hidden: Units of the MLP.
        dropout: Of these units.
        embedding: Width of a value's embedding.
        rank: Rank of the cross layers.
        learning_rate: Of AdamW at its highest; it falls to 0 along a cosine.
        weight_decay: Of AdamW.
        average: Decay of the weights' exponential average, a step.
        seed: Of the initial weights.
    """

    def __init__(
        self,
        members: int = 5,
        hidden: int = 384,
        dropout: float = 0.25,
        embedding: int = 16,
        rank: int = 32,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.03,
        average: float = 0.995,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.sizes: dict[str, Any] | None = None
        self.network: TabularNetwork | None = None
        self.averaged: TabularNetwork | None = None
        self._steps_averaged = 0

    def configure_model(self) -> None:
        """Build the network once the table's sizes are known."""
        if self.network is not None:
            return
        if self.sizes is None:
            datamodule = getattr(self.trainer, "datamodule", None)
            if datamodule is None:
                raise ValueError("TabularModule takes its sizes from a TabularDataModule; pass one as datamodule=")
            self.sizes = datamodule.sizes
        self.build(self.sizes)

    def build(self, sizes: dict[str, Any]) -> None:
        """Make the network for a table of these sizes: `numbers`, `code_sizes`, and what `head_of` reads."""
        self.sizes = sizes
        hparams = self.hparams
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(hparams["seed"])
            self.network = TabularNetwork(
                sizes["numbers"],
                list(sizes["code_sizes"]),
                head_of(sizes).outputs,
                members=hparams["members"],
                embedding=hparams["embedding"],
                rank=hparams["rank"],
                hidden=hparams["hidden"],
                dropout=hparams["dropout"],
            )
        self.averaged = copy.deepcopy(self.network).requires_grad_(False).eval()

    @property
    def head(self) -> Head:
        """What the outputs are."""
        assert self.sizes is not None
        return head_of(self.sizes)

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """Outputs [N, C] of the averaged weights, the mean over members; numbers [N, D], codes [N, S]."""
        return self.member_outputs(numbers, codes).mean(dim=0)

    def member_outputs(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """Outputs [M, N, C] of the averaged weights."""
        if self.averaged is None:
            raise ValueError("this module has no network yet; fit it, or load it from a checkpoint")
        out: Tensor = self.averaged(numbers.unsqueeze(0), codes.unsqueeze(0).expand(self.hparams["members"], -1, -1))
        return out

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout by epoch and rank, so that a resumed training repeats the unbroken one."""
        # At the first batch: the data loader draws from the same generator before or after the epoch's start.
        if batch_idx > 0:
            return
        torch.manual_seed((self.hparams["seed"] * 100_003 + self.current_epoch) * 1_009 + self.global_rank)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Sum over members of the mean loss, so that no member's gradient depends on another."""
        assert self.network is not None
        numbers, codes, label = batch
        losses = self.head.losses(self.network(numbers, codes), label).mean(1)
        self.log("train_loss", losses.mean(), on_step=False, on_epoch=True, prog_bar=True, batch_size=label.shape[1])
        return losses.sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss of the averaged members."""
        numbers, codes, label = batch
        loss = self.head.losses(self(numbers[0], codes[0]).unsqueeze(0), label)
        self.log("validation_loss", loss.mean(), prog_bar=True, batch_size=label.shape[1], sync_dist=True)

    test_step = validation_step

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Probabilities [N, classes], or outputs [N, C] of a number."""
        numbers, codes, _ = batch
        out: Tensor = self(numbers[0], codes[0])
        return probabilities(out) if self.sizes is not None and self.sizes["classes"] else out

    def on_train_epoch_end(self) -> None:
        """The average takes the epoch's last step in before anyone looks at it."""
        self._average()

    def on_before_zero_grad(self, optimizer: torch.optim.Optimizer) -> None:
        """Each optimiser step is averaged before the next gradients."""
        self._average()

    def _average(self) -> None:
        """Move the average after each optimiser step."""
        if self.global_step == self._steps_averaged:
            return
        self._steps_averaged = self.global_step
        assert self.network is not None
        assert self.averaged is not None
        move_average(self.averaged, self.network, self.hparams["average"], self.global_step)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip each member's gradient to norm 1 (or the Trainer's value), as if it trained alone."""
        limit = 1.0 if gradient_clip_val is None else float(gradient_clip_val)
        assert self.network is not None
        grads = [p.grad for p in self.network.parameters() if p.grad is not None]
        norm_M = torch.stack([g.flatten(1).pow(2).sum(1) for g in grads]).sum(0).sqrt()
        scale_M = (limit / norm_M.clamp_min(1e-12)).clamp(max=1.0)
        for g in grads:
            g.mul_(scale_M.view(-1, *[1] * (g.dim() - 1)))

    def configure_optimizers(self) -> Any:
        """AdamW; cosine to 0 over all steps."""
        assert self.network is not None
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.hparams["learning_rate"], weight_decay=self.hparams["weight_decay"]
        )
        total = max(1, int(self.trainer.estimated_stepping_batches))
        cosine = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(step, total) / total))
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the sizes, from which the network is built again."""
        checkpoint["sizes"] = self.sizes

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build the network before its weights are loaded."""
        if self.network is None:
            self.build(checkpoint["sizes"])
        self._steps_averaged = int(checkpoint["global_step"])


def probabilities(logits_NC: Tensor) -> Tensor:
    """Class probabilities [N, classes] of logits; one logit is that of class 1."""
    if logits_NC.shape[-1] == 1:
        p = torch.sigmoid(logits_NC)
        return torch.cat([1 - p, p], dim=-1)
    return torch.softmax(logits_NC, dim=-1)
