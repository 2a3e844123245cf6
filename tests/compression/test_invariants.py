"""What is sent and what is kept is what was given, for every setting; and all ranks stay the same to the bit."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch
from ludocast.compression.hook import register_onebit_hook
from ludocast.compression.residuals import consolidate
from torch import Tensor

from tests.compression.ranks import average_once, gradients, on_ranks, wrapped

SHAPES = {"a": (37, 91), "b": (91,), "c": (5, 7, 131), "d": (1, 3), "e": (211, 17), "f": (129, 65)}  # divide nothing
SETTINGS: list[dict[str, Any]] = [{"width": 4}, {"width": 8}, {"delay": 1}, {"width": 4, "delay": 1}]
HOSTS: list[tuple[int, dict[str, Any]]] = [(4, {**one, "ranks_per_host": 2}) for one in ({}, *SETTINGS)]


def follow(rank: int, options: dict[str, Any], dtype: torch.dtype, steps: int) -> list[dict[str, Any]]:
    model = wrapped(SHAPES, 0.02, dtype)
    state = register_onebit_hook(model, smallest=1_000, row_length=256, **options)
    found = []
    for step in range(steps):
        given = {name: value.to(dtype) for name, value in gradients(SHAPES, rank, step).items()}
        averaged = average_once(model, given)
        found.append({"given": given, "averaged": averaged, **state.state_dict()})
    state.close()
    return found


def kept(states: list[dict[str, Any]]) -> dict[str, Tensor]:
    """All that was not yet applied, by name."""
    found = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in SHAPES.items()}
    whole = consolidate(states)
    for part in (whole["residual"], whole["late"]):
        for name, value in part.items():
            found[name] += value.double().view(SHAPES[name])
    return found


@pytest.mark.parametrize(("ranks", "options"), [*((n, one) for n in (1, 2, 3, 4) for one in SETTINGS), *HOSTS], ids=str)
def test_nothing_is_lost(ranks: int, options: dict[str, Any]) -> None:
    check(ranks, options, torch.float32, 0.0)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("width", [1, 8])
def test_bfloat16_loses_the_rounding_of_the_average_alone(ranks: int, width: int) -> None:
    # DDP's bucket is bfloat16: what is decoded is rounded to its 8 bits, as a plain average is; residuals are float32.
    check(ranks, {"width": width}, torch.bfloat16, 2.0**-8)


def check(ranks: int, options: dict[str, Any], dtype: torch.dtype, rounding: float) -> None:
    everyone = on_ranks(ranks, follow, options, dtype, 4)
    before = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in SHAPES.items()}
    for step in range(4):
        states = [records[step] for records in everyone]
        after = kept(states)
        for name in SHAPES:
            wanted = torch.stack([state["given"][name].double() for state in states]).mean(dim=0) + before[name]
            sent = states[0]["averaged"][name].double()
            allowed = rounding * sent.abs() + 1e-6 * wanted.abs().max()
            assert bool(((sent + after[name] - wanted).abs() <= allowed).all()), (step, name)
            for state in states[1:]:
                assert torch.equal(state["averaged"][name], states[0]["averaged"][name]), (step, name)
        before = after
    assert bool(before["a"].any()) == (ranks > 1)


def train(rank: int, options: dict[str, Any], dtype: torch.dtype, steps: int) -> str:
    """A digest of all averages and of the parameters in the end."""
    model = wrapped(SHAPES, 0.02, dtype)
    state = register_onebit_hook(model, smallest=1_000, row_length=256, **options)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    digest = hashlib.sha256()
    few = [gradients(SHAPES, rank, step) for step in range(7)]
    for step in range(steps):
        optimizer.zero_grad()
        model({name: value.to(dtype) for name, value in few[step % 7].items()}).backward()
        optimizer.step()
        for parameter in model.parameters():
            assert parameter.grad is not None
            digest.update(parameter.grad.view(torch.uint8).numpy().tobytes())
    state.close()
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())
    for parameter in model.parameters():
        digest.update(parameter.detach().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "options", "dtype"),
    [
        (2, {}, torch.float32), (3, {"width": 4}, torch.float32), (3, {"delay": 1}, torch.float32),
        (2, {"width": 8}, torch.bfloat16), (4, {}, torch.float32), (4, {"ranks_per_host": 2}, torch.float32),
    ],
    ids=str,
)  # fmt: skip
def test_all_ranks_are_the_same_after_1_000_steps(ranks: int, options: dict[str, Any], dtype: torch.dtype) -> None:
    assert len(set(on_ranks(ranks, train, options, dtype, 1_000))) == 1
