from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from ludocast.models.stacked_rnn.recurrent import KINDS, Kind, State, detach_state, recurrent, reset_lanes
from ludocast.models.stacked_rnn.sigmoid_rnn import SigmoidRNN
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

ALL = pytest.mark.parametrize("kind", KINDS)


def parts(state: State) -> list[Tensor]:
    assert state is not None
    return [state] if isinstance(state, Tensor) else list(state)


def made(kind: Kind, **options: Any) -> nn.RNNBase:
    torch.manual_seed(0)
    return recurrent(kind, 3, 4, 2, **options).double()


@ALL
@pytest.mark.parametrize("cut", [1, 4, 8])
def test_the_state_carries_a_sequence_over_a_cut(kind: Kind, cut: int) -> None:
    rnn = made(kind)
    x = torch.randn(9, 2, 3, dtype=torch.float64)
    whole, end = rnn(x)
    first, state = rnn(x[:cut])
    second, last = rnn(x[cut:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    for ours, wanted in zip(parts(last), parts(end), strict=True):
        torch.testing.assert_close(ours, wanted)


@ALL
def test_detaching_keeps_the_numbers_and_cuts_the_gradient(kind: Kind) -> None:
    rnn = made(kind)
    x = torch.randn(6, 2, 3, dtype=torch.float64, requires_grad=True)
    _, state = rnn(x[:3])
    cut = detach_state(state)
    for ours, wanted in zip(parts(cut), parts(state), strict=True):
        assert torch.equal(ours, wanted)
    rnn(x[3:], cut)[0].sum().backward()
    assert x.grad is not None
    assert not x.grad[:3].any()
    assert bool(x.grad[3:].all())


@ALL
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_lane_that_is_reset_begins_anew_and_others_go_on(kind: Kind, bidirectional: bool) -> None:
    rnn = made(kind, bidirectional=bidirectional, batch_first=True)
    x = torch.randn(3, 7, 3, dtype=torch.float64, requires_grad=True)
    y = torch.randn(3, 5, 3, dtype=torch.float64)
    packed = pack_padded_sequence(x, torch.tensor([2, 7, 4]), batch_first=True, enforce_sorted=False)
    _, state = rnn(packed)
    before = [part.clone() for part in parts(state)]
    found, _ = rnn(y, reset_lanes(state, torch.tensor([True, False, True])))
    anew, _ = rnn(y)
    on, _ = rnn(y, state)
    torch.testing.assert_close(found, torch.stack([anew[0], on[1], anew[2]]))
    assert not torch.allclose(found[0], on[0])
    for part, kept in zip(parts(state), before, strict=True):
        assert torch.equal(part, kept), "the given state must not change"
    found.sum().backward()
    assert x.grad is not None
    assert not x.grad[[0, 2]].any(), "no gradient through a reset"
    assert bool(x.grad[1].any())


@ALL
def test_dense_and_packed_have_one_interface(kind: Kind) -> None:
    rnn = made(kind)
    x = torch.randn(5, 3, 3, dtype=torch.float64)
    dense, end = rnn(x)
    output, last = rnn(pack_padded_sequence(x, torch.tensor([5, 5, 5])))
    torch.testing.assert_close(pad_packed_sequence(output)[0], dense)
    assert isinstance(end, tuple) == (kind == "lstm")
    for ours, wanted in zip(parts(last), parts(end), strict=True):
        torch.testing.assert_close(ours, wanted)


def test_before_the_first_step_there_is_nothing_to_change() -> None:
    assert detach_state(None) is None
    assert reset_lanes(None, torch.tensor([True])) is None


def test_kinds_by_name() -> None:
    assert [type(recurrent(kind, 2, 3)) for kind in KINDS] == [SigmoidRNN, nn.RNN, nn.GRU, nn.LSTM]
    rnn = recurrent("sigmoid", 2, 3)
    assert isinstance(rnn, SigmoidRNN)
    assert rnn.coordinates == "tanh"
    rnn = recurrent(
        "sigmoid", 2, 3, 2, bias=False, batch_first=True, dropout=0.1, bidirectional=True, coordinates="sigmoid"
    )
    assert repr(rnn) == (
        "SigmoidRNN(2, 3, num_layers=2, bias=False, batch_first=True, dropout=0.1, bidirectional=True, coordinates=sigmoid)"
    )
    plain = recurrent("tanh", 2, 3)
    assert isinstance(plain, nn.RNN)
    assert plain.nonlinearity == "tanh"


def test_bad_arguments_are_told() -> None:
    with pytest.raises(ValueError, match="sigmoid, tanh, gru, lstm"):
        recurrent(cast(Kind, "rnn"), 2, 3)
    with pytest.raises(ValueError, match="coordinates"):
        recurrent("gru", 2, 3, coordinates="tanh")
    state = torch.zeros(2, 3, 4)
    for which in (torch.tensor([1, 0, 1]), torch.tensor([True, False]), torch.tensor(True)):
        with pytest.raises(ValueError, match="one bool a lane"):
            reset_lanes(state, which)
    with pytest.raises(ValueError, match="one bool a lane"):
        reset_lanes(torch.zeros(2, 4), torch.tensor([True, False]))
