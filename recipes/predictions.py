"""What a model answered on the rows that measure it, kept beside the figures, to be compared with another model's."""

# N rows, C classes

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ludocast.models.number_loss import SQUARED, NumberLoss

PREDICTIONS_FILE = "predictions.parquet"
USERS_FILE = "users.parquet"
_KEY = b"ludocast"
_LABEL, _PREDICTED, _PROBABILITY = "label_", "predicted_", "probability_"


@dataclass(frozen=True)
class Predictions:
    """Answers on rows whose label is known.

    Attributes:
        data_sha256: Of the table.
        rows: Numbers of the rows, from 1, int64 [N]: in the table, or where it is a folder that training read in
            pieces, among the test rows; of snapshots of sequences hashes of player and time.
        label: Class index, int64 [N].
        predicted: Class index that was answered, int64 [N].
        probabilities: float32 [N, C].
        classes: Names, C.
        positive: The class whose probability is wanted; None with more than two.
    """

    data_sha256: str
    rows: np.ndarray
    label: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]
    positive: str | None

    def write(self, folder: Path) -> None:
        """Write as `PREDICTIONS_FILE` of a folder."""
        names = pa.array(self.classes, pa.string())
        columns = {
            "row": pa.array(self.rows, pa.int64()),
            "label": pa.DictionaryArray.from_arrays(pa.array(self.label, pa.int32()), names),
            "predicted": pa.DictionaryArray.from_arrays(pa.array(self.predicted, pa.int32()), names),
            **{
                f"{_PROBABILITY}{name}": pa.array(self.probabilities[:, k], pa.float32())
                for k, name in enumerate(self.classes)
            },
        }
        about = {"data_sha256": self.data_sha256, "classes": self.classes, "positive": self.positive}
        table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(about, ensure_ascii=False).encode()})
        pq.write_table(table, folder / PREDICTIONS_FILE, compression="zstd")


@dataclass(frozen=True)
class NumberPredictions:
    """Predicted numbers of rows whose label is known.

    Attributes:
        data_sha256: Of the table.
        rows: Numbers of the rows in it, from 1, int64 [N].
        label: True, float64 [N].
        value: Predicted, float64 [N].
        bounds: Lower and upper, float64 [N, 2].
        coverage: Share of true values that is to lie within them.
        loss: By which they were predicted; the squared one where that is not known.
    """

    data_sha256: str
    rows: np.ndarray
    label: np.ndarray
    value: np.ndarray
    bounds: np.ndarray
    coverage: float
    loss: NumberLoss = SQUARED

    def write(self, folder: Path) -> None:
        """Write as `PREDICTIONS_FILE` of a folder."""
        columns = {
            "row": pa.array(self.rows, pa.int64()),
            "label": pa.array(self.label, pa.float64()),
            "predicted": pa.array(self.value, pa.float64()),
            "lower": pa.array(self.bounds[:, 0], pa.float64()),
            "upper": pa.array(self.bounds[:, 1], pa.float64()),
        }
        about = {"data_sha256": self.data_sha256, "coverage": self.coverage, "loss": asdict(self.loss)}
        table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(about).encode()})
        pq.write_table(table, folder / PREDICTIONS_FILE, compression="zstd")


