"""The recurrent layers by name, all with one interface, and what truncated back-propagation does with their states."""

# B lanes, H hidden units, S = layers · directions states

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from ludocast.models.stacked_rnn.sigmoid_rnn import Coordinates, SigmoidRNN
from torch import Tensor, nn

Kind = Literal["sigmoid", "tanh", "gru", "lstm"]
State = Tensor | tuple[Tensor, Tensor] | None  # [S, B, H]; the LSTM has two; None before the first step

KINDS: dict[Kind, Callable[..., nn.RNNBase]] = {"sigmoid": SigmoidRNN, "tanh": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def recurrent(
    kind: Kind,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    bias: bool = True,
    batch_first: bool = False,
    dropout: float = 0.0,
    bidirectional: bool = False,
    coordinates: Coordinates | None = None,
) -> nn.RNNBase:
    """Make a stack whose `forward(x, state)` returns (output, state).

    Args:
        kind: A name of `KINDS`.
        input_size: As of `torch.nn.RNN`, like all that follow up to `bidirectional`.
        hidden_size: H.
        num_layers: Layers.
        bias: Whether there are biases.
        batch_first: Whether dense sequences are [B, T, …].
        dropout: Between layers, in training.
        bidirectional: Whether a second stack reads backwards.
        coordinates: Of kind "sigmoid" alone; None for "tanh", which trains better.

    Raises:
        ValueError: If the kind is unknown, or coordinates are given for another kind than "sigmoid".
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, however: kind={kind!r}")
    if kind != "sigmoid" and coordinates is not None:
        raise ValueError(f'only kind="sigmoid" has coordinates, however: kind={kind!r}, coordinates={coordinates!r}')
    own = {"coordinates": "tanh" if coordinates is None else coordinates} if kind == "sigmoid" else {}
    return KINDS[kind](
        input_size, hidden_size, num_layers=num_layers, bias=bias, batch_first=batch_first, dropout=dropout,
        bidirectional=bidirectional, **own,
    )  # fmt: skip


def _each(state: State, change: Callable[[Tensor], Tensor]) -> State:
    if state is None:
        return None
    if isinstance(state, Tensor):
        return change(state)
    first, second = state
    return change(first), change(second)


def detach_state(state: State) -> State:
    """The same numbers, through which no gradient flows: where truncated back-propagation cuts."""
    return _each(state, Tensor.detach)


def reset_lanes(state: State, which_B: Tensor) -> State:
    """A state that some lanes begin anew from: 0 for all kinds (of the sigmoid RNN, h = 0); others keep theirs.

    Args:
        state: Of all lanes; of packed sequences too, whose states come in the lanes' own order.
        which_B: bool, True where a new sequence begins.

    Raises:
        ValueError: If `which_B` is not one bool a lane.
    """

    def reset(part_SBH: Tensor) -> Tensor:
        if which_B.dtype != torch.bool or part_SBH.dim() != 3 or which_B.shape != part_SBH.shape[1:2]:
            raise ValueError(
                "which_B must hold one bool a lane of a state [S, B, H], however: "
                f"{which_B.dtype} {list(which_B.shape)} for a state {list(part_SBH.shape)}"
            )
        return part_SBH.masked_fill(which_B.to(part_SBH.device).unsqueeze(1), 0.0)

    return _each(state, reset)
