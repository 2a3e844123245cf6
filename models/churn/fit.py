"""A churn model from training rows: candidates, their blend, its calibration; `fit_churn` takes a pandas frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from ludocast.datamodules.infer import RawColumns, describe, infer_schema, label_index, label_values, raw_columns
from ludocast.datamodules.preprocess import Encoded, Preprocessing, fit_preprocessing
from ludocast.datamodules.read import from_frame
from ludocast.datamodules.schema import Schema
from ludocast.datamodules.split import CROSS_ROWS, folds, inner_split
from ludocast.models.churn.blend import blend_weights, class_log_loss, class_probabilities, fit_temperature
from ludocast.models.churn.boosting import Boosting, fit_boosting
from ludocast.models.churn.linear import Linear, fit_linear
from ludocast.models.churn.module import ChurnModule
from ludocast.models.churn.train import TrainerSettings, network_logits, train_network

if TYPE_CHECKING:
    import pandas as pd

Choice = Literal["auto", "network", "boosting"]
CANDIDATES: dict[Choice, tuple[str, ...]] = {
    "auto": ("network", "boosting", "linear"),
    "network": ("network",),
    "boosting": ("boosting",),
}
FOLDS = 5
DEFAULT_SETTINGS = TrainerSettings()


@dataclass(frozen=True)
class Candidates:
    """Fitted candidates; None where one was not asked for."""

    network: ChurnModule | None = None
    boosting: Boosting | None = None
    linear: Linear | None = None

    def logits(self, encoded: Encoded) -> dict[str, np.ndarray]:
        """float64 [N, C] of each candidate."""
        found = {}
        if self.network is not None:
            found["network"] = network_logits(self.network, encoded).astype(np.float64).mean(axis=0)
        if self.boosting is not None:
            found["boosting"] = self.boosting.logits(encoded.trees)
        if self.linear is not None:
            found["linear"] = self.linear.logits(encoded)
        return found


@dataclass(frozen=True)
class FittedChurn:
    """A churn model: raw columns in, calibrated probabilities out; what the bundle's graph repeats."""

    schema: Schema
    preprocessing: Preprocessing
    candidates: Candidates
    weights: Mapping[str, float]
    temperature: float
    threshold: float | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the probabilities."""
        return self.schema.classes

    def predict(self, columns: RawColumns) -> np.ndarray:
        """Probabilities float64 [N, classes] of raw columns."""
        return class_probabilities(
            blended(self.candidates.logits(self.preprocessing.encode(columns)), self.weights) / self.temperature
        )

    def predict_frame(self, frame: pd.DataFrame) -> np.ndarray:
        """Probabilities float64 [N, classes] of a pandas frame."""
        return self.predict(raw_columns(from_frame(frame), self.schema)[0])

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Class index of each row: the positive one from the threshold on, with more classes the likeliest."""
        positive = self.schema.positive_index
        if positive is None or self.threshold is None:
            return np.asarray(probabilities.argmax(axis=1))
        # The graph compares float32 numbers, so this side does as well.
        chosen = probabilities[:, positive].astype(np.float32) >= np.float32(self.threshold)
        return np.where(chosen, positive, 1 - positive)


@dataclass(frozen=True)
class HeldOut:
    """What was seen on rows that no candidate was fitted on.

    Attributes:
        logits: Of each candidate, float64 [N, C].
        label: int64 [N].
        protocol: In words.
    """

    logits: Mapping[str, np.ndarray]
    label: np.ndarray
    protocol: str