@dataclass(frozen=True)
class LabelPredictions:
    """Answers of a model of several labels on rows whose labels are known.

    Attributes:
        data_sha256: Of the table.
        rows: Numbers of the rows in it, from 1, int64 [N].
        label: 0 or 1, int64 [N, L].
        predicted: Which labels were answered, bool [N, L].
        probabilities: float32 [N, L].
        labels: Names, L.
    """

    data_sha256: str
    rows: np.ndarray
    label: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray
    labels: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Write as `PREDICTIONS_FILE` of a folder."""
        columns = {"row": pa.array(self.rows, pa.int64())}
        for k, name in enumerate(self.labels):
            columns[f"{_LABEL}{name}"] = pa.array(self.label[:, k] == 1)
            columns[f"{_PREDICTED}{name}"] = pa.array(self.predicted[:, k])
            columns[f"{_PROBABILITY}{name}"] = pa.array(self.probabilities[:, k], pa.float32())
        about = {"data_sha256": self.data_sha256, "labels": self.labels}
        table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(about, ensure_ascii=False).encode()})
        pq.write_table(table, folder / PREDICTIONS_FILE, compression="zstd")


AnyPredictions = Predictions | NumberPredictions | LabelPredictions


def read_predictions(folder: Path) -> AnyPredictions:
    """Read what a `write` above wrote.

    Raises:
        ValueError: If the folder has none, or they are damaged.
    """
    path = folder / PREDICTIONS_FILE
    if not path.is_file():
        raise ValueError(f"{folder} has no {PREDICTIONS_FILE}; train or evaluate again with this ludocast")
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[_KEY])
        if "coverage" in about:
            return _numbers(table, about)
        if "labels" in about:
            return _labels(table, about)
        classes, positive = tuple(map(str, about["classes"])), about["positive"]
        names = pa.array(classes, pa.string())
        label, predicted = (
            pa.compute.index_in(table[which].cast(pa.string()), names).to_numpy().astype(np.int64)
            for which in ("label", "predicted")
        )
        probabilities = np.stack([table[f"{_PROBABILITY}{name}"].to_numpy() for name in classes], axis=1)
        rows = table["row"].to_numpy()
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__} {error}); train or evaluate again") from error
    return Predictions(str(about["data_sha256"]), rows, label, predicted, probabilities, classes, positive)


def _numbers(table: pa.Table, about: Mapping[str, Any]) -> NumberPredictions:
    each = {name: table[name].to_numpy() for name in ("row", "label", "predicted", "lower", "upper")}
    bounds = np.stack([each["lower"], each["upper"]], axis=1)
    sha256, coverage = str(about["data_sha256"]), float(about["coverage"])
    loss = NumberLoss(**about["loss"])
    return NumberPredictions(sha256, each["row"], each["label"], each["predicted"], bounds, coverage, loss)


def _labels(table: pa.Table, about: Mapping[str, Any]) -> LabelPredictions:
    names = tuple(map(str, about["labels"]))
    label, predicted, probabilities = (
        np.stack([table[f"{begin}{name}"].to_numpy() for name in names], axis=1)
        for begin in (_LABEL, _PREDICTED, _PROBABILITY)
    )
    return LabelPredictions(
        str(about["data_sha256"]), table["row"].to_numpy(), label.astype(np.int64), predicted, probabilities, names
    )


@dataclass(frozen=True)
class UserScores:
    """How well a recommender found what was hidden from it, by user.

    Attributes:
        data_sha256: Of the table of pairs.
        hidden: Rule by which pairs were hidden, and what tells the hidden pairs from others.
        users: Positions of the users asked, ascending, int64 [U].
        measures: Such as "ndcg@10", float64 [U] each.
    """

    data_sha256: str
    hidden: str
    users: np.ndarray
    measures: Mapping[str, np.ndarray]

    def write(self, folder: Path) -> None:
        """Write as `USERS_FILE` of a folder."""
        about = {"data_sha256": self.data_sha256, "hidden": self.hidden}
        table = pa.table({"user": pa.array(self.users, pa.int64()), **self.measures})
        table = table.replace_schema_metadata({_KEY: json.dumps(about, ensure_ascii=False).encode()})
        pq.write_table(table, folder / USERS_FILE, compression="zstd")


def read_user_scores(folder: Path) -> UserScores:
    """Read what `UserScores.write` wrote.

    Raises:
        ValueError: If the folder has none, or they are damaged.
    """
    path = folder / USERS_FILE
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[_KEY])
        each = {name: table[name].to_numpy() for name in table.column_names}
        return UserScores(str(about["data_sha256"]), str(about["hidden"]), each.pop("user"), each)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__} {error}); train again") from error
