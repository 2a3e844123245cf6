"""Modules on sequences with drawn weights, rows of raw events, and the training side's answer to one row at a time."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ludocast.datamodules.sequence import SequenceParts
from ludocast.datamodules.sequences import Sequences
from ludocast.datamodules.step_inputs import StepInputs
from ludocast.datamodules.time_features import log_ages, log_gaps, periodic
from ludocast.datamodules.vocabulary import FIRST, Vocabulary
from ludocast.models.sequence.module import SequenceModule
from ludocast.models.sequence.network import NetworkSettings
from ludocast.models.sequence.tasks import LanguageModule, LeavingModule, NextModule, TagModule
from ludocast.models.stacked_rnn.recurrent import Kind
from ludocast.serve.bundle import write_bundle
from ludocast.serve.manifest import Manifest
from ludocast.serve.sequence_export import export_sequence

DAY, HOUR = 86_400.0, 3_600.0
NOW = 1.7e9 - 1.7e9 % DAY
NAMES = ("login", "戦闘", "buy", "quit", *(f"event {i}" for i in range(20)))
TAGS = ("O", "B-x", "I-x", "B-y")
SCALE = (np.array([10.0, -2.0], np.float32), np.array([4.0, 0.5], np.float32))
Row = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """A module, how its events become steps, and the columns of its rows."""

    module: SequenceModule
    parts: SequenceParts

    @property
    def inputs(self) -> StepInputs:
        assert self.parts.inputs is not None
        return self.parts.inputs


def made(what: str, kind: Kind = "gru", layers: int = 2, names: tuple[str, ...] = NAMES) -> Made:
    """What: days, events, stream, next, sessions, tags, text, tied or adaptive."""
    vocabulary = Vocabulary(names)
    times = (NOW - 300 * DAY, NOW)
    asked: dict[str, Any] = {"has_now": True, "observe": 56, "active_within": 7, "times": times, "time": "time"}
    inputs = {
        "days": StepInputs(days_per_step=7, **asked),
        "events": StepInputs(
            vocabulary, "event", numbers=("gold", "rank"), scale=SCALE, has_gaps=True, has_ages=True,
            has_calendar=True, **asked,
        ),
        "stream": StepInputs(
            vocabulary, "event", numbers=("gold", "rank"), scale=SCALE, has_gaps=True, has_last_age=True,
            **{**asked, "observe": None},
        ),
        "next": StepInputs(vocabulary, "event", "time", has_gaps=True, times=times),
        "sessions": StepInputs(vocabulary, "event", "time", has_gaps=True, times=times, pause=12.0),
        "tags": StepInputs(vocabulary, "words"),
        "text": StepInputs(vocabulary, "text", line_end="quit"),
        "tied": StepInputs(vocabulary, "text", line_end="quit"),
        "adaptive": StepInputs(vocabulary, "text", line_end="quit"),
    }[what]  # fmt: skip
    size = NetworkSettings(kind, hidden=16 if what == "adaptive" else 8, layers=layers, embedding=6, dropout=0.1)
    modules: dict[str, SequenceModule] = {"tags": TagModule(size), "text": LanguageModule(size)}
    modules["adaptive"] = LanguageModule(size, softmax="adaptive")
    modules |= {"tied": LanguageModule(size, is_tied=True), "next": NextModule(size), "sessions": NextModule(size)}
    module = modules.get(what, LeavingModule(size))
    numbers = {"days": 7, "events": 1 + 1 + 4 + 2, "stream": 1 + 2, "next": 1, "sessions": 1}.get(what, 0)
    classes = len(TAGS) if what == "tags" else len(vocabulary)
    tokens = 0 if what == "days" else len(vocabulary)
    module.build({"tokens": tokens, "numbers": numbers, "classes": classes, "columns": int(what == "stream")})
    assert module.averaged is not None
    with torch.no_grad():
        for parameter in module.averaged.parameters():
            parameter.mul_(2.0)  # so that steps matter
    if isinstance(module, LeavingModule):
        module.temperature.fill_(1.3)
    none = Sequences({"token": np.zeros(0, np.int32)}, np.zeros(0, np.int64), np.zeros(0, np.int64))
    labels = {"tags": TAGS}.get(what, ("stays", "leaves") if inputs.has_now else ())
    return Made(module.eval(), SequenceParts(none, none, none, {}, inputs.vocabulary, labels, inputs=inputs))


def write(made: Made, folder: Path, **changes: Any) -> Manifest:
    export = export_sequence(made.module, made.parts)
    fields: dict[str, Any] = {
        "name": "made", "inputs": export.inputs, "classes": export.classes, "positive": export.positive,
        "threshold": export.threshold, "missing_tokens": export.missing_tokens, "task": export.task,
        "sequence": export.sequence, "step": export.step,
    }  # fmt: skip
    return write_bundle(folder, export.model, **{**fields, **changes})


def drawn(made: Made, lengths: list[int], seed: int = 0) -> list[Row]:
    """Rows of so many events, ascending in time, some of them of unknown names, beyond the window and after now."""
    generator = np.random.default_rng(seed)
    inputs, rows = made.inputs, []
    for length in lengths:
        row: Row = {}
        if inputs.name is not None:
            row[inputs.name] = generator.choice([*NAMES, "never seen"], length).tolist()
        if inputs.time is not None:
            now = NOW - float(generator.integers(0, 48)) * HOUR
            back = generator.exponential(20 * DAY, length) - 1 * DAY
            row[inputs.time] = np.sort(now - back).tolist()
            if inputs.has_now:
                row["now"] = dt.datetime.fromtimestamp(now, dt.UTC).isoformat()
        for column in inputs.numbers:
            values = generator.normal(8, 5, length)
            row[column] = [
                None if x < 0.2 else value for x, value in zip(generator.random(length), values, strict=True)
            ]
        rows.append(row)
    return rows


@torch.no_grad()
def answer(made: Made, row: Row) -> np.ndarray:
    """Probabilities by the training side: [C] of the classes, or [T, tags]; of names those that are known."""
    inputs, module = made.inputs, made.module
    assert module.averaged is not None
    token, numbers, length, last_age = encoded(inputs, row)
    logits, _ = module.averaged(
        None if token is None else torch.from_numpy(token.astype(np.int64))[None],
        None if numbers is None else torch.from_numpy(numbers)[None],
        torch.tensor([length]),
        columns_BD=torch.tensor([[last_age]]) if inputs.has_last_age else None,
    )
    if isinstance(module, LeavingModule):
        p = float(module.answer(logits))
        return np.array([1 - p, p])
    if isinstance(module, TagModule):
        return np.asarray(logits[0].softmax(-1))
    return np.asarray(logits[0, -1].softmax(-1))[FIRST:]


def kept(inputs: StepInputs, row: Row) -> np.ndarray:
    """Which events a sequence has, bool [T]: those of the window before now, or since the last pause."""
    if inputs.time is None:
        return np.ones(len(row[str(inputs.name)]), bool)
    times = np.array(row[inputs.time], float)
    found = np.ones(len(times), bool)
    if inputs.has_now:
        now = moment(row)
        found = (times < now) & (times >= now - (np.inf if inputs.observe is None else inputs.observe * DAY))
    for i in range(1, len(times)):
        if inputs.pause is not None and times[i] - times[i - 1] > inputs.pause * HOUR:
            found[:i] = False
    return found


def moment(row: Row) -> float:
    return dt.datetime.fromisoformat(row["now"]).timestamp()


def encoded(inputs: StepInputs, row: Row) -> tuple[np.ndarray | None, np.ndarray | None, int, float]:
    """Ids, numbers, how many steps, and the log age of the last, by the functions of the training side."""
    is_in = kept(inputs, row)
    names = [] if inputs.name is None else [name for name, x in zip(row[inputs.name], is_in, strict=True) if x]
    token = None if inputs.vocabulary is None else inputs.vocabulary.encode(names)
    if inputs.time is None:
        return token, None, len(names), 0.0
    times = np.array(row[inputs.time], float)[is_in]
    now = moment(row) if inputs.has_now else 0.0
    if inputs.days_per_step is not None:
        bits = np.zeros(int(inputs.observe or 0), np.float32)
        for time in times:
            bits[len(bits) - 1 - int((now - time - 1e-6) // DAY)] = 1
        steps = bits.reshape(-1, inputs.days_per_step)
        return None, steps, len(steps), 0.0
    parts = [log_gaps(times, np.array([0, len(times)]))[:, None]] if inputs.has_gaps else []
    parts += [log_ages(times, now)[:, None]] if inputs.has_ages else []
    parts += [periodic(times)] if inputs.has_calendar else []
    for column, mean, deviation in zip(inputs.numbers, *(inputs.scale or ((), ())), strict=True):
        values = np.array(row[column], np.float32)[is_in]
        parts.append(np.nan_to_num((values - mean) / deviation)[:, None])
    last_age = float(np.log1p((now - times[-1]) / HOUR)) if inputs.has_last_age else 0.0
    return token, np.concatenate(parts, 1).astype(np.float32), len(times), last_age
