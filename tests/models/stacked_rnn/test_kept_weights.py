from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ludocast.models.stacked_rnn.sigmoid_rnn import Coordinates, SigmoidRNN
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrizations, vector_to_parameters

X = torch.randn(4, 2, 5, generator=torch.Generator().manual_seed(0))
Change = Callable[[SigmoidRNN], Any]


def out(rnn: SigmoidRNN, gradient: bool = False) -> Tensor:
    with torch.set_grad_enabled(gradient):
        h: Tensor = rnn(X.to(next(rnn.parameters()).dtype))[0]
        return h.detach()


def step(make: Callable[..., torch.optim.Optimizer], **options: Any) -> Change:
    def change(rnn: SigmoidRNN) -> None:
        rnn(X)[0].square().sum().backward()
        make(rnn.parameters(), lr=0.1, **options).step()

    return change


def in_place(rnn: SigmoidRNN) -> None:
    with torch.no_grad():
        rnn.get_parameter("bias_hh_l1").add_(0.3)


def in_a_view(rnn: SigmoidRNN) -> None:
    rnn.get_parameter("weight_hh_l0").detach()[0].mul_(3)  # shares the parameter's version counter


def other_parameter(rnn: SigmoidRNN) -> None:
    rnn.weight_ih_l0 = nn.Parameter(torch.full((5, 5), 0.2))


def other_data(rnn: SigmoidRNN) -> None:
    rnn.get_parameter("weight_ih_l1").data = torch.full((5, 5), 0.1)


def turned(rnn: SigmoidRNN) -> None:
    rnn.get_parameter("weight_hh_l0").data = rnn.get_parameter("weight_hh_l0").data.t()


def by_data_in_training(rnn: SigmoidRNN) -> None:
    rnn.train()
    rnn.get_parameter("bias_ih_l0").data.add_(0.5)
    rnn.eval()


def by_data_then_eval(rnn: SigmoidRNN) -> None:
    rnn.get_parameter("bias_ih_l0").data.add_(0.5)
    rnn.eval()


def loaded(assign: bool) -> Change:
    def change(rnn: SigmoidRNN) -> None:
        rnn.load_state_dict({k: v + 0.1 for k, v in rnn.state_dict().items()}, assign=assign)

    return change


CHANGES: dict[str, Change] = {
    "sgd": step(torch.optim.SGD),
    "sgd, a tensor at a time": step(torch.optim.SGD, foreach=False),
    "adam": step(torch.optim.Adam, foreach=True),
    "fused adam": step(torch.optim.AdamW, fused=True),
    "load_state_dict": loaded(assign=False),
    "load_state_dict, assigned": loaded(assign=True),
    "other coordinates": lambda rnn: rnn.load_sigmoid_parameters(SigmoidRNN(5, 5, 2).sigmoid_parameters()),
    "reset": lambda rnn: rnn.reset_parameters(),
    "bfloat16 and back": lambda rnn: rnn.bfloat16().float(),
    "double": lambda rnn: rnn.double(),
    "in place": in_place,
    "in a view": in_a_view,
    "another parameter": other_parameter,
    "other data": other_data,
    "transposed data": turned,
    "by .data in training": by_data_in_training,
    "by .data, then eval": by_data_then_eval,
}


@pytest.mark.parametrize("name", CHANGES)
def test_kept_weights_follow_every_change(name: str) -> None:
    torch.manual_seed(0)
    rnn = SigmoidRNN(5, 5, 2).eval()
    before = out(rnn)
    CHANGES[name](rnn)
    after = out(rnn)
    fresh = SigmoidRNN(5, 5, 2, dtype=rnn.get_parameter("weight_hh_l0").dtype).eval()
    fresh.load_state_dict(rnn.state_dict())
    torch.testing.assert_close(after, out(fresh), rtol=0, atol=1e-6)
    torch.testing.assert_close(after, out(fresh, gradient=True), rtol=0, atol=1e-6)
    assert before.dtype != after.dtype or float((before - after).abs().max()) > 1e-4


