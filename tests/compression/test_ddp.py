"""What DDP promises holds under the hook: whatever model and option, each average belongs to its parameter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ludocast.compression.hook import register_onebit_hook
from ludocast.compression.residuals import consolidate
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tests.compression.ranks import average_once, gradients, on_ranks, wrapped

SHAPES = {"a": (37, 91), "b": (91,), "c": (5, 7, 131), "e": (211, 17)}
Built = tuple[nn.Module, Callable[[torch.Generator], Tensor]]


def linear(frozen: bool = False) -> Built:
    network = nn.Sequential(nn.Linear(37, 53), nn.Tanh(), nn.Linear(53, 31))
    if frozen:
        network[0].weight.requires_grad_(False)
    return network, lambda generator: torch.randn(9, 37, generator=generator)


def channels_last() -> Built:
    network = nn.Sequential(nn.Conv2d(6, 14, 3), nn.ReLU(), nn.Conv2d(14, 10, 3)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network, lambda generator: torch.randn(3, 6, 9, 11, generator=generator).to(
        memory_format=torch.channels_last
    )


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(71, 29), nn.Linear(29, 71)
        self.head.weight = self.embed.weight

    def forward(self, index: Tensor) -> Any:
        return self.head(self.embed(index))


def indices(generator: torch.Generator) -> Tensor:
    return torch.randint(71, (13,), generator=generator)


class Mixed(nn.Module):
    """Three dtypes, and complex numbers."""

    def __init__(self) -> None:
        super().__init__()
        dtypes = (torch.float32, torch.bfloat16, torch.float64, torch.complex64)
        self.weights = nn.ParameterList([torch.randn(37, 41).to(dtype) for dtype in dtypes])

    def forward(self, x: Tensor) -> Tensor:
        found = [(weight * x.to(weight.dtype) * (1 + k)).abs().double().sum() for k, weight in enumerate(self.weights)]
        return torch.stack(found)


KINDS: dict[str, tuple[Callable[[], Built], dict[str, Any]]] = {
    "linear": (linear, {}),
    "frozen": (lambda: linear(frozen=True), {}),
    "bucket view": (linear, {"gradient_as_bucket_view": True}),
    "static graph": (linear, {"static_graph": True}),
    "channels last": (channels_last, {}),
    "tied": (lambda: (Tied(), indices), {}),
    "sparse": (lambda: (nn.Sequential(nn.Embedding(71, 29, sparse=True), nn.Linear(29, 47)), indices), {}),
    "mixed": (lambda: (Mixed(), lambda generator: torch.randn(37, 41, generator=generator)), {}),
}


def three_steps(rank: int, kind: str, hooked: bool) -> tuple[list[dict[str, Tensor]], list[Any]]:
    build, options = KINDS[kind]
    torch.manual_seed(0)
    network, data = build()
    model = DistributedDataParallel(network, bucket_cap_mb=0.01, **options)
    state = register_onebit_hook(model, smallest=500, row_length=100) if hooked else None
    found, states = [], []
    for step in range(3):
        model.zero_grad(set_to_none=step < 2)
        model(data(torch.Generator().manual_seed(10 * step + rank))).abs().mean().backward()
        grads = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}
        found.append({name: in_memory(grad.to_dense() if grad.is_sparse else grad) for name, grad in grads.items()})
        states.append(None if state is None else state.state_dict())
    if state is not None:
        state.close()
    return found, states


def in_memory(x: Tensor) -> Tensor:
    """The elements in the order in which they lie; two of a complex one, as in DDP's buckets."""
    if x.is_complex():
        x = torch.view_as_real(x)
    return torch.as_strided(x, (x.numel(),), (1,)).clone()


@pytest.mark.parametrize("kind", KINDS)
def test_each_average_and_what_is_kept_is_plain_ddps_average(kind: str) -> None:
    plain = on_ranks(2, three_steps, kind, False)[0][0]
    ranks = on_ranks(2, three_steps, kind, True)
    before: dict[str, Tensor] = {}
    for step in range(3):
        averaged, other = (found[step] for found, _ in ranks)
        after = consolidate([states[step] for _, states in ranks])["residual"]
        assert averaged.keys() == plain[step].keys() == other.keys()
        for name, average in averaged.items():
            assert torch.equal(average, other[name])
            assert average.dtype == plain[step][name].dtype
            wanted = plain[step][name].double() + before.get(name, torch.zeros(()))
            rounding = 2.0**-7 if average.dtype == torch.bfloat16 else 1e-6
            allowed = rounding * (wanted.abs() + average.abs()) + 1e-6 * wanted.abs().max()
            assert bool(((average.double() + after.get(name, torch.zeros(())) - wanted).abs() <= allowed).all()), name
        before = after
    compressed = {"sparse": {"1.weight"}, "frozen": {"2.weight"}, "mixed": {"weights.0", "weights.1", "weights.3"}}
    big = {name for name, value in plain[0].items() if value.numel() >= 500}
    assert set(before) == compressed.get(kind, big)


