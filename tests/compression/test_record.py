"""What the hook keeps of a real training, and the file that holds it."""

from __future__ import annotations

import json
import math
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from ludocast.compression.hook import register_onebit_hook
from ludocast.compression.record import Record, write_record

from tests.compression.ranks import average_once, gradients, on_ranks, wrapped

SHAPES = {"large": (300, 200), "small": (30,)}
LARGE, SMALL = 60_000, 30


def train(rank: int, folder: str, steps: int, options: dict[str, Any]) -> dict[str, Any] | None:
    model = wrapped(SHAPES)
    state = register_onebit_hook(model, smallest=1_000, **options)
    for step in range(steps):
        average_once(model, gradients(SHAPES, rank, step))
    state.close()
    if rank != 0:
        return None
    write_record(state, Path(folder) / "run" / "compression.json")
    found: dict[str, Any] = json.loads((Path(folder) / "run" / "compression.json").read_text(encoding="utf-8"))
    return found


def test_the_file_holds_what_was_done(tmp_path: Path) -> None:
    written = on_ranks(2, train, str(tmp_path), 9, {"warmup_steps": 3})[0]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["compression.json"]  # no partial file is left
    assert (written["format"], written["ranks"], written["step"]) == (1, 2, 9)
    assert (written["plain"], written["compressed"]) == (3, 6)
    assert written["layers"]["small"] == {"elements": SMALL, "to_owners": 32.0, "to_all": 32.0}
    assert 1 < written["layers"]["large"]["to_owners"] < 1.1
    sizes = [(step["bytes"], step["plain_bytes"]) for step in written["steps"]]
    # Two ranks in a ring send half of the fp32 values twice.
    assert sizes[:3] == [(0, 4 * (LARGE + SMALL))] * 3
    assert {plain for _, plain in sizes[3:]} == {0}
    assert sum(coded for coded, _ in sizes) == written["sent_bytes"]
    assert [entry["step"] for entry in written["norms"]] == [3, 4, 5, 6, 7]
    first = written["norms"][0]["parameters"]["large"]
    wanted = gradients(SHAPES, 0, 3)["large"].double().norm().item()
    assert first == [pytest.approx(wanted, rel=1e-5), 0.0]
    assert written["norms"][1]["parameters"]["large"][1] > 0
    for step in written["steps"][3:]:
        assert all(step[kind] > 0 for kind in ("quantise", "exchange", "decode", "wait", "whole"))


def test_trials_of_auto_are_told_apart(tmp_path: Path) -> None:
    written = on_ranks(2, train, str(tmp_path), 6, {"auto": True, "auto_every": 3})[0]
    assert [step["step"] for step in written["steps"] if step["trial"] > 0] == [1, 4]
    assert [decision["step"] for decision in written["decisions"]] == [1, 4]
    assert written["decisions"][-1]["words"] == written["decision"]
    assert written["compressed"] + written["plain"] == 6
    as_bits = written["steps"][-1]["bytes"] > 0
    assert (written["layers"]["large"]["to_all"] < 2) == as_bits  # as `auto` chose last
    for step in written["steps"]:
        assert (step["quantise"] > 0) == (step["bytes"] > 0)  # what a trial quantises is not counted


def write_over_a_folder(rank: int, folder: str) -> str:
    state = register_onebit_hook(wrapped(SHAPES))
    try:
        write_record(state, Path(folder))
    except OSError as error:
        return type(error).__name__
    return "written"


def test_what_cannot_be_written_leaves_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "compression.json").mkdir()
    assert on_ranks(1, write_over_a_folder, str(tmp_path / "compression.json")) == ["IsADirectoryError"]
    assert [path.name for path in tmp_path.iterdir()] == ["compression.json"]


def test_a_long_training_keeps_evenly_spaced_steps() -> None:
    record = Record({"a": {"elements": 4.0, "to_owners": 1.0, "to_all": 1.0}})
    for step in range(5_000):
        record.add(step, "bytes", 10)
        record.end(step)
        if record.wants_norms(step):
            record.add_norms(step, ["a"], [(torch.tensor([3.0, 4.0]), torch.tensor([math.inf, 0.0]))])
    written = record.as_json()
    assert (written["compressed"], written["plain"]) == (5_000, 0)
    kept = [step["step"] for step in written["steps"]]
    assert len(kept) <= 1024
    assert {b - a for a, b in pairwise(kept)} == {8}
    assert {step["bytes"] for step in written["steps"]} == {10}
    measured = [entry["step"] for entry in written["norms"]]
    assert 32 <= len(measured) <= 64
    assert {b - a for a, b in pairwise(measured)} == {80}
    assert written["norms"][-1]["parameters"]["a"] == [5.0, None]  # not finite
    json.dumps(written, allow_nan=False)


def test_threads_lose_nothing() -> None:
    record = Record()

    def work() -> None:
        for step in range(3_000):
            record.add(step, "exchange", 1.0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A thread ahead of the others has steps thinned out while these still add to them.
    assert {entry["exchange"] for entry in record.steps.values()} == {4.0}


def test_keeping_a_step_costs_little() -> None:
    record, rounds = Record(), 2_000
    begin = time.perf_counter()
    for step in range(rounds):
        for kind in ("quantise", "exchange", "quantise", "exchange", "decode"):
            with record.timed(step, kind):
                pass
        record.add(step, "bytes", 1)
        record.add(step, "wait", 1)
        record.end(step)
    assert (time.perf_counter() - begin) / rounds < 1e-4
