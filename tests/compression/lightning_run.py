"""Trains a small model on CPU processes with the 1-bit strategy; run by test_strategy.py as a program."""

from __future__ import annotations

import atexit
import os
import sys
import time
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
from ludocast.compression.strategy import OneBitDDPStrategy
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Small(pl.LightningModule):
    def __init__(self, halt: Path | None) -> None:
        super().__init__()
        self.halt = halt
        self.network = nn.Sequential(nn.Linear(40, 64), nn.Tanh(), nn.Linear(64, 1))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002 - Lightning's
        x, y = batch
        if self.halt is not None and (self.global_rank, self.global_step) == (1, 10):  # in the third epoch
            self.halt.write_text("here")
            time.sleep(60)  # it is killed now
        return nn.functional.mse_loss(self.network(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def count_gloo_threads() -> None:
    tasks = Path("/proc/self/task")
    names = [(tasks / task / "comm").read_text().strip() for task in os.listdir(tasks)]
    line = f"gloo threads at exit: {names.count('pt_gloo_runloop')}\n"
    os.write(sys.stdout.fileno(), line.encode())  # at once: another rank may write here too


def main(folder: str, epochs: int, devices: int, resume: str, halt: bool) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    pl.seed_everything(0, verbose=False)
    x = torch.randn(256, 40)
    data = DataLoader(TensorDataset(x, x[:, :1] * x[:, 1:2]), batch_size=32)
    record = f"{folder}/compression.json"
    strategy = OneBitDDPStrategy(warmup_steps=1, smallest=1_000, timeout_seconds=40, record=record)
    trainer = pl.Trainer(
        accelerator="cpu", devices=devices, strategy=strategy, max_epochs=epochs, logger=False,
        callbacks=[ModelCheckpoint(folder, save_last=True)], enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    module = Small(Path(folder) / "halt" if halt else None)
    trainer.fit(module, data, ckpt_path=None if resume == "none" else resume, weights_only=True)
    trainer.save_checkpoint(f"{folder}/epoch{epochs}.ckpt")


if __name__ == "__main__":
    if sys.platform == "linux":
        atexit.register(count_gloo_threads)  # before any other, so that it comes last
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:] == ["halt"])
