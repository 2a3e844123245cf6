"""What a table says of players, a row each, as numbers beside their sequences."""

# P players of the table, N sequences, D numbers

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa
from ludocast.datamodules.cells import CellError, column_values
from ludocast.datamodules.fit_preprocessing import fit_preprocessing
from ludocast.datamodules.infer import check_column, infer_columns, raw_columns
from ludocast.datamodules.preprocess import Encoded, Preprocessing
from ludocast.datamodules.read import read_table
from ludocast.datamodules.schema import MISSING_TOKENS, Schema

CLASSES = ("stays", "leaves")


@dataclass(frozen=True)
class PlayerTable:
    """A table with one row a player.

    Attributes:
        path: CSV or Parquet file.
        player: Its column of the player's name, as the log writes it.
        exclude: Columns to leave out: whatever is not known yet when a player is asked about.
        encoding: Of a CSV file.
    """

    path: Path
    player: str
    exclude: tuple[str, ...] = ()
    encoding: str = "utf-8"

    def fit(self, train: np.ndarray, label: np.ndarray, seed: int) -> tuple[PlayerColumns, np.ndarray]:
        """Read the table, and fit its preprocessing on the training players alone.

        A player counts as one who leaves if one of their training snapshots says so. The columns themselves are told
        apart by all rows, as a table's are.

        Args:
            train: Player's name of each training snapshot, objects [N].
            label: Whether they left, int64 [N].
            seed: Of the folds of mean labels.

        Returns:
            The columns, and those of the training snapshots, float32 [N, D], with mean labels of other players alone.

        Raises:
            ValueError: If the table cannot be used, or lacks a training player.
        """
        table = read_table(self.path, self.encoding)
        names = self._names(table)
        found, told = infer_columns(table.drop_columns([self.player]), self.exclude, frozenset(MISSING_TOKENS))
        schema = Schema(tuple(found), "", CLASSES, CLASSES[1])
        if not schema.inputs:
            raise ValueError(f'{self.path} has no column beside "{self.player}" to learn from; leave it out')
        columns, overflowed = raw_columns(table, schema)
        for warning in (*told, *overflowed):
            warnings.warn(f"{self.path}: {warning}", stacklevel=2)
        left = pd.Series(label).groupby(train, sort=False).max()
        rows = self._rows(names, left.index.to_numpy())
        known = {name: values[rows] for name, values in columns.items()}
        preprocessing, held_out = fit_preprocessing(schema, known, left.to_numpy(), seed)
        texts = frozenset(name for name, values in columns.items() if values.dtype == object)
        numbers = _numbers(preprocessing, preprocessing.encode(columns), texts)
        fitted = PlayerColumns(self, names, numbers, schema, preprocessing, texts)
        return fitted, _numbers(preprocessing, held_out, texts)[left.index.get_indexer(pd.Index(train))]

    def _names(self, table: pa.Table) -> pd.Index:
        try:
            check_column(table, self.player)
            names = pd.Index(column_values(table[self.player], "category", frozenset(MISSING_TOKENS)).values)
        except (CellError, ValueError) as error:
            raise ValueError(f"{self.path}: {error}; its players are found by the log's column of players") from error
        doubled = names[names.duplicated() & (names != "")]
        if len(doubled):
            raise ValueError(f'{self.path} has the player "{doubled[0]}" twice; give one row a player')
        return cast(pd.Index, names)

    def _rows(self, names: pd.Index, players: np.ndarray) -> np.ndarray:
        rows = names.get_indexer(pd.Index(players))
        absent = np.unique(players[rows < 0].astype(str))
        if len(absent):
            others = f" and {len(absent) - 1:,} others of the log" if len(absent) > 1 else ""
            raise ValueError(
                f'{self.path} has no row with "{self.player}" = "{absent[0]}"{others}; add a row for each, with empty '
                "cells where nothing is known"
            )
        return np.asarray(rows)


@dataclass(frozen=True)
class PlayerColumns:
    """The table's columns as numbers: what `Preprocessing` makes of numbers, then texts one-hot.

    Attributes:
        table: Where they are from.
        names: Players [P].
        numbers: float32 [P, D].
        schema: What the columns are.
        preprocessing: Fitted on training players.
        texts: Names of the columns that are one-hot.
    """

    table: PlayerTable
    names: pd.Index
    numbers: np.ndarray
    schema: Schema
    preprocessing: Preprocessing
    texts: frozenset[str]

    def of(self, players: np.ndarray) -> np.ndarray:
        """Of some players by name, float32 [N, D].

        Raises:
            ValueError: If the table lacks one.
        """
        return np.asarray(self.numbers[self.table._rows(self.names, players)])


def _numbers(preprocessing: Preprocessing, encoded: Encoded, texts: frozenset[str]) -> np.ndarray:
    """Codes of numbers and of crosses are left out: the head that reads them is linear, and they are many."""
    parts = [encoded.numbers]
    for k, entry in enumerate(preprocessing.codes):
        if entry.column in texts:
            parts.append(encoded.codes[:, k, None] == np.arange(entry.size))
    return np.concatenate(parts, 1, dtype=np.float32)
