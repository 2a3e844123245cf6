"""The network that scores a candidate by what the signals say of it; each candidate of a list by itself."""

# N lists, C candidates, F inputs of a candidate

from __future__ import annotations

import torch
from torch import Tensor, nn


class CandidateNetwork(nn.Module):
    """An MLP over standardised inputs; GELU by tanh, for which runtimes have the precision that ranking wants.

    Args:
        inputs: F.
        hidden: Units of each of two layers.
        dropout: Of these units.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, inputs: int, hidden: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("deviation", torch.ones(inputs))
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden), nn.GELU("tanh"), nn.Dropout(dropout),
            nn.Linear(hidden, hidden), nn.GELU("tanh"), nn.Dropout(dropout),
            nn.Linear(hidden, 1),
        )  # fmt: skip

    def standardise_by(self, inputs_MF: Tensor) -> None:
        """Take mean and deviation of each input from these candidates, [M, F]; a constant input is centred alone."""
        self.mean.copy_(inputs_MF.double().mean(0))
        deviation = inputs_MF.double().std(0, unbiased=False)
        self.deviation.copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)))

    def forward(self, inputs_NCF: Tensor) -> Tensor:
        """Scores [N, C]."""
        scores: Tensor = self.layers((inputs_NCF - self.mean) / self.deviation).squeeze(-1)
        return scores
