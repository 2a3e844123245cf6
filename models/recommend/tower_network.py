"""Scores for players of whom attributes are known but no item: a tower of their attributes meets vectors of the items.

The logit of item i for a player of attributes x is b_i + v_i · (A x + C relu(B x)): popularity, and what the attributes
shift. Trained by the cross-entropy of the softmax over all items against each pair of a player and an item, so that
without attributes the best answer is popularity itself, from which the training starts.
"""

# B players of a batch, D numbers of a player, I items, R width of the vectors, H hidden units

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class TowerSettings:
    """How a tower learns.

    Attributes:
        width: R.
        hidden: H.
        dropout: Of the hidden units.
        hide: Share of a player's columns hidden in training, so that a record with some of them is answered well.
        epochs: Passes at most; validation says after how many to stop.
        batch: Players.
        learning_rate: Of AdamW at its highest; it falls to 0 along a cosine over `epochs`.
        weight_decay: Of AdamW.
        seed: Of weights and shuffles.
    """

    width: int = 32
    hidden: int = 128
    dropout: float = 0.2
    hide: float = 0.1
    epochs: int = 20
    batch: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    seed: int = 0


class UserTower(nn.Module):
    """Logits of the items from the numbers of a player.

    Args:
        inputs: D.
        items: I.
        settings: Width, hidden units and dropout.
    """

    def __init__(self, inputs: int, items: int, settings: TowerSettings) -> None:
        super().__init__()
        self.straight = nn.Linear(inputs, settings.width, bias=False)
        self.bent = nn.Linear(inputs, settings.hidden)
        self.dropout = nn.Dropout(settings.dropout)
        self.joined = nn.Linear(settings.hidden, settings.width)
        self.items = nn.Linear(settings.width, items)

    def begin(self, log_share: np.ndarray, varies: np.ndarray, seed: int) -> None:
        """Start from popularity.

        Args:
            log_share: Logarithm of each item's share of all pairs [I].
            varies: Numbers that differ between training players, bool [D]; nothing is learnt from the others.
            seed: Of the items' vectors.
        """
        with torch.no_grad():
            self.items.bias.copy_(torch.from_numpy(log_share))
            self.items.weight.normal_(std=0.05, generator=torch.Generator().manual_seed(seed))
            for layer in (self.straight, self.bent):
                layer.weight[:, torch.from_numpy(~varies)] = 0.0

    def forward(self, x_BD: Tensor) -> Tensor:
        """Logits [B, I]."""
        bent = self.joined(self.dropout(torch.relu(self.bent(x_BD))))
        logits: Tensor = self.items(self.straight(x_BD) + bent)
        return logits
