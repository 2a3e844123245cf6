"""The tabular network: value embeddings, a low-rank cross network and an MLP side by side; several members as one."""

# M members, B rows of a batch, D numbers, S code columns, V codes of all columns, E embedding width,
# X = D + S·E inputs, K rank, H hidden units, C outputs

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MemberLinear(nn.Module):
    """M independent linear layers, applied as one batched product; initialised as `torch.nn.Linear`."""

    def __init__(self, members: int, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        bound = 1 / math.sqrt(max(inputs, 1))
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound)) if bias else None

    def forward(self, x_MBX: Tensor) -> Tensor:
        """[M, B, inputs] → [M, B, outputs]."""
        return torch.bmm(x_MBX, self.weight) if self.bias is None else torch.baddbmm(self.bias, x_MBX, self.weight)


class CrossLayer(nn.Module):
    """x ← x₀ ⊙ (x V U + b) + x: DCN-v2 with low rank (Wang et al., WWW 2021, section 3.3, equation 3)."""

    def __init__(self, members: int, inputs: int, rank: int) -> None:
        super().__init__()
        self.down = MemberLinear(members, inputs, rank, bias=False)
        self.up = MemberLinear(members, rank, inputs)

    def forward(self, x0_MBX: Tensor, x_MBX: Tensor) -> Tensor:
        """[M, B, X] → [M, B, X]."""
        out: Tensor = x0_MBX * self.up(self.down(x_MBX)) + x_MBX
        return out


class TabularNetwork(nn.Module):
    """Outputs of M members trained side by side, each with its own parameters (first dimension of every one).

    Args:
        numbers: Number of scaled numbers, D.
        code_sizes: Number of codes of each code column.
        outputs: C, see `models.table.heads`.
        members: M.
        embedding: Width E of a value's embedding.
        rank: Rank of a cross layer.
        cross_layers: Number of cross layers.
        hidden: Units of the MLP's one layer.
        dropout: Of the MLP's units.
        unknown: Share of values replaced by "unknown" in training, so that unseen values have a trained meaning.
        noise: Standard deviation added to numbers in training.
    """

    offset: Tensor
    used: Tensor

    def __init__(
        self,
        numbers: int,
        code_sizes: list[int],
        outputs: int,
        members: int = 5,
        embedding: int = 16,
        rank: int = 32,
        cross_layers: int = 2,
        hidden: int = 384,
        dropout: float = 0.25,
        unknown: float = 0.05,
        noise: float = 0.01,
    ) -> None:
        super().__init__()
        self.members, self.embedding = members, embedding
        self.unknown, self.noise, self.dropout = unknown, noise, dropout
        inputs = numbers + len(code_sizes) * embedding
        starts = [sum(code_sizes[:i]) for i in range(len(code_sizes))]
        self.register_buffer("offset", torch.tensor(starts, dtype=torch.int64), persistent=False)
        self.register_buffer("used", torch.ones(members, 1, inputs))
        self.values = nn.Parameter(torch.randn(members, max(sum(code_sizes), 1), embedding) * 0.03)
        self.cross = nn.ModuleList(CrossLayer(members, inputs, rank) for _ in range(cross_layers))
        self.hidden = MemberLinear(members, inputs, hidden)
        self.head = MemberLinear(members, inputs + hidden, outputs)

    def forward(self, numbers_MBD: Tensor, codes_MBS: Tensor) -> Tensor:
        """Outputs [M, B, C] of float numbers and int64 codes; a leading 1 in place of M serves all members."""
        if self.training:
            numbers_MBD = numbers_MBD + self.noise * torch.randn_like(numbers_MBD)
            codes_MBS = codes_MBS.masked_fill(torch.rand(codes_MBS.shape, device=codes_MBS.device) < self.unknown, 0)
        x0 = self._inputs(numbers_MBD, codes_MBS)
        x = x0
        for layer in self.cross:
            x = layer(x0, x)
        h = F.dropout(F.gelu(self.hidden(x0)), self.dropout, self.training)
        out: Tensor = self.head(torch.cat([x, h], dim=-1))
        return out

    def read_only(self, numbers_MD: Tensor, codes_MS: Tensor) -> None:
        """Have each member read some inputs as 0: bool masks of the numbers and of the code columns it uses."""
        self.used.copy_(torch.cat([numbers_MD, codes_MS.repeat_interleave(self.embedding, dim=1)], dim=1).unsqueeze(1))

    def _inputs(self, numbers_MBD: Tensor, codes_MBS: Tensor) -> Tensor:
        members, values, _ = self.values.shape
        shift = torch.arange(members, device=codes_MBS.device).view(-1, 1, 1) * values
        rows = codes_MBS + self.offset + shift
        looked_up = F.embedding(rows, self.values.view(-1, self.embedding)).flatten(2)
        return torch.cat([numbers_MBD.expand(members, -1, -1), looked_up], dim=-1) * self.used
