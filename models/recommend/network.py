"""The network that scores a candidate by what the signals say of it, and of all the others of its list together."""

# N lists, C candidates, F inputs of a candidate, H units

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CandidateNetwork(nn.Module):
    """An MLP over standardised inputs, whose second layer also sees the mean of the first one's units over the list.

    The order of candidates changes nothing (Deep Sets: Zaheer et al., NeurIPS 2017, equation 4, with the mean).

    Args:
        inputs: F.
        hidden: H, of each of two layers.
        dropout: Of these units.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, inputs: int, hidden: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("deviation", torch.ones(inputs))
        self.first = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.of_list = nn.Linear(hidden, hidden, bias=False)
        self.last = nn.Linear(hidden, 1)
        self.dropout = nn.Dropout(dropout)

    def standardise_by(self, inputs_MF: Tensor) -> None:
        """Take mean and deviation of each input from these candidates, [M, F]; a constant input is centred alone."""
        self.mean.copy_(inputs_MF.double().mean(0))
        deviation = inputs_MF.double().std(0, unbiased=False)
        self.deviation.copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)))

    def forward(self, inputs_NCF: Tensor, is_real_NC: Tensor) -> Tensor:
        """Scores [N, C]; where a list has no further candidate, any."""
        h_NCH = self.dropout(F.silu(self.first((inputs_NCF - self.mean) / self.deviation)))
        share_NC = is_real_NC.to(h_NCH.dtype) / is_real_NC.sum(1, keepdim=True).clamp(min=1)
        mean_NH = torch.einsum("nch,nc->nh", h_NCH, share_NC)
        h_NCH = self.dropout(F.silu(self.second(h_NCH) + self.of_list(mean_NH)[:, None]))
        scores: Tensor = self.last(h_NCH).squeeze(-1)
        return scores
