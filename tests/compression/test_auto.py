"""`auto`: whatever is faster here, all ranks decide alike and nothing is lost; the decision itself is forced."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from ludocast.compression import hook
from ludocast.compression.hook import register_onebit_hook
from ludocast.compression.residuals import consolidate
from torch import Tensor

from tests.compression.ranks import average_once, gradients, on_ranks, wrapped

SHAPES = {"a": (37, 91), "b": (91,), "c": (5, 7, 131), "e": (211, 17)}
OFF = r"1-bit off: the network is faster than the quantiser \(\d+\.\d ms against \d+\.\d\)"
ON = r"1-bit on( for \d+ of \d+ buckets)?: \d+\.\d× \(exchange \d+ → \d+ ms\)"


def follow(rank: int, worth: dict[int, float], steps: int, options: dict[str, Any]) -> list[Any]:
    """By step: the averages, the decision and the state; `worth` says by step how many times as fast 1 bit has to be."""
    usual = hook._WORTH
    model = wrapped(SHAPES, 0.02)
    state = register_onebit_hook(model, smallest=1_000, row_length=256, auto=True, auto_every=3, **options)
    found = []
    try:
        for step in range(steps):
            hook._WORTH = worth.get(step, hook._WORTH)
            averaged = average_once(model, gradients(SHAPES, rank, step))
            # Only rank 0 is asked for its state in some steps, as where it alone writes a checkpoint.
            found.append((averaged, state.decision, state.state_dict() if rank == 0 or step % 2 else None))
    finally:
        hook._WORTH = usual
        state.close()
    return found


@pytest.mark.parametrize(("ranks", "options"), [(2, {}), (3, {"width": 4}), (4, {"ranks_per_host": 2})], ids=str)
def test_from_on_to_off_nothing_stays_behind(ranks: int, options: dict[str, Any]) -> None:
    everyone = on_ranks(ranks, follow, {0: 0.0, 4: 1e9}, 8, options)  # it compares at steps 1, 4 and 7
    decisions = [[decision for _, decision, _ in found] for found in everyone]
    assert all(one == decisions[0] for one in decisions)
    assert decisions[0][0] == ""
    assert all(re.fullmatch(ON, decision) for decision in decisions[0][1:4])
    assert all(re.fullmatch(OFF, decision) for decision in decisions[0][4:])
    kept = consolidate([found[3][2] for found in everyone])["residual"]
    assert kept.keys() == {"a", "c", "e"}
    assert all(bool(value.any()) for value in kept.values())
    assert not any(bool(value.any()) for found in everyone for value in found[5][2]["residual"].values())
    for name in SHAPES:
        averages = [sum_of(found, name) for found in everyone]
        given = sum(gradients(SHAPES, rank, step)[name].double() for rank in range(ranks) for step in range(8)) / ranks
        torch.testing.assert_close(averages[0], given, rtol=0, atol=1e-5)
        assert all(torch.equal(other, averages[0]) for other in averages)


def sum_of(found: list[Any], name: str) -> Tensor:
    return torch.stack([averaged[name].double() for averaged, _, _ in found]).sum(dim=0)


def test_left_to_itself_it_decides_alike_everywhere() -> None:
    everyone = on_ranks(3, follow, {}, 8, {"warmup_steps": 2})
    decisions = [[decision for _, decision, _ in found] for found in everyone]
    assert all(one == decisions[0] for one in decisions)
    assert decisions[0][1] == ""
    assert all(re.fullmatch(f"{ON}|{OFF}", decision) for decision in decisions[0][2:])
    for averaged, _, _ in everyone[1]:
        assert all(bool(value.isfinite().all()) for value in averaged.values())
