from __future__ import annotations

import copy
import io
import itertools
import math
from typing import Any, cast

import pytest
import torch
from ludocast.models.stacked_rnn.sigmoid_rnn import Coordinates, SigmoidRNN, flattened
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence

from tests.models.stacked_rnn import loop

LENGTHS = {"packed": (7, 4, 1), "packed unsorted": (2, 7, 4)}
LAYOUTS = ("dense", "batch first", "unbatched", *LENGTHS)
BOTH: tuple[Coordinates, ...] = ("sigmoid", "tanh")
LIMIT = {torch.float64: 1e-10, torch.float32: 1e-6}


def made(coordinates: Coordinates = "sigmoid", dtype: torch.dtype = torch.float64, **options: Any) -> SigmoidRNN:
    torch.manual_seed(0)
    rnn = SigmoidRNN(3, 5, coordinates=coordinates, dtype=dtype, **options)
    with torch.no_grad():
        for p in rnn.parameters():  # large enough that units saturate in part
            p.uniform_(-1.5, 1.5) if coordinates == "sigmoid" else p.uniform_(-0.7, 0.7)
    return rnn


def lanes(layout: str, dtype: torch.dtype) -> list[Tensor]:
    lengths = LENGTHS.get(layout, (6, 6, 6))[: 1 if layout == "unbatched" else 3]
    return [torch.randn(T, 3, dtype=dtype, requires_grad=True) for T in lengths]


def by_module(rnn: SigmoidRNN, layout: str, x: list[Tensor], h0: Tensor | None) -> tuple[list[Tensor], Tensor]:
    """Outputs of each lane [T, D·H], last states [S, B, H]."""
    if layout == "unbatched":
        h, last = rnn(x[0], None if h0 is None else h0[:, 0])
        return [h], last.unsqueeze(1)
    if layout in LENGTHS:
        h, last = rnn(pack_sequence(x, enforce_sorted=layout == "packed"), h0)
        assert isinstance(h, PackedSequence)
        padded, lengths = pad_packed_sequence(h)
        return [padded[:T, i] for i, T in enumerate(lengths.tolist())], last
    dim = 0 if layout == "batch first" else 1
    h, last = rnn(torch.stack(x, dim), h0)
    return list(h.unbind(dim)), last


def error(found: Tensor, wanted: Tensor) -> float:
    """The largest difference relative to the largest entry."""
    found, wanted = found.detach().double(), wanted.detach()
    return float((found - wanted).abs().max() / wanted.abs().max().clamp_min(1e-30))


def errors(rnn: SigmoidRNN, layout: str, x: list[Tensor], h0: Tensor | None) -> dict[str, float]:
    """Of outputs, states, and the gradients of a random linear function of them with respect to everything."""
    directions = 2 if rnn.bidirectional else 1
    outputs, last = by_module(rnn, layout, x, h0)
    leaves = dict(rnn.named_parameters()) | {f"x{i}": lane for i, lane in enumerate(x)}
    leaves |= {} if h0 is None else {"h0": h0}
    exact = {name: leaf.detach().double().requires_grad_() for name, leaf in leaves.items()}
    weights = loop.equations(exact, rnn.coordinates, rnn.num_layers, directions)
    zero = torch.zeros(len(weights), len(x), rnn.hidden_size, dtype=torch.float64)
    slow = [loop.run(weights, exact[f"x{i}"], exact.get("h0", zero)[:, i], directions) for i in range(len(x))]
    pairs = [*zip(outputs, (h for h, _ in slow), strict=True), (last, torch.stack([end for _, end in slow], 1))]
    factors = [torch.randn(wanted.shape, dtype=last.dtype) for _, wanted in pairs]
    torch.autograd.backward(cast(Tensor, sum((found * f).sum() for (found, _), f in zip(pairs, factors, strict=True))))
    torch.autograd.backward(
        cast(Tensor, sum((wanted * f.double()).sum() for (_, wanted), f in zip(pairs, factors, strict=True)))
    )
    told = {"output": max(error(f, w) for f, w in pairs[:-1]), "last": error(*pairs[-1])}
    for name, leaf in leaves.items():
        ours, wanted = leaf.grad, exact[name].grad
        assert ours is not None, name
        assert wanted is not None
        told[name] = error(ours, wanted)
    return told


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("coordinates", BOTH)
def test_equals_the_loop_forward_and_backward(
    coordinates: Coordinates, layers: int, bidirectional: bool, layout: str
) -> None:
    for dtype, bias, given in itertools.product(LIMIT, (True, False), (True, False)):
        rnn = made(coordinates, dtype, num_layers=layers, bias=bias, bidirectional=bidirectional,
                   batch_first=layout == "batch first")  # fmt: skip
        x = lanes(layout, dtype)
        S = layers * (2 if bidirectional else 1)
        h0 = torch.rand(S, len(x), 5, dtype=dtype, requires_grad=True) if given else None
        found = errors(rnn, layout, x, h0)
        assert max(found.values()) <= LIMIT[dtype], (dtype, bias, given, found)
        with torch.no_grad():  # the path without gradients writes in place
            for ours, same in zip(
                by_module(rnn, layout, x, h0)[0], by_module(rnn.eval(), layout, x, h0)[0], strict=True
            ):
                torch.testing.assert_close(ours, same, rtol=0, atol=0)
            outputs, last = by_module(rnn, layout, x, h0)
        again, end = by_module(rnn, layout, x, h0)
        assert max(error(a, b.detach().double()) for a, b in zip(outputs, again, strict=True)) <= LIMIT[dtype]
        assert error(last, end.detach().double()) <= LIMIT[dtype]