def unused(rank: int, hooked: bool) -> tuple[list[dict[str, Tensor]], list[Any]]:
    model = wrapped(SHAPES, 0.02, find_unused_parameters=True)
    state = register_onebit_hook(model, smallest=1_000, row_length=256) if hooked else None
    found, states = [], []
    for step in range(4):
        given = gradients(SHAPES, rank, step)
        if step in (1, 2):
            del given["a"]  # on every rank
            if rank != 1:
                del given["e"]
        found.append(average_once(model, given))
        states.append(None if state is None else state.state_dict())
    if state is not None:
        state.close()
    return found, states


def test_what_is_unused_stays_without_gradient_and_its_residual_waits() -> None:
    plain = on_ranks(3, unused, False)
    ranks = on_ranks(3, unused, True)
    before = {name: torch.zeros(()).double() for name in SHAPES}
    for step in range(4):
        after = consolidate([states[step] for _, states in ranks])["residual"]
        for rank in range(3):
            averaged, wanted = ranks[rank][0][step], plain[rank][0][step]
            assert set(averaged) == set(wanted) == (set(SHAPES) - {"a"} if step in (1, 2) else set(SHAPES))
            for name, average in averaged.items():
                left = after.get(name, torch.zeros(average.numel())).double().view_as(average)
                torch.testing.assert_close(
                    average.double() + left, wanted[name].double() + before[name], rtol=0, atol=3e-6
                )
        if step in (1, 2):
            torch.testing.assert_close(after["a"].view(SHAPES["a"]).double(), before["a"], rtol=1e-6, atol=1e-6)
        before |= {name: value.double().view(SHAPES[name]) for name, value in after.items()}


def uneven(rank: int, delay: int) -> tuple[dict[str, Tensor], Any, int]:
    model = wrapped(SHAPES, 0.02)
    state = register_onebit_hook(model, smallest=1_000, row_length=256, delay=delay)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with model.join():
        for step in range(3 + 2 * rank):
            optimizer.zero_grad()
            model(gradients(SHAPES, rank, step)).backward()
            optimizer.step()
    saved = state.state_dict()
    state.close()
    return {name: value.detach().clone() for name, value in model.module.named_parameters()}, saved, state.step


@pytest.mark.parametrize("delay", [0, 1])
def test_uneven_batches_lose_nothing(delay: int) -> None:
    ranks = on_ranks(3, uneven, delay)
    assert [steps for _, _, steps in ranks] == [7, 7, 7]
    whole = consolidate([saved for _, saved, _ in ranks])
    for name, shape in SHAPES.items():
        for parameters, _, _ in ranks[1:]:
            assert torch.equal(parameters[name], ranks[0][0][name])
        given = (
            sum(gradients(SHAPES, rank, step)[name].double() for rank in range(3) for step in range(3 + 2 * rank)) / 3
        )
        left = sum(whole[part][name].double().view(shape) for part in ("residual", "late") if name in whole[part])
        # SGD with a rate of 1 from zero: minus the parameters is the sum of all averages.
        torch.testing.assert_close(left - ranks[0][0][name].double(), given, rtol=0, atol=1e-5)


def clipped(rank: int) -> tuple[Tensor, list[Tensor]]:
    model = wrapped(SHAPES, 0.02)
    state = register_onebit_hook(model, smallest=1_000)
    average_once(model, gradients(SHAPES, rank, 0))
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    state.close()
    return norm, [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_clipping_is_the_same_on_all_ranks() -> None:
    (norm, first), *others = on_ranks(3, clipped)
    assert float(norm) > 1
    assert float(torch.cat([x.flatten() for x in first]).norm()) == pytest.approx(1.0, rel=1e-4)
    for other_norm, other in others:
        assert torch.equal(other_norm, norm)
        assert all(torch.equal(x, y) for x, y in zip(first, other, strict=True))


def learn(rank: int) -> tuple[float, float]:
    torch.manual_seed(0)
    x = torch.randn(200, 40)
    y = torch.tanh(x[:, :1] - 0.5 * x[:, 1:2])
    model = DistributedDataParallel(nn.Sequential(nn.Linear(40, 50), nn.Tanh(), nn.Linear(50, 1)))
    state = register_onebit_hook(model, warmup_steps=2, smallest=1_000)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 60)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x[rank::2]), y[rank::2]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        falling.step()
        with torch.no_grad():
            losses.append(float(nn.functional.mse_loss(model.module(x), y)))
    state.close()
    return losses[0], losses[-1]


def test_it_learns_while_the_rate_falls() -> None:
    (first, last), other = on_ranks(2, learn)
    assert (first, last) == other
    assert last < 0.3 * first
