"""Answers of a run on sequences to its test part, and its network, as files.

The bundle comes with `sequence_bundle.py`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ludocast.datamodules.sequence import SequenceDataModule
from ludocast.models.calibration import cost_threshold
from ludocast.models.sequence.module import SequenceModule
from ludocast.models.sequence.predict import leaving_logits, next_answers, tag_ids
from ludocast.models.sequence.tasks import LeavingModule, NextModule, TagModule
from ludocast.recipes.predictions import Predictions

SHOWN = 5  # answers told of each session


def write_network(folder: Path, module: SequenceModule) -> None:
    """The last checkpoint with the calibrated weights, which `load_from_checkpoint` of the module's class takes."""
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=False)
    kept = {name: checkpoint[name] for name in ("pytorch-lightning_version", "epoch", "global_step", "sizes")}
    kept |= {"averaged_steps": checkpoint["averaged_steps"], "states": [None], "loops": None}
    kept |= {name: value for name, value in checkpoint.items() if name.startswith(("hyper_parameters", "hparams_"))}
    torch.save({**kept, "state_dict": module.state_dict()}, folder / "model.ckpt")


def leaving_answers(module: LeavingModule, data: SequenceDataModule) -> pd.DataFrame:
    """A row for each test snapshot: player, time, label, probability."""
    part, players = data.parts.test, data.parts.players
    logits = leaving_logits(module, data.test_dataloader()) / float(module.temperature)
    number = part.static["player"]
    return pd.DataFrame(
        {
            "player": number if players is None else players[number],
            "time": pd.to_datetime(part.static["time"], unit="s", utc=True),
            "label": part.static["label"],
            "probability": 1 / (1 + np.exp(-logits)),
        }
    )


def leaving_predictions(answers: pd.DataFrame, data_sha256: str, classes: tuple[str, ...]) -> Predictions:
    """The same for comparisons with other runs; a snapshot's number is a hash of its player and time.

    Args:
        answers: As `leaving_answers` gives them.
        data_sha256: Of the log.
        classes: Who stays, who leaves.
    """
    numbers = pd.util.hash_pandas_object(answers[["player", "time"]], index=False).to_numpy().view(np.int64)
    order = np.argsort(numbers, kind="stable")
    p, label = answers["probability"].to_numpy()[order], answers["label"].to_numpy()[order].astype(np.int64)
    both = np.stack([1 - p, p], axis=1).astype(np.float32)
    predicted = (p >= cost_threshold()).astype(np.int64)
    return Predictions(data_sha256, numbers[order], label, predicted, both, classes, classes[1])


def tag_answers(module: TagModule, data: SequenceDataModule) -> pd.DataFrame:
    """A row for each word of the test part: sequence, word, its tag, the found one."""
    test, parts = data.parts.test.compact(), data.parts
    assert parts.vocabulary is not None
    names = np.array(parts.classes, object)
    return pd.DataFrame(
        {
            "sequence": np.repeat(np.arange(1, len(test) + 1), test.lengths),
            "word": parts.vocabulary.decode(test.steps["token"]),
            "tag": names[test.steps["target"]],
            "found": names[np.concatenate(tag_ids(module, data))],
        }
    )


def next_event_answers(module: NextModule, data: SequenceDataModule) -> pd.DataFrame:
    """A row for each test session: what came last, and the likeliest answers to what went before."""
    test, vocabulary = data.parts.test, data.parts.vocabulary
    assert vocabulary is not None
    found = next_answers(module, data, SHOWN)
    columns = {"came": vocabulary.decode(test.steps["target"][test.end - 1])}
    columns |= {f"answer {k + 1}": vocabulary.decode(found[:, k]) for k in range(found.shape[1])}
    return pd.DataFrame(columns)


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document for people and programs to read."""
    text = json.dumps(_finite(document), ensure_ascii=False, indent=1, allow_nan=False, default=str)
    path.write_text(text + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    """The same with null for numbers that JSON has not, such as the perplexity of a network that learnt nothing."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