def blended(logits: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """The weighted sum of the candidates' logits, [N, C]."""
    return np.asarray(np.sum([weights[name] * logits[name] for name in weights if weights[name] > 0], axis=0))


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
) -> tuple[FittedChurn, HeldOut]:
    """Fit the candidates on training rows, blend and calibrate them on held-out ones.

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
    """
    names = CANDIDATES[model]
    preprocessing, encoded = fit_preprocessing(schema, columns, label, seed, rare)
    if validation is None:
        _say(settings, "holding each training row out once, to weigh the candidates (1 of 2)")
        held_out = _cross_fit(names, preprocessing, encoded, label, seed, _stage(settings, "folds"))
        _say(settings, "training on all training rows (2 of 2)")
        everyone = [np.arange(len(label))] * members
        candidates = _fit(names, preprocessing, encoded, label, everyone, seed, _stage(settings, "network"))
    else:
        known = (preprocessing.encode(validation[0]), validation[1])
        everyone = [np.arange(len(label))] * members
        stage = _stage(settings, "network")
        candidates = _fit(names, preprocessing, encoded, label, everyone, seed, stage, known)
        held_out = HeldOut(candidates.logits(known[0]), known[1], f"{len(known[1]):,} validation rows")
    weights = blend_weights(held_out.logits, held_out.label) if len(names) > 1 else dict.fromkeys(names, 1.0)
    temperature = fit_temperature(blended(held_out.logits, weights), held_out.label)
    return FittedChurn(schema, preprocessing, _used(candidates, weights), weights, temperature), held_out


def _say(settings: TrainerSettings, sentence: str) -> None:
    if settings.progress:
        print(sentence, flush=True)


def _stage(settings: TrainerSettings, name: str) -> TrainerSettings:
    if settings.checkpoints is None:
        return settings
    return replace(settings, checkpoints=settings.checkpoints / name)


def _used(candidates: Candidates, weights: Mapping[str, float]) -> Candidates:
    return replace(candidates, **{name: None for name, weight in weights.items() if weight == 0})


def _fit(
    names: Sequence[str],
    preprocessing: Preprocessing,
    encoded: Encoded,
    label: np.ndarray,
    member_rows: Sequence[np.ndarray],
    seed: int,
    settings: TrainerSettings,
    validation: tuple[Encoded, np.ndarray] | None = None,
) -> Candidates:
    classes = int(label.max()) + 1
    sizes = {**preprocessing.sizes, "classes": classes}
    return Candidates(
        train_network(encoded, label, member_rows, sizes, settings, seed, validation) if "network" in names else None,
        fit_boosting(encoded.trees, label, classes, seed) if "boosting" in names else None,
        fit_linear(encoded, label, preprocessing, _strength(encoded, label, preprocessing, seed))
        if "linear" in names
        else None,
    )


def _strength(encoded: Encoded, label: np.ndarray, preprocessing: Preprocessing, seed: int) -> float:
    # The penalty matters on small tables only, where three tries cost nothing.
    if len(label) >= CROSS_ROWS:
        return 1.0
    fold = folds(label, seed, FOLDS)
    losses = {}
    for strength in (0.01, 0.1, 1.0):
        out = [
            class_log_loss(
                fit_linear(encoded.rows(fold != k), label[fold != k], preprocessing, strength).logits(
                    encoded.rows(fold == k)
                ),
                label[fold == k],
            )
            for k in range(3)
        ]
        losses[strength] = float(np.mean(out))
    return min(losses, key=lambda strength: losses[strength])


def _cross_fit(
    names: Sequence[str],
    preprocessing: Preprocessing,
    encoded: Encoded,
    label: np.ndarray,
    seed: int,
    settings: TrainerSettings,
) -> HeldOut:
    """Each training row predicted by candidates that were fitted without it; the networks of all folds at once."""
    count = int(min(FOLDS, np.bincount(label).min()))
    fold = folds(label, seed, count)
    inside = [np.flatnonzero(fold != k) for k in range(count)]
    logits: dict[str, np.ndarray] = {}
    others = [name for name in names if name != "network"]
    for k in range(count):
        part = _fit(others, preprocessing, encoded.rows(inside[k]), label[inside[k]], [], seed, settings)
        for name, found in part.logits(encoded.rows(fold == k)).items():
            logits.setdefault(name, np.empty((len(label), found.shape[1])))[fold == k] = found
    if "network" in names:
        module = _fit(["network"], preprocessing, encoded, label, inside, seed, settings).network
        assert module is not None
        by_member = network_logits(module, encoded)
        logits["network"] = by_member[fold, np.arange(len(label))].astype(np.float64)
    return HeldOut({name: logits[name] for name in names}, label, f"each training row once, in {count} folds")


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
    return fit_rows(schema, taken, index[train], known, model=model, members=members, seed=seed, settings=settings)[0]
