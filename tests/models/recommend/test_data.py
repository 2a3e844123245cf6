"""The re-ranker's lists as a Lightning data module."""

from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from ludocast.datamodules.user_item_splits import split_by_share
from ludocast.datamodules.user_items import read_user_items
from ludocast.models.recommend.data import RecommendDataModule
from ludocast.models.recommend.module import RecommenderModule, listwise_loss
from ludocast.models.recommend.signals import Signals
from torch.utils.data import TensorDataset

from tests.models.recommend.made import random_history, write_pairs


def test_lists_of_training_know_nothing_of_the_pairs_of_validation(tmp_path: Path) -> None:
    write_pairs(random_history(), tmp_path / "pairs.csv")
    data = RecommendDataModule(tmp_path / "pairs.csv", "user_id", "item_id", draws=2)
    data.setup("fit")
    hidden = split_by_share(read_user_items(tmp_path / "pairs.csv", "user_id", "item_id"), 0.2, 0).hidden
    assert data.validation is not None
    # A user without a hidden item among the candidates has no list; here all items are candidates of everybody.
    assert data.validation.is_hidden.sum() == hidden.nnz
    less = read_user_items(tmp_path / "pairs.csv", "user_id", "item_id").history - hidden
    rows = [f"u{user:03d},i{item:03d}" for user, item in zip(*less.nonzero(), strict=True)]
    (tmp_path / "less.csv").write_text("\n".join(["user_id,item_id", *rows]) + "\n")
    known = split_by_share(read_user_items(tmp_path / "pairs.csv", "user_id", "item_id"), 0.2, 0).known.history
    np.testing.assert_array_equal(less.toarray(), known.toarray())


def test_a_plain_trainer_learns_from_it(tmp_path: Path) -> None:
    write_pairs(random_history(120), tmp_path / "pairs.csv")
    data = RecommendDataModule(tmp_path / "pairs.csv", "user_id", "item_id", draws=3)
    module = RecommenderModule()
    trainer = pl.Trainer(
        max_epochs=8, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, data)
    after = trainer.callback_metrics["validation_loss"].item()
    uniform = np.mean([np.log(is_real.sum()) for is_real in data.validation.is_real])  # type: ignore[union-attr]
    assert after < uniform - 0.05
    inputs, is_hidden, is_real = next(iter(data.val_dataloader()))  # type: ignore[misc]
    assert listwise_loss(module(inputs, is_real), is_hidden, is_real).item() < uniform
    assert len(Signals().names) == inputs.shape[2]


def test_without_lists_the_module_says_what_it_needs() -> None:
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(ValueError, match="RecommenderModule learns from a ListsDataModule"):
        trainer.fit(RecommenderModule(), pl.LightningDataModule.from_datasets(TensorDataset(torch.zeros(1))))