def test_weights_are_kept_as_long_as_nothing_changes() -> None:
    for options in ({}, {"coordinates": "tanh", "bias": False}):
        rnn = SigmoidRNN(5, 5, 2, **options).eval()  # type: ignore[arg-type]
        wanted = out(rnn, gradient=True)
        assert rnn._kept is None, "weights with a gradient must not be kept"
        torch.testing.assert_close(out(rnn), wanted)
        kept = rnn._kept
        assert kept is not None
        torch.testing.assert_close(out(rnn), wanted)
        assert rnn._kept is kept
        rnn.train()
        assert rnn._kept is None
        out(rnn)
        assert rnn._kept is None, "in training nothing is kept"


def test_new_memory_cannot_be_taken_for_the_old() -> None:
    # A new parameter at a freed one's address, with its version, would look the same: the old memory is held on to.
    rnn = SigmoidRNN(5, 5).eval()
    out(rnn)
    old = [p.data_ptr() for p in rnn.parameters()]
    for name in dict(rnn.named_parameters()):
        setattr(rnn, name, nn.Parameter(torch.ones_like(rnn.get_parameter(name))))
    assert rnn._kept is not None
    assert [tensor.data_ptr() for tensor in rnn._kept[1]] == old
    torch.testing.assert_close(out(rnn), out(copy.deepcopy(rnn)), rtol=0, atol=0)


def test_evolution_by_vectors() -> None:
    torch.manual_seed(1)
    rnn = SigmoidRNN(5, 5, 2).eval()
    count = sum(p.numel() for p in rnn.parameters())
    for _ in range(5):
        vector_to_parameters(torch.randn(count), rnn.parameters())
        torch.testing.assert_close(out(rnn), out(rnn, gradient=True), rtol=0, atol=1e-6)


@pytest.mark.parametrize("coordinates", ["sigmoid", "tanh"])
def test_parameters_from_outside(coordinates: Coordinates) -> None:
    rnn = SigmoidRNN(5, 5, coordinates=coordinates).eval()
    out(rnn)
    other = SigmoidRNN(5, 5, coordinates=coordinates).eval()
    with torch.no_grad():
        theirs = functional_call(rnn, dict(other.named_parameters()), (X,))[0]
        torch.testing.assert_close(theirs, other(X)[0], rtol=0, atol=0)
        torch.testing.assert_close(out(rnn), out(copy.deepcopy(rnn)), rtol=0, atol=0)


@pytest.mark.parametrize("coordinates", ["sigmoid", "tanh"])
def test_torchs_transforms(coordinates: Coordinates) -> None:
    rnn = SigmoidRNN(5, 5, coordinates=coordinates).eval()
    out(rnn)
    parameters = dict(rnn.named_parameters())
    rnn(X)[0].sum().backward()
    for name, gradient in torch.func.grad(lambda p: functional_call(rnn, p, (X,))[0].sum())(parameters).items():
        torch.testing.assert_close(gradient, parameters[name].grad)
    direction = torch.ones_like(X)
    wanted = torch.func.jvp(lambda x: rnn(x)[0], (X,), (direction,))[1]
    torch.testing.assert_close(wanted, (rnn(X + 1e-2)[0] - rnn(X - 1e-2)[0]).detach() / 2e-2, rtol=0, atol=1e-3)
    with torch.no_grad():
        torch.testing.assert_close(torch.func.jvp(lambda x: rnn(x)[0], (X,), (direction,))[1], wanted)


def test_inference_mode_and_weight_norm() -> None:
    torch.manual_seed(2)
    with torch.inference_mode():
        rnn = SigmoidRNN(5, 5).eval()  # its parameters have no version counter
        h = rnn(X)[0]
        rnn.get_parameter("weight_hh_l0").add_(0.5)
        assert not torch.allclose(rnn(X)[0], h)
    plain = SigmoidRNN(5, 5).eval()
    with torch.inference_mode():
        kept = plain(X)[0].clone()
    torch.testing.assert_close(out(plain), kept)
    normed = parametrizations.weight_norm(SigmoidRNN(5, 5), "weight_hh_l0").eval()
    h = out(normed)
    with torch.no_grad():
        normed.parametrizations.weight_hh_l0.original0.mul_(2)
    assert not torch.allclose(out(normed), h)
    torch.testing.assert_close(out(normed), out(normed, gradient=True))