@pytest.mark.parametrize("coordinates", BOTH)
def test_longer_sequences_of_a_usual_size_equal_the_loop(coordinates: Coordinates) -> None:
    torch.manual_seed(1)
    for dtype, limit in LIMIT.items():
        rnn = SigmoidRNN(16, 64, 2, coordinates=coordinates, dtype=dtype)
        x = [torch.randn(100, 16, dtype=dtype, requires_grad=True) for _ in range(2)]
        found = errors(rnn, "dense", x, None)
        assert max(found.values()) <= limit, (dtype, found)


def test_two_steps_by_hand() -> None:
    rnn = SigmoidRNN(1, 1, dtype=torch.float64)
    with torch.no_grad():
        for p, value in zip(rnn.parameters(), (2.0, -1.0, 0.3, 0.2), strict=True):
            p.fill_(value)
    h, last = rnn(torch.tensor([[1.0], [0.0]], dtype=torch.float64))
    first = 1 / (1 + math.exp(-2.5))  # W·1 + R·0 + b
    second = 1 / (1 + math.exp(first - 0.5))  # W·0 + R·first + b
    torch.testing.assert_close(h, torch.tensor([[first], [second]], dtype=torch.float64))
    torch.testing.assert_close(last, h[1:])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("coordinates", BOTH)
def test_dropout_acts_on_h_between_layers(coordinates: Coordinates, bidirectional: bool) -> None:
    rnn = made(coordinates, num_layers=3, dropout=0.4, bidirectional=bidirectional)
    D = 2 if bidirectional else 1
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    torch.manual_seed(7)
    h, last = rnn(x)
    torch.manual_seed(7)  # the masks that the module drew, layer by layer
    masks = [nn.functional.dropout(torch.ones(6, 4, D * 5, dtype=torch.float64), 0.4) for _ in range(2)]
    assert 0 < float((masks[0] == 0).double().mean()) < 1
    exact = {name: p.detach().clone().requires_grad_() for name, p in rnn.named_parameters()}
    weights = loop.equations(exact, coordinates, 3, D)
    zero = torch.zeros(3 * D, 5, dtype=torch.float64)
    slow = [loop.run(weights, x[:, i], zero, D, [mask[:, i] for mask in masks]) for i in range(4)]
    wanted = torch.stack([out for out, _ in slow], 1)
    assert error(h, wanted) <= 1e-10
    assert error(last, torch.stack([end for _, end in slow], 1)) <= 1e-10
    factor = torch.randn_like(h)
    torch.autograd.backward((h * factor).sum())
    torch.autograd.backward((wanted * factor).sum())
    for name, p in rnn.named_parameters():
        ours, theirs = p.grad, exact[name].grad
        assert ours is not None
        assert theirs is not None
        assert error(ours, theirs) <= 1e-10, name


