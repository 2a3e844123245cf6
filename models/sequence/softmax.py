"""Softmaxes over many answers that cost less than the full one: adaptive, exact; sampled, for training alone."""

# N steps, H inputs, C answers with ids by falling frequency, K samples

from __future__ import annotations

import math
from typing import Literal

import torch
from ludocast.datamodules.vocabulary import PADDING
from torch import Tensor, nn
from torch.nn import functional as F

Softmax = Literal["full", "adaptive", "sampled"]
SMALLEST = 8  # answers, so that three groups have one or more
NARROWER = 4  # times, from one group to the next


class AdaptiveHead(nn.Module):
    """Log-probabilities by groups of rarer answers with fewer weights each (Grave et al., ICML 2017).

    The first eighth of the ids is answered at once, the rest up to half and the others each behind one more answer.

    Args:
        inputs: H.
        outputs: C.

    Raises:
        ValueError: If there are too few answers for groups, or too few inputs for the narrowest one.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        if outputs < SMALLEST or inputs < NARROWER**2:
            raise ValueError(
                f"an adaptive softmax needs {SMALLEST} answers and {NARROWER**2} hidden units or more, however: "
                f"{outputs} and {inputs}; take the full one"
            )
        cutoffs = [outputs // 8, outputs // 2]
        self.groups = nn.AdaptiveLogSoftmaxWithLoss(inputs, outputs, cutoffs, div_value=NARROWER, head_bias=True)

    def forward(self, h: Tensor) -> Tensor:
        """Log-probabilities [..., C] of h [..., H]."""
        flat: Tensor = self.groups.log_prob(h.flatten(0, -2))
        return flat.view(*h.shape[:-1], -1)

    def loss(self, h_NH: Tensor, target_N: Tensor) -> Tensor:
        """Cross-entropy of each step, [N]; only the groups that the targets are in are computed."""
        loss_N: Tensor = -self.groups(h_NH, target_N).output
        # A group without a target here would have no gradient, which several processes would wait for.
        return loss_N + 0 * sum(p.sum() for p in self.groups.parameters())


def log_uniform(count: int, outputs: int, device: torch.device | str = "cpu") -> Tensor:
    """Ids drawn with replacement by `log_uniform_share`, int64 [K]."""
    drawn = torch.rand(count, dtype=torch.float64, device=device)
    rank = (drawn * math.log(outputs + 1)).exp().floor().long().clamp(max=outputs)
    return rank % outputs


def log_uniform_share(ids: Tensor, outputs: int) -> Tensor:
    """How likely each draw is: log((r + 1) / r) / log(C + 1) of the answer of rank r, from 1 to C.

    So Zipf's law has it: an answer's frequency falls as 1 / rank. Ids are ranks; padding, which never comes, is last.

    Returns:
        float64, as many as ids.
    """
    rank = torch.where(ids == PADDING, outputs, ids).double()
    return torch.log1p(1 / rank) / math.log(outputs + 1)


def sampled_loss(h_NH: Tensor, target_N: Tensor, weight_CH: Tensor, bias_C: Tensor, samples_K: Tensor) -> Tensor:
    """Cross-entropy of each step with the sum over all answers estimated from drawn ones, [N].

    log Σ_c exp(s_c) becomes log(exp(s_t) + Σ_k exp(s_k − log(K q_k))) over the samples k that are not the target: each
    counts by the inverse of how often it is drawn (Jean et al., ACL 2015, section 3). The sum within the logarithm is
    unbiased; with more samples the loss and its gradient become those of the full softmax.

    Args:
        h_NH: What the answers are read from.
        target_N: Ids of what came.
        weight_CH: Of all answers.
        bias_C: The same.
        samples_K: Ids of `log_uniform`, the same for all steps.
    """
    own_N = (h_NH * weight_CH[target_N]).sum(-1) + bias_C[target_N]
    correction_K = torch.log(len(samples_K) * log_uniform_share(samples_K, len(bias_C))).to(h_NH.dtype)
    drawn_NK = F.linear(h_NH, weight_CH[samples_K], bias_C[samples_K]) - correction_K
    drawn_NK = drawn_NK.masked_fill(samples_K == target_N[:, None], -torch.inf)
    return torch.logsumexp(torch.cat([own_N[:, None], drawn_NK], 1), 1) - own_N
