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

    def standardise_by(self, inputs_NCF: Tensor, is_real_NC: Tensor) -> None:
        """Take mean and deviation of each input from these candidates; a constant input is centred alone."""
        for place in range(inputs_NCF.shape[2]):  # one at a time: all of them in float64 are a copy of twice the size
            values = inputs_NCF[:, :, place][is_real_NC].double()
            deviation = values.std(unbiased=False)
            self.mean[place] = values.mean()
            self.deviation[place] = deviation if deviation > 1e-6 else 1.0

    def forward(self, inputs_NCF: Tensor, is_real_NC: Tensor) -> Tensor:
        """Scores [N, C]; where a list has no further candidate, any."""
        h_NCH = self.dropout(F.silu(self.first((inputs_NCF - self.mean) / self.deviation)))
        share_NC = is_real_NC.to(h_NCH.dtype) / is_real_NC.sum(1, keepdim=True).clamp(min=1)
        mean_NH = torch.einsum("nch,nc->nh", h_NCH, share_NC)
        h_NCH = self.dropout(F.silu(self.second(h_NCH) + self.of_list(mean_NH)[:, None]))
        scores: Tensor = self.last(h_NCH).squeeze(-1)
        return scores
