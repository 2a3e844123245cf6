"""What the tabular network predicts: how many outputs it has for it, and by which loss they are trained."""

# M members, B rows of a batch, C outputs

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Head:
    """The network's end.

    Attributes:
        outputs: C.
        losses: From outputs [M, B, C] and labels [M, B] to the loss of each row, [M, B].
    """

    outputs: int
    losses: Callable[[Tensor, Tensor], Tensor]


def _squared(outputs_MBC: Tensor, label_MB: Tensor) -> Tensor:
    return (outputs_MBC[..., 0] - label_MB) ** 2


# Of a number; to add one, enter it here, and how its outputs become a score where they are not the score itself.
HEADS: dict[str, Head] = {"squared": Head(1, _squared)}


def head_of(sizes: dict[str, Any]) -> Head:
    """The head of a table whose sizes tell its `classes`, or 0 of them and the `loss` of a number."""
    classes: int = sizes["classes"]
    if classes:
        return Head(1 if classes == 2 else classes, class_losses)
    return HEADS[sizes["loss"]]


def class_losses(logits_MBC: Tensor, label_MB: Tensor) -> Tensor:
    """Cross-entropy [M, B]; one logit is that of class 1."""
    if logits_MBC.shape[-1] == 1:
        label = label_MB.to(logits_MBC.dtype)
        return F.binary_cross_entropy_with_logits(logits_MBC[..., 0], label, reduction="none")
    return F.cross_entropy(logits_MBC.transpose(1, 2), label_MB, reduction="none")
