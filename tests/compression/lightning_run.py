"""Trains a small model on two CPU processes with the 1-bit strategy; run by test_strategy.py as a program."""

from __future__ import annotations

import sys
import warnings

import pytorch_lightning as pl
import torch
from ludocast.compression.strategy import OneBitDDPStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Small(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(40, 64), nn.Tanh(), nn.Linear(64, 1))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002 - Lightning's
        x, y = batch
        return nn.functional.mse_loss(self.network(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def main(folder: str, epochs: int, devices: int, resume: str) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    pl.seed_everything(0, verbose=False)
    x = torch.randn(256, 40)
    data = DataLoader(TensorDataset(x, x[:, :1] * x[:, 1:2]), batch_size=32)
    strategy = OneBitDDPStrategy(warmup_steps=1, smallest=1_000, record=f"{folder}/compression.json")
    trainer = pl.Trainer(
        accelerator="cpu", devices=devices, strategy=strategy, max_epochs=epochs, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    module = Small()
    trainer.fit(module, data, ckpt_path=None if resume == "none" else resume, weights_only=True)
    trainer.save_checkpoint(f"{folder}/epoch{epochs}.ckpt")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
