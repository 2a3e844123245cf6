"""What the tabular network predicts: how many outputs it has for it, and by which loss they are trained."""

# M members, B rows of a batch, C outputs, L labels

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

LEAST_DEVIATION = 0.05  # of log amounts; of rows that all have one amount the likelihood would be unbounded


@dataclass(frozen=True)
class Head:
    """The network's end.

    Attributes:
        outputs: C.
        losses: From outputs [M, B, C] and labels [M, B], of several [M, B, L], to the loss of each row, [M, B].
    """

    outputs: int
    losses: Callable[[Tensor, Tensor], Tensor]


def _squared(outputs_MBC: Tensor, label_MB: Tensor) -> Tensor:
    return (outputs_MBC[..., 0] - label_MB) ** 2


def _zero_inflated_log_normal(outputs_MBC: Tensor, label_MB: Tensor) -> Tensor:
    """Minus the log likelihood of an amount (the ZILN loss of Wang, Liu and Miao 2019, arXiv 1912.07753).

    The label is log(1 + amount), which keeps what else reads it tame; the outputs are the log odds of an amount above
    0, the mean of its logarithm, and the deviation before `deviation`.
    """
    logit, centre, free = outputs_MBC.unbind(-1)
    pays = label_MB > 0
    log_amount = torch.log(torch.expm1(torch.where(pays, label_MB, torch.ones_like(label_MB))))
    width = deviation(free)
    amount = torch.log(width) + 0.5 * ((log_amount - centre) / width) ** 2  # without what no output changes
    whether = F.binary_cross_entropy_with_logits(logit, pays.to(logit.dtype), reduction="none")
    return whether + torch.where(pays, amount, torch.zeros_like(amount))


def deviation(free: Tensor) -> Tensor:
    """softplus, and not less than `LEAST_DEVIATION`."""
    return F.softplus(free).clamp_min(LEAST_DEVIATION)


def _pinball(outputs_MBC: Tensor, label_MB: Tensor, quantile: float) -> Tensor:
    """Koenker and Bassett, Econometrica 46, 1978, equation 3.1."""
    above = label_MB - outputs_MBC[..., 0]
    return torch.maximum(quantile * above, (quantile - 1) * above)


def _poisson(outputs_MBC: Tensor, label_MB: Tensor) -> Tensor:
    """Of the mean's logarithm, minus the log likelihood without what no output changes."""
    return torch.exp(outputs_MBC[..., 0]) - label_MB * outputs_MBC[..., 0]


def _tweedie(outputs_MBC: Tensor, label_MB: Tensor) -> Tensor:
    """Of the mean's logarithm, half the unit deviance of power 1.5 without what no output changes."""
    half = outputs_MBC[..., 0] / 2
    return 2 * (label_MB * torch.exp(-half) + torch.exp(half))


# Of a number; to add one, enter it here, and how its outputs become a score where they are not the score itself.
HEADS: dict[str, Head] = {
    "squared": Head(1, _squared),
    "absolute": Head(1, partial(_pinball, quantile=0.5)),
    "poisson": Head(1, _poisson),
    "tweedie": Head(1, _tweedie),
    "zero_inflated_log_normal": Head(3, _zero_inflated_log_normal),
}


def head_of(sizes: dict[str, Any]) -> Head:
    """The head by a table's sizes: of its `labels` or `classes`, or by the `loss` of a number and its `quantile`."""
    classes: int = sizes["classes"]
    if sizes.get("labels"):
        return Head(sizes["labels"], label_losses)
    if classes:
        return Head(1 if classes == 2 else classes, class_losses)
    if sizes["loss"] == "quantile":
        return Head(1, partial(_pinball, quantile=sizes["quantile"]))
    return HEADS[sizes["loss"]]


def label_losses(logits_MBL: Tensor, label_MBL: Tensor) -> Tensor:
    """Cross-entropy [M, B], the mean over labels."""
    label = label_MBL.to(logits_MBL.dtype)
    return F.binary_cross_entropy_with_logits(logits_MBL, label, reduction="none").mean(-1)


def class_losses(logits_MBC: Tensor, label_MB: Tensor) -> Tensor:
    """Cross-entropy [M, B]; one logit is that of class 1."""
    if logits_MBC.shape[-1] == 1:
        label = label_MB.to(logits_MBC.dtype)
        return F.binary_cross_entropy_with_logits(logits_MBC[..., 0], label, reduction="none")
    return F.cross_entropy(logits_MBC.transpose(1, 2), label_MB, reduction="none")
