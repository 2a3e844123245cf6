"""The hook in real process groups: nothing is lost, all ranks agree to the bit, and a resumed run is the unbroken one."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest
import torch
from ludocast.compression.hook import register_onebit_hook
from ludocast.compression.residuals import consolidate
from torch import Tensor

from tests.compression.ranks import Given, average_once, gradients, on_ranks, wrapped

SHAPES = {"a": (37, 91), "b": (91,), "c": (5, 7, 131), "d": (1, 3), "e": (211, 17), "f": (129, 65)}  # divide nothing
SMALLEST = 1_000


def follow(rank: int, steps: int, options: dict[str, Any], bucket_mb: float) -> list[dict[str, Any]]:
    model = wrapped(SHAPES, bucket_mb)
    state = register_onebit_hook(model, smallest=SMALLEST, row_length=256, **options)
    found = []
    for step in range(steps):
        given = gradients(SHAPES, rank, step)
        averaged = average_once(model, given)
        saved = state.state_dict()
        found.append({"given": given, "averaged": averaged, **saved})
    return found


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_what_is_sent_and_what_is_kept_is_what_was_given(ranks: int) -> None:
    check_nothing_is_lost(on_ranks(ranks, follow, 4, {}, 0.02))


def check_nothing_is_lost(everyone: list[list[dict[str, Any]]]) -> None:
    """Of each rank's steps: averages and residuals are what was given, and all ranks have the same average."""
    ranks = len(everyone)
    for name in SHAPES:
        kept = torch.zeros(SHAPES[name], dtype=torch.float64)
        for states in zip(*everyone, strict=True):
            wanted = sum(state["given"][name].double() for state in states) / ranks + kept
            kept = torch.zeros_like(kept)
            if ranks > 1 and name in states[0]["residual"]:
                kept = consolidate(states)["residual"][name].double().view_as(kept)
            sent = states[0]["averaged"][name].double()
            torch.testing.assert_close(sent + kept, wanted, rtol=1e-6, atol=1e-6 * float(wanted.abs().max()))
            for state in states[1:]:
                assert torch.equal(state["averaged"][name], states[0]["averaged"][name])
        compressed = ranks > 1 and len(SHAPES[name]) > 1 and kept.numel() >= SMALLEST
        assert bool(kept.any()) == compressed


def test_two_values_a_row_by_hand() -> None:
    averaged, residual = on_ranks(2, by_hand)[0]
    # Rank 0 holds ±1 and ±3 in turn, rank 1 zeros: the mean of the sum's c >= 0 is 2, half of it the average; of what
    # rank 0 sends rank 1 of the other's row it is 2 as well.
    assert averaged.unique().tolist() == [-1.0, 1.0]
    torch.testing.assert_close(residual, torch.tensor([-1.0, 1.0, 1.0, -1.0]).repeat(512))


def by_hand(rank: int) -> tuple[Tensor, Tensor]:
    shapes = {"w": (2, 1024)}
    model = wrapped(shapes)
    state = register_onebit_hook(model, smallest=1, row_length=1024)
    given = torch.tensor([1.0, -1.0, 3.0, -3.0]).repeat(512).view(2, 1024) * (1 - rank)
    averaged = average_once(model, {"w": given})["w"]
    return averaged, state.state_dict()["residual"]["w"]


def run_late(rank: int, delay: int) -> list[dict[str, Tensor]]:
    model = wrapped(SHAPES, 0.02)
    register_onebit_hook(model, smallest=SMALLEST, delay=delay)
    return [average_once(model, gradients(SHAPES, rank, step)) for step in range(6)]


def test_with_a_delay_every_average_comes_one_step_late_also_where_buckets_change() -> None:
    prompt, late = (on_ranks(2, run_late, delay)[0] for delay in (0, 1))
    for name in SHAPES:
        assert not late[0][name].any()
        for step in range(1, 6):
            assert torch.equal(late[step][name], prompt[step - 1][name])


def resumed(rank: int, saved: list[Any] | None, first: int, last: int, delay: int) -> tuple[list[Any], Any]:
    model = wrapped(SHAPES, 0.02)
    state = register_onebit_hook(model, smallest=SMALLEST, delay=delay)
    if saved is not None:
        state.load_state_dict(saved[0] if len(saved) == 1 else saved[rank])
    averages = [average_once(model, gradients(SHAPES, rank, step)) for step in range(first, last)]
    return averages, state.state_dict()


@pytest.mark.parametrize("delay", [0, 1])
def test_a_resumed_run_repeats_the_unbroken_one_to_the_bit(delay: int) -> None:
    unbroken = on_ranks(3, resumed, None, 0, 6, delay)
    halfway = on_ranks(3, resumed, None, 0, 3, delay)
    rest = on_ranks(3, resumed, [state for _, state in halfway], 3, 6, delay)
    for rank in range(3):
        for step in range(3):
            for name in SHAPES:
                assert torch.equal(rest[rank][0][step][name], unbroken[rank][0][3 + step][name])


def test_another_number_of_ranks_keeps_the_mass() -> None:
    four = consolidate([state for _, state in on_ranks(4, resumed, None, 0, 3, 0)])
    two = consolidate([state for _, state in on_ranks(2, resumed, [four], 3, 3, 0)])
    assert set(four["residual"]) == {"a", "c", "e", "f"}
    for name, mass in four["residual"].items():
        assert torch.equal(two["residual"][name], mass)
    with pytest.raises(AssertionError, match="saved by 4 ranks"):
        on_ranks(2, resumed, [state for _, state in on_ranks(4, resumed, None, 0, 1, 0)], 1, 1, 0)


