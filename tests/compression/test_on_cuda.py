"""The Triton kernels compiled, and the hook, on a CUDA device, held against the CPU's kernels."""

from __future__ import annotations

import copy
import importlib.util
from typing import Any

import numpy as np
import pytest
import torch
from ludocast.compression.hook import register_onebit_hook
from ludocast.compression.quantise import Message, Steps, decode, learn, quantise
from ludocast.compression.rows import Rows
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from tests.compression.ranks import Given, average_once, gradients, on_ranks
from tests.compression.test_hook import SHAPES, SMALLEST, check_nothing_is_lost

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or importlib.util.find_spec("triton") is None,
    reason="needs a CUDA device and triton",
)
ROWS = Rows.of_parameters([(40, 1000), (2, 2049), (1,), (16,), (7,)], [0, 40_000, 44_100, 44_110, 44_127])


def on_device(steps: Steps, rows: Rows) -> Steps:
    copied = Steps(rows, "cuda")
    for name in ("step", "means", "next_means"):
        getattr(copied, name).copy_(getattr(steps, name))
    return copied


def any_steps(draw: np.random.Generator, rows: Rows) -> Steps:
    """Any levels and last signs; every second row known from before."""
    steps = Steps(rows)
    steps.step.copy_(torch.from_numpy(draw.integers(0, 256, len(steps.step), dtype=np.uint8)))
    steps.means.copy_(torch.from_numpy(draw.uniform(1, 127, (len(rows), 3)) * (np.arange(len(rows)) % 2 == 0)[:, None]))
    return steps


@pytest.mark.parametrize("case", range(12))
def test_the_device_writes_what_the_cpu_writes(case: int) -> None:
    torch.manual_seed(case)
    draw = np.random.default_rng(case)
    scale = (1.0, 1e-3, 1e-39, 1e38)[case % 4]
    g, e = torch.randn(ROWS.span) * scale, torch.randn(ROWS.span) * 0.3 * scale
    if case % 3 == 2 and scale > 1e-30:
        g = g.bfloat16()
    received = []
    for _ in range(case // 4):
        one, its = Message(ROWS), any_steps(draw, ROWS)
        assert quantise(torch.randn(ROWS.span) * min(scale, 1e37), e * 0.1, torch.zeros_like(e), ROWS, one, its)
        received.append((one, its))
    steps = any_steps(draw, ROWS)
    here, after = Message(ROWS), torch.full_like(e, 7)
    fine = quantise(g, e, after, ROWS, here, steps, received)
    there, other = Message(ROWS, device="cuda"), torch.full_like(e, 7).cuda()
    theirs = on_device(steps, ROWS)
    got = [(Message(ROWS, one.buffer.cuda()), on_device(its, ROWS)) for one, its in received]
    assert quantise(g.cuda(), e.cuda(), other, ROWS, there, theirs, got) == fine
    if not fine:
        return
    assert torch.equal(there.bits.cpu(), here.bits)
    torch.testing.assert_close(theirs.next_means.cpu(), steps.next_means, rtol=1e-5, atol=0)
    # Of rows known from before no order of summation enters the value: equal to the bit.
    assert torch.equal(there.values.cpu()[::2], here.values[::2])
    assert torch.equal(there.exponents.cpu()[::2], here.exponents[::2])
    coded = torch.cat([torch.arange(8 * b, 8 * b + n) for b, n in zip(ROWS.byte, ROWS.length, strict=True)])
    inside = torch.cat([torch.arange(s, s + n) for s, n in zip(ROWS.start, ROWS.length, strict=True)])
    sent = Message(ROWS, there.buffer.cpu())
    for factor, accumulate, learning in ((1.0, False, True), (1 / 3, True, False)):
        wanted, found = torch.ones(ROWS.span), torch.ones(ROWS.span).cuda()
        ours, on_gpu = copy.deepcopy(steps), on_device(steps, ROWS)
        decode(sent, ROWS, wanted, factor, accumulate, ours, learning)
        decode(there, ROWS, found, factor, accumulate, on_gpu, learning)
        assert torch.equal(found.cpu(), wanted)
        assert torch.equal(on_gpu.step.cpu()[coded], ours.step[coded])
        if factor == 1:
            c = g.float()
            for message, known in received:
                decode(message, ROWS, c, accumulate=True, steps=known)
            assert torch.equal(other.cpu()[inside], (c + e - wanted)[inside])
    learn(there, ROWS, theirs)
    learn(sent, ROWS, steps)
    assert torch.equal(theirs.step.cpu()[coded], steps.step[coded])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("position", [0, 17, 999, 40_003, 44_100, 44_125, 44_133])
def test_what_is_not_finite_is_seen_wherever_it_is(bad: float, position: int) -> None:
    g, e = torch.randn(ROWS.span, device="cuda"), torch.zeros(ROWS.span, device="cuda")
    message, after = Message(ROWS, device="cuda"), torch.zeros(ROWS.span, device="cuda")
    assert quantise(g, e, after, ROWS, message, Steps(ROWS, "cuda"))
    g[position] = bad
    assert not quantise(g, e, after, ROWS, message, Steps(ROWS, "cuda"))


def follow(rank: int, steps: int, delay: int) -> list[dict[str, Any]]:
    torch.cuda.set_device(0)
    model = DistributedDataParallel(Given(SHAPES).cuda(), device_ids=[0], bucket_cap_mb=0.02)
    state = register_onebit_hook(model, smallest=SMALLEST, row_length=256, delay=delay)
    found = []
    for step in range(steps):
        given = gradients(SHAPES, rank, step)
        averaged = average_once(model, {name: tensor.cuda() for name, tensor in given.items()})
        found.append(
            {"given": given, "averaged": {n: t.cpu() for n, t in averaged.items()}, **on_cpu(state.state_dict())}
        )
    return found


def on_cpu(saved: Any) -> Any:
    if isinstance(saved, Tensor):
        return saved.cpu()
    return {key: on_cpu(value) for key, value in saved.items()} if isinstance(saved, dict) else saved


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_that_share_a_device_lose_nothing_and_agree(ranks: int) -> None:
    check_nothing_is_lost(on_ranks(ranks, follow, 4, 0, fresh=True))


def test_with_a_delay_an_average_comes_one_step_late_on_the_device_too() -> None:
    prompt, late = (on_ranks(2, follow, 5, delay, fresh=True)[0] for delay in (0, 1))
    for name in SHAPES:
        assert not late[0]["averaged"][name].any()
        for step in range(1, 5):
            assert torch.equal(late[step]["averaged"][name], prompt[step - 1]["averaged"][name]), name
