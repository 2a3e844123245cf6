"""The network: padding changes nothing, neighbours by hand, sigmoid layers' head, what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from ludocast.models.sequence.network import NetworkSettings, SequenceNetwork, last_real, neighbours
from ludocast.models.stacked_rnn.recurrent import KINDS, Kind
from torch import nn

SETTINGS = NetworkSettings("gru", hidden=7, layers=2, embedding=4, dropout=0.0)
LENGTHS = torch.tensor([5, 2, 3])


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    real = torch.arange(5) < LENGTHS[:, None]
    return torch.randint(2, 9, (3, 5)) * real, torch.randn(3, 5, 2) * real[..., None]


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("both", [False, True])
def test_a_padded_batch_says_what_each_sequence_alone_says(kind: Kind, both: bool) -> None:
    settings = replace(SETTINGS, kind=kind)
    network = SequenceNetwork(settings, 9, 2, 3, window=1, is_bidirectional=both).eval()
    token, numbers = inputs()
    found, _ = network(token, numbers, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone, _ = network(token[row : row + 1, :length], numbers[row : row + 1, :length], LENGTHS[row : row + 1])
        torch.testing.assert_close(found[row, :length], alone[0], atol=1e-6, rtol=1e-5)


def test_the_last_head_reads_the_last_real_step_and_the_columns() -> None:
    network = SequenceNetwork(SETTINGS, 9, 2, 1, head="last", columns=2).eval()
    token, numbers = inputs()
    columns = torch.randn(3, 2)
    found, _ = network(token, numbers, LENGTHS, columns_BD=columns)
    for row, length in enumerate(LENGTHS.tolist()):
        assert network.embedding is not None
        x = torch.cat([network.embedding(token[row, :length]), numbers[row, :length]], -1)
        h, _ = network.stack(x)
        assert isinstance(network.head, nn.Linear)
        alone = network.head.weight @ torch.cat([h[-1], columns[row]]) + network.head.bias
        torch.testing.assert_close(found[row], alone, atol=1e-6, rtol=1e-5)
    h = torch.arange(6.0).reshape(2, 3, 1)
    assert last_real(h, torch.tensor([3, 1])).tolist() == [[2.0], [3.0]]


def test_neighbours_by_hand() -> None:
    x = torch.tensor([[[1.0], [2.0], [3.0]]])
    assert neighbours(x, 1).tolist() == [[[0, 1, 2], [1, 2, 3], [2, 3, 0]]]
    assert neighbours(x, 0) is x


def test_the_head_of_sigmoid_layers_reads_centred_units() -> None:
    network = SequenceNetwork(replace(SETTINGS, kind="sigmoid"), 9, 2, 3).eval()
    token, numbers = inputs()
    found, _ = network(token, numbers, LENGTHS)
    assert network.embedding is not None
    h, _ = network.stack(torch.cat([network.embedding(token), numbers], -1))
    torch.testing.assert_close(found, (2 * h - 1) @ network.head.weight.T + network.head.bias)


@pytest.mark.parametrize("kind", list(KINDS))
def test_chunks_with_the_state_carried_say_what_the_uncut_sequence_says(kind: Kind) -> None:
    network = SequenceNetwork(replace(SETTINGS, kind=kind), 9, 0, 3).double().eval()
    token = torch.randint(2, 9, (3, 11))
    whole, _ = network(token, None, torch.full((3,), 11))
    state, parts = None, []
    for part in torch.split(token, 4, dim=1):
        logits, state = network(part, None, torch.full((3,), part.shape[1]), state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-12, rtol=0)


def test_tied_weights_are_one_tensor_and_get_both_gradients() -> None:
    network = SequenceNetwork(SETTINGS, 9, 0, 9, is_tied=True)
    assert network.embedding is not None
    assert network.head.weight is network.embedding.weight
    logits, _ = network(torch.tensor([[2, 3]]), None, torch.tensor([2]))
    logits[0, 1, 8].backward()
    grad = network.embedding.weight.grad
    assert grad is not None
    # Row 8 as an output alone; rows 2 and 3 as inputs alone; no other has a part in it.
    assert [bool(row.any()) for row in grad] == [k in (2, 3, 8) for k in range(9)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tokens": 0, "numbers": 0}, "a token or a number"),
        ({"window": -1}, "window"),
        ({"is_tied": True}, "as many outputs as tokens"),
        ({"head": "last", "is_bidirectional": True}, "forwards alone"),
        ({"columns": 1}, 'head "last"'),
    ],
)
def test_what_contradicts_itself_is_refused(options: dict[str, object], said: str) -> None:
    arguments: dict[str, object] = {"tokens": 9, "numbers": 0, "outputs": 3} | options
    with pytest.raises(ValueError, match=said):
        SequenceNetwork(SETTINGS, **arguments)  # type: ignore[arg-type]


def test_neighbours_and_both_directions_take_no_state() -> None:
    network = SequenceNetwork(SETTINGS, 9, 0, 3, window=1)
    with pytest.raises(ValueError, match="whole sequences"):
        network(torch.tensor([[2]]), None, torch.tensor([1]), torch.zeros(2, 1, 7))