def test_dropout_keeps_a_share_of_h_and_its_mean() -> None:
    # The upper layer passes what it reads through σ(W h): W = 1 on one unit tells each value that it read.
    rnn = SigmoidRNN(1, 1, 2, dropout=0.25, dtype=torch.float64)
    with torch.no_grad():
        for name, p in rnn.named_parameters():
            p.fill_(1.0 if name == "weight_ih_l1" else 0.0)
    h, _ = rnn(torch.zeros(1, 20_000, 1, dtype=torch.float64))
    read = torch.logit(h.detach()).flatten()  # below is h = σ(0) = ½, dropped to 0 or scaled to ½ / ¾
    dropped = read.abs() < 1e-9
    torch.testing.assert_close(read[~dropped], torch.full_like(read[~dropped], 2 / 3))
    assert float(dropped.double().mean()) == pytest.approx(0.25, abs=0.012)  # 4 standard deviations
    assert float(read.mean()) == pytest.approx(0.5, abs=0.0082)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_dropout_of_all_and_of_none(layout: str) -> None:
    batch_first = layout == "batch first"
    torch.manual_seed(3)
    x = [lane.detach() for lane in lanes(layout, torch.float64)]
    all_dropped = made(num_layers=2, dropout=1.0, batch_first=batch_first)
    blind = made(num_layers=2, batch_first=batch_first)
    with torch.no_grad():
        blind.get_parameter("weight_ih_l1").zero_()  # the upper layer reads 0 either way
    for ours, wanted in zip(
        by_module(all_dropped, layout, x, None)[0], by_module(blind, layout, x, None)[0], strict=True
    ):
        torch.testing.assert_close(ours, wanted)
    plain = made(num_layers=2, batch_first=batch_first)
    for ours, wanted in zip(
        by_module(all_dropped.eval(), layout, x, None)[0], by_module(plain, layout, x, None)[0], strict=True
    ):
        torch.testing.assert_close(ours, wanted)


@pytest.mark.parametrize(("bias", "bidirectional"), [(True, False), (True, True), (False, False)])
def test_coordinates_are_the_same_functions_there_and_back(bias: bool, bidirectional: bool) -> None:
    for dtype in LIMIT:
        sizes = {"num_layers": 3, "bias": bias, "bidirectional": bidirectional}
        one, other = made("sigmoid", dtype, **sizes), made("tanh", dtype, **sizes)
        x = torch.randn(8, 2, 3, dtype=dtype)
        assert not torch.allclose(one(x)[0], other(x)[0], atol=0.01)
        other.load_sigmoid_parameters(one.sigmoid_parameters())
        torch.testing.assert_close(one(x)[0], other(x)[0], rtol=0, atol=LIMIT[dtype])
        # From the tanh side to the equations and back: the same bits, in float32; in float64 nothing wider is at hand.
        before = copy.deepcopy(other.state_dict())
        made_of_it = other.sigmoid_parameters()
        with torch.no_grad():
            for p in other.parameters():
                p.fill_(9.0)
        other.load_sigmoid_parameters(made_of_it)
        for name, p in other.named_parameters():
            exact = dtype == torch.float32 or "weight" in name
            torch.testing.assert_close(p, before[name], rtol=0, atol=0 if exact else 1e-14, msg=name)
        # From the equations to the tanh side and back: weights the same bits, biases to the rounding of their sums.
        for name, tensor in one.sigmoid_parameters().items():
            atol = 0 if "weight" in name else 50 * torch.finfo(dtype).eps
            torch.testing.assert_close(made_of_it[name], tensor, rtol=0, atol=atol, msg=name)


def test_the_equations_parameters_are_the_parameters_and_copies() -> None:
    rnn = made()
    found = rnn.sigmoid_parameters()
    assert list(found) == list(rnn.state_dict())
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, rnn.state_dict()[name], rtol=0, atol=0)
        tensor.zero_()
    assert all(bool(p.any()) for p in rnn.parameters())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("coordinates", BOTH)
def test_the_tanh_parameters_drive_torchs_own_rnn(coordinates: Coordinates, bias: bool) -> None:
    rnn = made(coordinates, num_layers=2, bidirectional=True, bias=bias)
    plain = nn.RNN(3, 5, 2, bidirectional=True, dtype=torch.float64)
    plain.load_state_dict(rnn.tanh_parameters())
    x, h0 = torch.randn(4, 2, 3, dtype=torch.float64), torch.rand(4, 2, 5, dtype=torch.float64)
    g, last = plain(x, 2 * h0 - 1)
    torch.testing.assert_close(rnn(x, h0), (0.5 + 0.5 * g, 0.5 + 0.5 * last))


