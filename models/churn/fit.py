"""A churn model from training rows: candidates, their blend, its calibration; `fit_churn` takes a pandas frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from ludocast.datamodules.fit_preprocessing import fit_preprocessing
from ludocast.datamodules.infer import RawColumns, describe, infer_schema, label_index, label_values, raw_columns
from ludocast.datamodules.preprocess import Encoded, Preprocessing
from ludocast.datamodules.read import from_frame
from ludocast.datamodules.row_group_loader import TrainingStream
from ludocast.datamodules.row_groups import StreamedTable
from ludocast.datamodules.schema import Schema
from ludocast.datamodules.split import folds, inner_split
from ludocast.models.blend import blend_weights
from ludocast.models.calibration import fit_temperature
from ludocast.models.churn.learners import LINEAR, learners
from ludocast.models.fitted import FittedClasses
from ludocast.models.learner import HeldOut, Learner, blended, choose, try_in_turn
from ludocast.models.table.boosting import SHAPES, Boosting
from ludocast.models.table.linear import Linear
from ludocast.models.table.module import TabularModule
from ludocast.models.table.train import network_outputs, train_network
from ludocast.models.trainer import TrainerSettings

if TYPE_CHECKING:
    import pandas as pd

Choice = Literal["auto", "network", "boosting"]
NETWORK = "network"
CANDIDATES: dict[Choice, tuple[str, ...]] = {
    "auto": (NETWORK, *SHAPES, LINEAR),
    "network": (NETWORK,),
    "boosting": tuple(SHAPES),
}
FOLDS = 5
DEFAULT_SETTINGS = TrainerSettings()


@dataclass(frozen=True)
class Candidates:
    """Fitted candidates; None, or no entry of that name, where one was not asked for."""

    network: TabularModule | None = None
    boostings: Mapping[str, Boosting] = field(default_factory=dict)
    linear: Linear | None = None

    def logits(self, encoded: Encoded) -> dict[str, np.ndarray]:
        """float64 [N, C] of each candidate."""
        found = {}
        if self.network is not None:
            found[NETWORK] = network_outputs(self.network, encoded).astype(np.float64).mean(axis=0)
        for name, boosting in self.boostings.items():
            found[name] = boosting.logits(encoded.trees)
        if self.linear is not None:
            found[LINEAR] = self.linear.logits(encoded)
        return found


@dataclass(frozen=True)
class FittedChurn(FittedClasses):
    """A churn model."""

    candidates: Candidates

    def predict_frame(self, frame: pd.DataFrame) -> np.ndarray:
        """Probabilities float64 [N, classes] of a pandas frame."""
        return self.predict(raw_columns(from_frame(frame), self.schema)[0])


def fit_rows(
    schema: Schema,
    columns: RawColumns,
    label: np.ndarray,
    validation: tuple[RawColumns, np.ndarray] | None,
    *,
    model: Choice = "auto",
    members: int = 5,
    seed: int = 0,
    settings: TrainerSettings = DEFAULT_SETTINGS,
    rare: int = 0,
    stream: StreamedTable | None = None,
) -> tuple[FittedChurn, HeldOut] | None:
    """Fit the candidates on training rows, blend and calibrate them on held-out ones.

    Of several processes all train the networks together; the first does the rest, and the others get None.

    Args:
        schema: The table's schema.
        columns: Raw columns of the training rows.
        label: Class index of the training rows, int64 [N].
        validation: Raw columns and labels of rows held out from fitting; None: each training row is held out once.
        model: Which candidates there are.
        members: Networks trained side by side.
        seed: Of everything random.
        settings: Of the Trainer.
        rare: Values of fewer training rows are not kept.
        stream: More training rows, of which those above are a sample: the network learns from all of them, everything
            else from the sample. It needs `validation`.

    Raises:
        ValueError: If a text column has too many values for `stream`.
    """
    names = CANDIDATES[model]
    preprocessing, encoded = fit_preprocessing(schema, columns, label, seed, rare)
    more = None if stream is None else _training_stream(stream, preprocessing)
    job = _Job(names, preprocessing, encoded, label, seed, settings, more)
    known = None if validation is None else (preprocessing.encode(validation[0]), validation[1])
    networks = job.train_networks(members, known)
    if not settings.ranks.is_first:
        return None
    held_out, chosen = job.hold_out_in_turn(networks) if known is None else job.try_out(networks, *known)
    candidates = job.fit(networks, chosen)
    weights = blend_weights(held_out.logits, held_out.label) if len(names) > 1 else dict.fromkeys(names, 1.0)
    temperature = fit_temperature(blended(held_out.logits, weights), held_out.label)
    return FittedChurn(schema, preprocessing, _used(candidates, weights), weights, temperature), held_out


def _training_stream(stream: StreamedTable, preprocessing: Preprocessing) -> TrainingStream:
    if preprocessing.network_means:
        raise ValueError(
            f'column "{preprocessing.network_means[0]}" is text with so many values that the network reads their mean '
            "labels, which hold a row's own label where it is one of the sample; leave it out with --exclude, or have "
            "all training rows in memory by a higher --most-rows"
        )
    return TrainingStream(stream, preprocessing)


def _say(settings: TrainerSettings, sentence: str) -> None:
    if settings.progress:
        print(sentence, flush=True)


def _used(candidates: Candidates, weights: Mapping[str, float]) -> Candidates:
    return Candidates(
        candidates.network if weights.get(NETWORK, 0) > 0 else None,
        {name: boosting for name, boosting in candidates.boostings.items() if weights[name] > 0},
        candidates.linear if weights.get(LINEAR, 0) > 0 else None,
    )


@dataclass(frozen=True)
class _Networks:
    """The network of all training rows; and one of a member a fold, fitted without its rows."""

    whole: TabularModule | None = None
    by_fold: TabularModule | None = None


@dataclass(frozen=True)
class _Job:
    """The candidates of one table: first tried on held-out rows, then fitted on all training rows."""

    names: Sequence[str]
    preprocessing: Preprocessing
    encoded: Encoded
    label: np.ndarray
    seed: int
    settings: TrainerSettings
    stream: TrainingStream | None = None

    @cached_property
    def fold(self) -> np.ndarray:
        """The fold that holds each training row out, int64 [N]."""
        return folds(self.label, self.seed, int(min(FOLDS, np.bincount(self.label).min())))

    @cached_property
    def inside(self) -> list[np.ndarray]:
        """Row numbers of what each fold does not hold out."""
        return [np.flatnonzero(self.fold != k) for k in range(int(self.fold.max()) + 1)]

    def train_networks(self, members: int, known: tuple[Encoded, np.ndarray] | None) -> _Networks:
        """The networks, with all processes: first those of the folds, unless rows are held out for good."""
        if NETWORK not in self.names:
            return _Networks()
        by_fold = None
        if known is None:
            _say(self.settings, "training a network without each part of the rows in turn, to weigh the candidates")
            by_fold = self._network(self.inside, "folds")
        _say(self.settings, "training the network on all training rows")
        everyone = [np.arange(len(self.label))] * members
        return _Networks(self._network(everyone, "network", known), by_fold)

    def try_out(self, networks: _Networks, held: Encoded, held_label: np.ndarray) -> tuple[HeldOut, dict[str, float]]:
        """Choose each candidate's setting (but the network, which has none) on rows held out for good."""
        tried = {
            name: one.try_out(self.encoded, self.label, held, held_label) for name, one in self._learners().items()
        }
        if networks.whole is not None:
            tried[NETWORK] = {0.0: network_outputs(networks.whole, held).astype(np.float64).mean(axis=0)}
        return choose({name: tried[name] for name in self.names}, held_label, "validation rows")

    def hold_out_in_turn(self, networks: _Networks) -> tuple[HeldOut, dict[str, float]]:
        """Each training row predicted by candidates fitted without it."""
        label, fold = self.label, self.fold
        joined = {name: try_in_turn(one, self.encoded, label, fold) for name, one in self._learners().items()}
        if networks.by_fold is not None:
            by_member = network_outputs(networks.by_fold, self.encoded)
            joined[NETWORK] = {0.0: by_member[fold, np.arange(len(label))].astype(np.float64)}
        what = f"training rows, held out in {len(self.inside)} folds"
        return choose({name: joined[name] for name in self.names}, label, what)

    def fit(self, networks: _Networks, chosen: Mapping[str, float]) -> Candidates:
        """All candidates on all training rows, with the settings that were chosen."""
        fitted = {
            name: learner.fit(self.encoded, self.label, chosen[name]) for name, learner in self._learners().items()
        }
        linear = fitted.get(LINEAR)
        return Candidates(
            networks.whole,
            {name: model for name, model in fitted.items() if isinstance(model, Boosting)},
            linear if isinstance(linear, Linear) else None,
        )

    def _classes(self) -> int:
        return int(self.label.max()) + 1

    def _learners(self) -> dict[str, Learner[Boosting | Linear]]:
        every = learners(self.preprocessing, self._classes(), self.seed)
        return {name: learner for name, learner in every.items() if name in self.names}

    def _network(
        self, member_rows: Sequence[np.ndarray], stage: str, known: tuple[Encoded, np.ndarray] | None = None
    ) -> TabularModule:
        settings = self.settings
        if settings.checkpoints is not None:
            settings = replace(settings, checkpoints=settings.checkpoints / stage)
        sizes = {**self.preprocessing.sizes, "classes": self._classes()}
        return train_network(self.encoded, self.label, member_rows, sizes, settings, self.seed, known, self.stream)


def fit_churn(
    frame: pd.DataFrame,
    label: str,
    positive: str | None = None,
    *,
    exclude: Sequence[str] = (),
    model: Choice = "auto",
    members: int = 5,
    seed: int = 0,
    validation: float = 0.1,
    checkpoints: Path | None = None,
) -> FittedChurn:
    """Fit on all rows of a frame, as the recipe does on its training part.

    Raises:
        ValueError: If the table does not serve; the sentence says why.
    """
    table = from_frame(frame)
    schema = infer_schema(table, label, positive, exclude)
    columns, _ = raw_columns(table, schema)
    index = label_index(label_values(table, label, frozenset(schema.missing_tokens)), schema)
    train, held = inner_split(index, validation, seed)
    schema = describe(schema, columns, train)
    taken = {name: values[train] for name, values in columns.items()}
    known = None if held is None else ({name: values[held] for name, values in columns.items()}, index[held])
    settings = TrainerSettings(checkpoints=checkpoints)
    done = fit_rows(schema, taken, index[train], known, model=model, members=members, seed=seed, settings=settings)
    assert done is not None  # this process trains alone
    return done[0]