def poisoned(rank: int, value: float) -> tuple[dict[str, Tensor], Any, Any, dict[str, Tensor]]:
    model = wrapped(SHAPES)
    state = register_onebit_hook(model, smallest=SMALLEST)
    for step in range(2):
        average_once(model, gradients(SHAPES, rank, step))
    before = state.state_dict()
    given = gradients(SHAPES, rank, 2)
    if rank == 1:
        given["e"][3, 5] = value
    bad = average_once(model, given)
    after = state.state_dict()
    return bad, before, after, average_once(model, gradients(SHAPES, rank, 3))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_value_that_is_not_finite_reaches_all_ranks_and_no_residual(value: float) -> None:
    for bad, before, after, good in on_ranks(3, poisoned, value):
        assert not bad["e"].isfinite().any()
        for name, kept in before["residual"].items():
            assert torch.equal(after["residual"][name], kept)
        assert all(value.isfinite().all() for value in good.values())


def scaled(rank: int) -> tuple[Tensor, Tensor, Tensor]:
    shapes = {"w": (64, 64)}
    model = wrapped(shapes)
    state = register_onebit_hook(model, smallest=1)
    average_once(model, gradients(shapes, rank, 0))
    before = state.state_dict()["residual"]["w"].clone()
    state.set_loss_scale(1024.0)
    after = state.state_dict()["residual"]["w"]
    given = {"w": 1024 * gradients(shapes, rank, 1)["w"]}
    return before, after, average_once(model, given)["w"] / 1024


def test_residuals_follow_the_loss_scale() -> None:
    for before, after, _ in on_ranks(2, scaled):
        assert torch.equal(after, 1024 * before)


def test_accumulated_gradients_are_averaged_once() -> None:
    for accumulated, whole in on_ranks(2, accumulate):
        torch.testing.assert_close(accumulated, whole, rtol=0, atol=0)


def accumulate(rank: int) -> tuple[Tensor, Tensor]:
    shapes = {"w": (64, 64)}
    first, second = gradients(shapes, rank, 0), gradients(shapes, rank, 1)
    found = []
    for together in (False, True):
        model = wrapped(shapes)
        register_onebit_hook(model, smallest=1)
        if together:
            model({"w": first["w"] + second["w"]}).backward()
        else:
            with model.no_sync():
                model(first).backward()
            model(second).backward()
        assert model.module.w.grad is not None
        found.append(model.module.w.grad.clone())
    return found[0], found[1]


def die(rank: int) -> str:
    model = wrapped(SHAPES)
    register_onebit_hook(model, smallest=SMALLEST)
    for step in range(2):  # at the second step DDP itself still agrees on new buckets
        average_once(model, gradients(SHAPES, rank, step))
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    begin = time.monotonic()
    try:
        average_once(model, gradients(SHAPES, rank, 2))
    except RuntimeError as error:
        return f"{time.monotonic() - begin:.0f} {error}"
    return "no error"


def test_survivors_name_the_rank_that_died() -> None:
    said = on_ranks(3, die, timeout=20, fresh=True)
    assert said[1] is None
    for sentence in (said[0], said[2]):
        assert "no answer of rank 1" in sentence
        assert "of the 1-bit exchange failed" in sentence
        assert float(sentence.split()[0]) < 40


def sleep(rank: int) -> str:
    model = wrapped(SHAPES)
    state = register_onebit_hook(model, smallest=SMALLEST)
    for step in range(2):
        average_once(model, gradients(SHAPES, rank, step))
    if rank == 1:
        time.sleep(14)
        return "slept"
    try:
        average_once(model, gradients(SHAPES, rank, 2))
    except RuntimeError as error:
        state.close()
        return str(error)
    return "no error"


@pytest.mark.slow
def test_survivors_name_the_rank_that_hangs_after_the_groups_own_timeout() -> None:
    said = on_ranks(3, sleep, timeout=4, fresh=True)
    assert said[1] == "slept"
    for sentence in (said[0], said[2]):
        assert "no answer of rank 1; restart the job from its last checkpoint" in sentence


def refused(rank: int) -> list[str]:
    def message(act: Any) -> str:
        try:
            act()
        except ValueError as error:
            return str(error)
        return "no error"

    model = wrapped({"w": (8, 8)})
    register_onebit_hook(model)
    return [
        message(lambda: register_onebit_hook(model)),
        message(lambda: register_onebit_hook(Given({"w": (8, 8)}))),  # type: ignore[arg-type]
        message(lambda: register_onebit_hook(wrapped({"w": (8, 8)}), warmup_steps=rank)),
        message(lambda: register_onebit_hook(wrapped({"w": (8, 8)}), delay=2)),
    ]


def test_bad_input_is_refused_by_name_on_every_rank() -> None:
    for twice, bare, settings, delay in on_ranks(2, refused):
        assert twice == "this model has the 1-bit hook already; DDP takes one hook only"
        assert "takes a model wrapped in DistributedDataParallel, got Given" in bare
        assert "rank 1 has other settings than rank 0" in settings
        assert "delay is 0 or 1, got 2" in delay