def test_wrong_parameters_of_the_equations_are_told_and_change_nothing() -> None:
    rnn = made()
    before = copy.deepcopy(rnn.state_dict())
    wrong = {"weight_ih_l0": torch.zeros(5, 4), "weight_hh_l0": torch.zeros(5, 5), "bias": torch.zeros(5)}
    with pytest.raises(
        ValueError, match=r"bias: wanted none.*bias_hh_l0.*weight_ih_l0: wanted \(5, 3\), came \(5, 4\)"
    ):
        rnn.load_sigmoid_parameters(wrong)
    for name, p in rnn.named_parameters():
        torch.testing.assert_close(p, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("coordinates", BOTH)
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_by_finite_differences(coordinates: Coordinates, bias: bool) -> None:
    torch.manual_seed(5)
    rnn = SigmoidRNN(2, 3, 2, bias=bias, bidirectional=True, coordinates=coordinates, dtype=torch.float64)
    names = [name for name, _ in rnn.named_parameters()]

    def function(x: Tensor, h0: Tensor, *parameters: Tensor) -> Any:
        return functional_call(rnn, dict(zip(names, parameters, strict=True)), (x, h0))

    x, h0 = torch.randn(3, 2, 2, dtype=torch.float64), torch.rand(4, 2, 3, dtype=torch.float64)
    inputs = [x, h0, *(p.detach().clone() for p in rnn.parameters())]
    assert torch.autograd.gradcheck(function, [tensor.requires_grad_() for tensor in inputs])
    if bias:
        assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("coordinates", BOTH)
def test_every_parameter_gets_a_gradient_as_ddp_wants(coordinates: Coordinates) -> None:
    rnn = made(coordinates, torch.float32, num_layers=2, bidirectional=True, dropout=0.2)
    rnn(torch.randn(4, 2, 3))[0].sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in rnn.parameters())


def test_state_dict_copies_and_pickles() -> None:
    plain = nn.RNN(3, 5, 2, bidirectional=True)
    rnn = SigmoidRNN(3, 5, 2, bidirectional=True, coordinates="tanh")
    rnn.load_state_dict(plain.state_dict())
    x = torch.randn(4, 2, 3)
    g, last = plain(x, torch.zeros(4, 2, 5))
    torch.testing.assert_close(rnn(x, torch.full((4, 2, 5), 0.5)), (0.5 + 0.5 * g, 0.5 + 0.5 * last))
    for kind in BOTH:
        one = made(kind, torch.float32, num_layers=2, bias=kind == "sigmoid").eval()
        with torch.no_grad():
            wanted = one(x)[0]
            buffer = io.BytesIO()
            torch.save(one, buffer)
            buffer.seek(0)
            for same in (copy.deepcopy(one), torch.load(buffer, weights_only=False)):
                torch.testing.assert_close(same(x)[0], wanted, rtol=0, atol=0)
                next(same.parameters()).zero_()  # a copy's parameters are its own
                assert not torch.equal(same(x)[0], wanted)
                torch.testing.assert_close(one(x)[0], wanted, rtol=0, atol=0)


def test_weights_for_cudnn_are_the_same_weights() -> None:
    rnn = made(num_layers=2, bidirectional=True, bias=False)
    weights = list(rnn.tanh_parameters().values())
    state = torch.get_rng_state()
    for ours, wanted in zip(flattened(rnn, weights), weights, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=0, atol=0)
        assert ours.data_ptr() != wanted.data_ptr()
    assert torch.equal(state, torch.get_rng_state())


def test_bad_arguments_are_told() -> None:
    with pytest.raises(ValueError, match="coordinates"):
        SigmoidRNN(3, 5, coordinates=cast(Coordinates, "logistic"))
    rnn = SigmoidRNN(3, 5)
    with pytest.raises(ValueError, match="2-D or 3-D"):
        rnn(torch.zeros(3))
    with pytest.raises(ValueError, match="dtype"):
        rnn(torch.zeros(2, 1, 3, dtype=torch.float64))
    for x, state in (
        ((2, 1, 4), None),
        ((0, 1, 3), None),
        ((2, 1, 3), (1, 5)),
        ((2, 1, 3), (1, 2, 5)),
        ((2, 3), (1, 1, 5)),
    ):
        with pytest.raises(RuntimeError):
            rnn(torch.zeros(x), None if state is None else torch.zeros(state))
    assert repr(rnn) == "SigmoidRNN(3, 5, coordinates=sigmoid)"
