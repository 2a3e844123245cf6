"""A player table as a Lightning data module, for LightningCLI and a plain Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from ludocast.datamodules.batches import Batch, TableTensors, evaluation_loader, train_loader
from ludocast.datamodules.fit_preprocessing import fit_preprocessing
from ludocast.datamodules.infer import describe, infer_schema, label_index, label_values, raw_columns
from ludocast.datamodules.preprocess import Encoded, Preprocessing
from ludocast.datamodules.read import read_table
from ludocast.datamodules.schema import Schema
from ludocast.datamodules.split import stratified_split
from torch.utils.data import DataLoader


class TabularDataModule(pl.LightningDataModule):
    """Reads, splits and encodes a table; everything fitted is fitted on the training part alone.

    Args:
        data: CSV or Parquet file, one row a player.
        label: Column with the outcome.
        positive: Value of the label whose probability is wanted.
        exclude: Columns to leave out.
        batch: Rows of a member in a batch.
        members: Networks that draw batches of their own; that of the module.
        test: Share of the test rows.
        validation: Share of the rest.
        seed: Of split and shuffles.
    """

    def __init__(
        self,
        data: Path,
        label: str,
        positive: str | None = None,
        exclude: list[str] | None = None,
        batch: int = 256,
        members: int = 5,
        test: float = 0.2,
        validation: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.data, self.label, self.positive = Path(data), label, positive
        self.exclude = exclude if exclude is not None else []
        self.batch, self.members, self.seed = batch, members, seed
        self.test, self.validation = test, validation
        self.schema: Schema | None = None
        self.preprocessing: Preprocessing | None = None
        self._parts: dict[str, TableTensors] = {}

    @property
    def sizes(self) -> dict[str, Any]:
        """What the network has to know of the table."""
        if self.schema is None or self.preprocessing is None:
            self.setup("fit")
        assert self.schema is not None
        assert self.preprocessing is not None
        return {**self.preprocessing.sizes, "classes": len(self.schema.classes)}

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 - all parts come from one reading
        """Read the table once."""
        if self._parts:
            return
        table = read_table(self.data)
        schema = infer_schema(table, self.label, self.positive, self.exclude)
        columns, _ = raw_columns(table, schema)
        label = label_index(label_values(table, self.label, frozenset(schema.missing_tokens)), schema)
        split = stratified_split(label, self.test, self.validation, self.seed, cross_rows=0)
        assert split.validation is not None
        train = {name: values[split.train] for name, values in columns.items()}
        self.schema = describe(schema, columns, split.train)
        self.preprocessing, encoded = fit_preprocessing(self.schema, train, label[split.train], self.seed)
        self._parts["train"] = table_tensors(encoded, label[split.train])
        for name, rows in (("validation", split.validation), ("test", split.test)):
            part = self.preprocessing.encode({column: values[rows] for column, values in columns.items()})
            self._parts[name] = table_tensors(part, label[rows])

    def train_dataloader(self) -> DataLoader[Batch]:
        """Each member's own shuffles."""
        rows = torch.arange(len(self._parts["train"]))
        return train_loader(self._parts["train"], [rows] * self.members, self.batch, self.seed)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation rows in order."""
        return evaluation_loader(self._parts["validation"])

    def test_dataloader(self) -> DataLoader[Batch]:
        """The test rows in order."""
        return evaluation_loader(self._parts["test"])

    def predict_dataloader(self) -> DataLoader[Batch]:
        """The test rows in order."""
        return evaluation_loader(self._parts["test"])


def table_tensors(encoded: Encoded, label: np.ndarray) -> TableTensors:
    """The network's inputs as tensors; the label a class index, or a float32 number."""
    kind = torch.float32 if label.dtype.kind == "f" else torch.int64
    return TableTensors(
        torch.from_numpy(encoded.numbers), torch.from_numpy(encoded.codes), torch.from_numpy(label).to(kind)
    )
