"""Trains a small model on two CPU processes, each way of `ddp_strategy` in turn; run by test_ddp_strategy.py."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from ludocast.compression.strategy import Compression, OneBitDDPStrategy, TorchHookDDPStrategy, ddp_strategy
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

WARMUP = 3


class Wide(pl.LightningModule):
    """1.5 MB of parameters, which DDP would divide into two buckets; remembers the gradient of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(60, 300), nn.Tanh(), nn.Linear(300, 1200), nn.Tanh(), nn.Linear(1200, 1))
        self.buckets = 0
        self.first_gradient: Tensor | None = None
        self.last_gradient: Tensor | None = None

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002 - Lightning's
        x, y = batch
        return nn.functional.mse_loss(self.network(x), y)

    def on_after_backward(self) -> None:
        gradient = cast(nn.Linear, self.network[2]).weight.grad
        assert gradient is not None
        gradient = gradient.clone()
        self.last_gradient = gradient
        self.first_gradient = gradient if self.first_gradient is None else self.first_gradient

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-2)


def _logged(model: Any) -> dict[str, str]:
    found: dict[str, str] = model._get_ddp_logging_data()
    return found


class Look(pl.Callback):
    """Counts DDP's buckets while the model is wrapped."""

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        model = cast(DistributedDataParallel, trainer.strategy.model)
        cast(Wide, pl_module).buckets = len(_logged(model)["rebuilt_bucket_sizes"].split(","))


def train(compression: Compression, steps: int) -> dict[str, Any]:
    pl.seed_everything(0, verbose=False)
    x = torch.randn(64 * steps, 60)
    data = DataLoader(TensorDataset(x, x[:, :1] * x[:, 1:2]), batch_size=32)
    strategy = ddp_strategy(compression, warmup_steps=WARMUP)
    trainer = pl.Trainer(
        accelerator="cpu", devices=2, strategy=strategy, max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[Look()],
    )  # fmt: skip
    module = Wide()
    trainer.fit(module, data)
    assert module.first_gradient is not None
    assert module.last_gradient is not None
    singular = torch.linalg.svdvals(module.last_gradient)
    onebit = strategy.onebit if isinstance(strategy, OneBitDDPStrategy) else None
    powersgd = strategy.powersgd if isinstance(strategy, TorchHookDDPStrategy) else None
    return {
        "steps": trainer.global_step,
        "buckets": module.buckets,
        "hook steps": powersgd.iter if powersgd is not None else onebit.step if onebit is not None else None,
        "sent bytes": onebit.sent_bytes if onebit is not None else None,
        "halves": bool(torch.equal(module.first_gradient, module.first_gradient.half().float())),
        "second singular value": float(singular[1] / singular[0]),
    }


def main(out: str, steps: int, *compressions: str) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found = {name: train(cast(Compression, name), steps) for name in compressions}
    if dist.get_rank() == 0:
        Path(out).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
