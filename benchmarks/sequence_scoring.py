"""Bundles of sequences on one thread: `OMP_NUM_THREADS=1 python -m benchmarks.sequence_scoring`.

A drawn network of one layer is exported with 20 event names and loaded with its checks; what is timed is all that a
server does with parsed JSON or an Arrow table: reading, sorting, padding, the graph. Rows hold --steps events of their
own names and times; those of "mixed" have from 1 to twice as many, in no order. Figures are medians of --rounds turns
of --turn seconds of CPU time. Three rows' answers are compared with torch's before.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import torch
from ludocast.datamodules.sequence import SequenceParts
from ludocast.datamodules.sequences import Sequences
from ludocast.datamodules.step_inputs import StepInputs
from ludocast.datamodules.time_features import log_ages, log_gaps
from ludocast.datamodules.vocabulary import Vocabulary
from ludocast.models.sequence.network import NetworkSettings
from ludocast.models.sequence.tasks import LeavingModule
from ludocast.models.stacked_rnn.recurrent import Kind
from ludocast.serve.bundle import write_bundle
from ludocast.serve.scorer import Scorer
from ludocast.serve.sequence_export import export_sequence
from ludocast.serve.stepper import Stepper

from benchmarks.recurrent_graph import alternate, calls_per_second

NOW = 1.7e9
NAMES = tuple(f"event {i}" for i in range(20))
Row = dict[str, object]


def module_of(kind: Kind, hidden: int) -> LeavingModule:
    module = LeavingModule(NetworkSettings(kind, hidden=hidden, embedding=32))
    module.build({"tokens": len(NAMES) + 2, "numbers": 1, "classes": 2, "columns": 1})
    return module.eval()


def write(module: LeavingModule, folder: Path) -> None:
    inputs = StepInputs(
        Vocabulary(NAMES), "event", "time", has_gaps=True, has_last_age=True, has_now=True, times=(NOW - 1e7, NOW)
    )
    none = Sequences({"token": np.zeros(0)}, np.zeros(0, np.int64), np.zeros(0, np.int64))
    export = export_sequence(module, SequenceParts(none, none, none, {}, classes=("stays", "leaves"), inputs=inputs))
    write_bundle(
        folder, export.model, name="bench", inputs=export.inputs, classes=export.classes, positive=export.positive,
        threshold=export.threshold, missing_tokens=export.missing_tokens, task=export.task, sequence=export.sequence,
        step=export.step,
    )  # fmt: skip


def drawn(lengths: np.ndarray) -> list[Row]:
    generator = np.random.default_rng(0)
    return [
        {
            "event": generator.choice(NAMES, length).tolist(),
            "time": np.sort(NOW - generator.uniform(1, 5e6, length)).tolist(),
            "now": NOW,
        }
        for length in lengths
    ]


@torch.no_grad()
def check(module: LeavingModule, scorer: Scorer, rows: list[Row]) -> None:
    """The answers must be torch's, else the figures mean nothing."""
    assert module.averaged is not None
    for row, found in zip(rows[:3], scorer.predict_rows(rows).probabilities[:3, 1], strict=False):
        times = np.array(row["time"])
        gaps = torch.from_numpy(log_gaps(times, np.array([0, len(times)])))[None, :, None]
        token = torch.from_numpy(Vocabulary(NAMES).encode(row["event"]).astype(np.int64))[None]
        age = torch.from_numpy(log_ages(times[-1:], NOW))[None]
        logits, _ = module.averaged(token, gaps, torch.tensor([len(times)]), columns_BD=age)
        np.testing.assert_allclose(found, float(module.answer(logits)), rtol=0, atol=1e-5)


def called(run: Callable[[], object], _: object) -> list[np.ndarray]:
    run()
    return []


def measure(kind: Kind, options: argparse.Namespace, folder: Path) -> None:
    module = module_of(kind, options.hidden)
    write(module, folder / kind)
    scorer, stepper = Scorer.load(folder / kind), Stepper.load(folder / kind)
    steps, many = options.steps, options.rows
    equal, mixed = drawn(np.full(many, steps)), drawn(np.random.default_rng(1).integers(1, 2 * steps + 1, many))
    for rows in (equal, mixed):
        check(module, scorer, rows)
    events = [{"event": "event 3", "time": NOW}] * many
    states = [stepper.new_state()] * many
    runs: dict[str, tuple[int, Callable[[], object]]] = {
        "records, 1 row": (1, partial(scorer.predict_rows, equal[:1])),
        f"records, {many} rows": (many, partial(scorer.predict_rows, equal)),
        f"Arrow, {many} rows": (many, partial(scorer.predict, pa.Table.from_pylist(equal))),
        f"Arrow, {many} mixed rows": (many, partial(scorer.predict, pa.Table.from_pylist(mixed))),
        "a step, 1 player": (1, partial(stepper.update, states[0], events[0])),
        f"a step, {many} players": (many, partial(stepper.update_many, states, events)),
    }
    turns = {name: partial(calls_per_second, partial(called, run), {}, options.turn) for name, (_, run) in runs.items()}
    for name, calls in alternate(turns, options.rounds).items():
        size = runs[name][0]
        print(f"{kind:8} {name:24} {calls * size:12,.0f} a CPU-second {1e6 / calls / size:10.1f} µs each", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--steps", type=int, default=56)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turn", type=float, default=0.3)
    options = parser.parse_args()
    torch.manual_seed(0)
    print(f"T={options.steps}, H={options.hidden}")
    with tempfile.TemporaryDirectory() as folder:
        for kind in get_args(Kind):
            measure(kind, options, Path(folder))


if __name__ == "__main__":
    main()
