"""The exponential average of a network's weights, which is what predicts."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def move_average(averaged: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Take an optimiser step into the average; early on it follows faster, so that it forgets the start.

    Args:
        averaged: Changed.
        network: With the same parameters.
        decay: Of the average, a step, once many have been taken.
        step: Optimiser steps so far, with this one.
    """
    weight = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        theirs: list[Tensor] = list(averaged.parameters())
        ours: list[Tensor] = list(network.parameters())
        torch._foreach_lerp_(theirs, ours, 1 - weight)
