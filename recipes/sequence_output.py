"""What a run on sequences leaves: measures, answers to the test part, the network, its vocabulary.

The bundle comes with `sequence_bundle.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ludocast.datamodules.sequence import SequenceDataModule
from ludocast.models.metrics import classification_metrics
from ludocast.models.sequence.defaults import Task
from ludocast.models.sequence.module import SequenceModule
from ludocast.models.sequence.predict import evaluated, leaving_logits, next_answers, tag_ids
from ludocast.models.sequence.tasks import LeavingModule, NextModule, TagModule

RESAMPLES = 200
SHOWN = 5  # answers told of each session


def write_run(
    folder: Path, task: Task, module: SequenceModule, data: SequenceDataModule, settings: dict[str, Any], seed: int
) -> dict[str, float]:
    """Evaluate on the test part and write all of it.

    Args:
        folder: Work folder of the run.
        task: What was learnt.
        module: Trained and calibrated.
        data: Its sequences.
        settings: To be told beside the measures.
        seed: Of the resamples of intervals.

    Returns:
        The measures.
    """
    parts = data.parts
    measures: dict[str, Any] = dict(evaluated(module, data))
    answers: pd.DataFrame | None = None
    if isinstance(module, LeavingModule):
        answers = leaving_answers(module, data)
        p, label = answers["probability"].to_numpy(), answers["label"].to_numpy()
        measures = {
            name: {"value": interval.value, "low": interval.low, "high": interval.high}
            for name, interval in classification_metrics(
                np.stack([1 - p, p], 1), label, 1, (p >= 0.5).astype(int), seed=seed, resamples=RESAMPLES
            ).items()
        }
    elif isinstance(module, TagModule):
        answers = tag_answers(module, data)
    elif isinstance(module, NextModule):
        answers = next_event_answers(module, data)
    document: dict[str, Any] = {
        "task": task, "metrics": measures, "split": parts.rule, "settings": settings,
        "rows": {name: len(getattr(parts, name)) for name in ("train", "validation", "test")},
    }  # fmt: skip
    if isinstance(module, TagModule) and module.chunks is not None:
        document["chunks"] = module.chunks.table()
    _write_json(folder / "metrics.json", document)
    if answers is not None:
        answers.to_csv(folder / "predictions.csv", index=False)
    if parts.vocabulary is not None:
        _write_json(folder / "vocabulary.json", parts.vocabulary.to_dict())
    write_network(folder, module)
    return {name: entry["value"] if isinstance(entry, dict) else entry for name, entry in measures.items()}


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


def _write_json(path: Path, document: dict[str, Any]) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False, default=str)
    path.write_text(text + "\n", encoding="utf-8")
