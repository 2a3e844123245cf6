"""The curve of a training: means by hand, stretches that double, a resumed training's curve."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ludocast.models.history import POINTS, History
from pytorch_lightning.callbacks import ModelCheckpoint

from tests.models.sequence.made import data, language, trainer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def fed(losses: list[float], shares: list[float]) -> History:
    history = History()
    for loss, share in zip(losses, shares, strict=True):
        module = SimpleNamespace(batch_share=torch.tensor(share))
        batch: Any = (None, module, {"loss": torch.tensor(loss)}, None, 0)
        history.on_train_batch_end(*batch)
    return history


def test_a_loss_counts_by_its_share_and_stretches_double() -> None:
    steps, means = fed([1.0, 0.5], [1.0, 0.25]).curve()
    assert steps.tolist() == [0.5, 1.5]
    assert means.tolist() == [1.0, 2.0]
    assert fed([1.0, 0.0, 3.0], [1.0, 0.0, 1.0]).curve()[0].tolist() == [0.5, 2.5]  # a batch without a real step
    count = 5 * POINTS + 3
    steps, means = fed([float(k) for k in range(count)], [1.0] * count).curve()
    assert POINTS <= len(means) <= 2 * POINTS
    width = 4  # 2 · 100 stretches became 100 twice
    np.testing.assert_allclose(steps, (np.arange(len(means)) + 0.5) * width)
    np.testing.assert_allclose(means, np.arange(len(means)) * width + (width - 1) / 2)


def test_a_resumed_training_has_the_curve_of_the_unbroken_one(tmp_path: Path) -> None:
    def fit(resume: str | None = None) -> History:
        history = History()
        every = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=1)
        runner = trainer(3, history, every)
        runner.fit(language(), datamodule=data(4), ckpt_path=resume, weights_only=False)
        return history

    whole = fit()
    assert [epoch["epoch"] for epoch in whole.epochs] == [1, 2, 3]
    assert {"train_loss", "validation_loss", "validation_perplexity", "step"} <= set(whole.epochs[0])
    steps, losses = whole.curve()
    assert len(losses) == whole.epochs[-1]["step"] == steps[-1] + 0.5
    resumed = fit(str(tmp_path / f"step={len(losses) // 2}.ckpt"))
    assert resumed.epochs == whole.epochs
    assert resumed.curve()[1].tolist() == losses.tolist()
