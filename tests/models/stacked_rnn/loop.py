"""The equations of the stack as a slow float64 loop, one sequence at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def logistic(a: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-a))


def equations(p: Mapping[str, Tensor], coordinates: str, layers: int, directions: int) -> list[tuple[Tensor, ...]]:
    """W, R, b of each layer and direction from a module's parameters; the tanh side's by solving for them."""
    found: list[tuple[Tensor, ...]] = []
    for layer in range(layers):
        for end in ("", "_reverse")[:directions]:
            W, R = p[f"weight_ih_l{layer}{end}"], p[f"weight_hh_l{layer}{end}"]
            parts = [p[name] for name in (f"bias_ih_l{layer}{end}", f"bias_hh_l{layer}{end}") if name in p]
            b = parts[0] + parts[1] if parts else torch.zeros(len(R), dtype=R.dtype)
            if coordinates == "tanh":
                # ½ W x + ¼ R (2h − 1) + ½ b + ¼ R·1 = ½ (W x + R h + b): solved for W, R and b of the tanh side.
                if parts:
                    ones = torch.ones(len(R), dtype=R.dtype)
                    b = 2 * (b - R @ ones - (W @ torch.ones(W.shape[1], dtype=R.dtype) if layer else 0 * ones))
                W, R = (4 if layer else 2) * W, 4 * R
            found.append((W, R, b))
    return found


def run(
    weights: Sequence[tuple[Tensor, ...]], x_TX: Tensor, h0_SH: Tensor, directions: int, masks: Sequence[Tensor] = ()
) -> tuple[Tensor, Tensor]:
    """Outputs [T, D·H] and last states [S, H]; masks [T, D·H] multiply what the upper layers read."""
    lasts = []
    for layer in range(len(weights) // directions):
        sides = []
        for direction in range(directions):
            at = layer * directions + direction
            W, R, b = weights[at]
            h, states = h0_SH[at], {}
            for t in range(len(x_TX)) if direction == 0 else reversed(range(len(x_TX))):
                h = logistic(W @ x_TX[t] + R @ h + b)
                states[t] = h
            lasts.append(h)
            sides.append(torch.stack([states[t] for t in range(len(x_TX))]))
        x_TX = torch.cat(sides, dim=1)
        if layer < len(masks):
            x_TX = x_TX * masks[layer]
    return x_TX, torch.stack(lasts)
