"""One network for all tasks on sequences: what a step is, a stack of recurrent layers, a head."""

# B sequences, L steps, E width of an embedding, D numbers a step, X inputs a step, H outputs of the stack, C outputs

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from ludocast.datamodules.vocabulary import PADDING
from ludocast.models.sequence.softmax import AdaptiveHead
from ludocast.models.stacked_rnn.recurrent import Kind, State, recurrent
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Head = Literal["step", "last"]


@dataclass(frozen=True)
class NetworkSettings:
    """Size of a network.

    Attributes:
        kind: Of the recurrent layers.
        hidden: Units of a layer and direction.
        layers: Of the stack.
        embedding: Width of a token's embedding.
        dropout: Of embeddings, between layers, and of what the head reads.
    """

    kind: Kind = "gru"
    hidden: int = 128
    layers: int = 1
    embedding: int = 64
    dropout: float = 0.2


class SequenceNetwork(nn.Module):
    """Embedded tokens and numbers, a stack of recurrent layers, and answers at each step or after the last one.

    What the head reads of sigmoid layers is 2h − 1, which is centred as the other kinds' outputs are; with its bias
    the head says the same functions of h.

    Args:
        settings: Size.
        tokens: Number of token ids; 0 where steps have no token.
        numbers: Numbers a step.
        outputs: Logits.
        head: "step" answers at each step, "last" once a sequence, after its last real step.
        columns: Numbers of a sequence as a whole, which a head "last" reads beside the state.
        window: Tokens on either side that a step reads beside its own.
        is_bidirectional: Whether a second stack reads backwards; whole sequences only.
        is_tied: Whether the output weights are the embeddings (Press and Wolf, EACL 2017).
        is_adaptive: Whether the head is an adaptive softmax, whose logits are log-probabilities.

    Raises:
        ValueError: If there is nothing to read, or arguments contradict each other.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        tokens: int,
        numbers: int,
        outputs: int,
        head: Head = "step",
        columns: int = 0,
        window: int = 0,
        is_bidirectional: bool = False,
        is_tied: bool = False,
        is_adaptive: bool = False,
    ) -> None:
        super().__init__()
        _check(settings, tokens, numbers, outputs, head, columns, window, is_bidirectional, is_tied)
        if is_tied and is_adaptive:
            raise ValueError("an adaptive softmax has no single table to tie to the embeddings; give one of them")
        self.head_kind: Head = head
        self.window, self.dropout, self.is_bidirectional = window, settings.dropout, is_bidirectional
        self.is_sigmoid = settings.kind == "sigmoid"
        self.embedding = nn.Embedding(tokens, settings.embedding, padding_idx=PADDING) if tokens else None
        width = (settings.embedding * (2 * window + 1) if tokens else 0) + numbers
        between = settings.dropout if settings.layers > 1 else 0.0
        self.stack = recurrent(
            settings.kind, width, settings.hidden, settings.layers, batch_first=True, dropout=between,
            bidirectional=is_bidirectional,
        )  # fmt: skip
        read = settings.hidden * (2 if is_bidirectional else 1) + columns
        self.between = nn.Linear(read, settings.embedding) if is_tied else None
        read = settings.embedding if is_tied else read
        self.head: nn.Linear | AdaptiveHead = AdaptiveHead(read, outputs) if is_adaptive else nn.Linear(read, outputs)
        if is_tied:
            assert self.embedding is not None
            assert isinstance(self.head, nn.Linear)
            nn.init.normal_(self.embedding.weight, std=settings.embedding**-0.5)
            with torch.no_grad():
                self.embedding.weight[PADDING] = 0
            self.head.weight = self.embedding.weight

    def forward(
        self,
        token_BL: Tensor | None,
        numbers_BLD: Tensor | None,
        length_B: Tensor,
        state: State = None,
        columns_BD: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Logits and the state after the last step.

        Args:
            token_BL: Token ids, padded at the end; None where the network reads none.
            numbers_BLD: Numbers of each step; the same.
            length_B: Real steps, 1 or more for a head "last" and with both directions.
            state: After the steps before these; None before the first.
            columns_BD: Numbers of the sequences as a whole.

        Returns:
            [B, L, C], or [B, C] of a head "last"; at padding they mean nothing. The state is right for all sequences
            that fill the L steps; those that end before do not go on.

        Raises:
            ValueError: If a state is given to a network that takes whole sequences only.
        """
        read, state = self.read(token_BL, numbers_BLD, length_B, state, columns_BD)
        return self.head(read), state

    def read(
        self,
        token_BL: Tensor | None,
        numbers_BLD: Tensor | None,
        length_B: Tensor,
        state: State = None,
        columns_BD: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """What the head reads, and the state after the last step; arguments and errors as of `forward`."""
        if state is not None and (self.is_bidirectional or self.window):
            raise ValueError("both directions and neighbouring tokens need whole sequences; leave tbptt_steps out")
        h_BLH, state = self._run(self._inputs(token_BL, numbers_BLD), length_B, state)
        if self.is_sigmoid:
            h_BLH = 2 * h_BLH - 1
        read = h_BLH if self.head_kind == "step" else last_real(h_BLH, length_B)
        read = F.dropout(read, self.dropout, self.training)
        if columns_BD is not None:
            read = torch.cat([read, columns_BD], -1)
        if self.between is not None:
            read = self.between(read)
        return read, state

    def _inputs(self, token_BL: Tensor | None, numbers_BLD: Tensor | None) -> Tensor:
        parts = []
        if self.embedding is not None:
            assert token_BL is not None
            parts.append(neighbours(F.dropout(self.embedding(token_BL), self.dropout, self.training), self.window))
        if numbers_BLD is not None:
            parts.append(numbers_BLD)
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def _run(self, x_BLX: Tensor, length_B: Tensor, state: State) -> tuple[Tensor, State]:
        # Forwards, padding at the end is read after all real steps and changes none of them.
        if not self.is_bidirectional or bool((length_B == x_BLX.shape[1]).all()):
            h_BLH, after = self.stack(x_BLX, state)
            return h_BLH, after
        packed = pack_padded_sequence(x_BLX, length_B.cpu(), batch_first=True, enforce_sorted=False)
        h, after = self.stack(packed, state)
        return pad_packed_sequence(h, batch_first=True, total_length=x_BLX.shape[1])[0], after


def _check(
    settings: NetworkSettings, tokens: int, numbers: int, outputs: int, head: Head, columns: int, window: int,
    is_bidirectional: bool, is_tied: bool,
) -> None:  # fmt: skip
    if min(settings.hidden, settings.layers, settings.embedding) < 1 or not 0 <= settings.dropout < 1:
        raise ValueError(
            "hidden, layers and embedding are 1 or more and dropout is at least 0 and below 1, however: "
            f"{settings.hidden}, {settings.layers}, {settings.embedding} and {settings.dropout:g}"
        )
    if tokens == 0 and numbers == 0:
        raise ValueError("a step needs a token or a number to read, there is neither")
    if window < 0 or (window and not tokens):
        raise ValueError(f"window counts neighbouring tokens, 0 or more, however: {window} with {tokens} token ids")
    if is_tied and outputs != tokens:
        raise ValueError(f"tied weights need as many outputs as tokens, however: {outputs} and {tokens}")
    if head == "last" and is_bidirectional:
        raise ValueError('a head "last" reads forwards alone, however: is_bidirectional=True')
    if columns and head != "last":
        raise ValueError(f'columns of whole sequences go with a head "last", however: {columns} with {head!r}')


def neighbours(x_BLE: Tensor, window: int) -> Tensor:
    """Each step's own values between those of the steps before and after, zeros beyond the ends: [B, L, (2w + 1) · E].

    Args:
        x_BLE: Values of steps, 0 at padding.
        window: w, steps on either side.
    """
    if window == 0:
        return x_BLE
    padded, L = F.pad(x_BLE, (0, 0, window, window)), x_BLE.shape[1]
    return torch.cat([padded[:, k : k + L] for k in range(2 * window + 1)], -1)


def last_real(h_BLH: Tensor, length_B: Tensor) -> Tensor:
    """What stands at the last real step of each sequence, [B, H]; every sequence has one or more."""
    return h_BLH[torch.arange(len(h_BLH), device=h_BLH.device), length_B - 1]
