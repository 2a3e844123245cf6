"""The steps of a bucket's messages by parameter name: ownership follows from names, so they move with a parameter."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from ludocast.compression.exchange import BucketExchange
from ludocast.compression.plan import Part
from ludocast.compression.rows import Rows
from torch import Tensor

KeptSteps = dict[str, dict[str, Tensor]]  # by parameter, by what its messages are


def _places(part: Part, rows: Rows) -> tuple[Tensor, slice]:
    """Where a parameter's steps and its rows' means lie."""
    a, b = torch.searchsorted(rows.start, torch.tensor([part.where.start, part.where.stop])).tolist()
    if a == b:
        return torch.zeros(0, dtype=torch.int64), slice(a, b)
    first, length = 8 * rows.byte[a:b], rows.length[a:b]
    before = torch.cumsum(length, 0) - length
    return torch.repeat_interleave(first - before, length) + torch.arange(int(length.sum())), slice(a, b)


def take_steps(exchange: BucketExchange) -> KeptSteps:
    """Copies, by parameter: `step` and `means` of each message that carries some of it."""
    found: KeptSteps = {part.name: {} for part in exchange.plan.compressed}
    for name, steps, rows in exchange.steps():
        for part in exchange.plan.compressed:
            where, row = _places(part, rows)
            if len(where):
                found[part.name][f"{name}: step"] = steps.step[where.to(steps.step.device)].clone()
                found[part.name][f"{name}: means"] = steps.means[row].clone()
    return found


def put_steps(exchange: BucketExchange, kept: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Have the messages go on from what was kept of their parameters; what was not kept begins anew."""
    for name, steps, rows in exchange.steps():
        for part in exchange.plan.compressed:
            saved = kept.get(part.name, {})
            if f"{name}: step" in saved:
                where, row = _places(part, rows)
                steps.step[where.to(steps.step.device)] = saved[f"{name}: step"].to(steps.step.device)
                steps.means[row] = saved[f"{name}: means"].to(steps.means.device)


def scale_steps(kept: Mapping[str, Mapping[str, Tensor]], factor: float) -> None:
    """Gradients are `factor` times as large from now on."""
    for saved in kept.values():
        for name, value in saved.items():
            if name.endswith(": means"):
                value[:, 0] *= factor
