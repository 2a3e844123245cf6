"""Before the first step: do all ranks have the same model and the same settings?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch.distributed as dist
from torch import nn


def check_agreement(
    parameters: Mapping[str, nn.Parameter], settings: Mapping[str, Any], group: dist.ProcessGroup
) -> None:
    """Exchange a hash of the model's parameters and one of the settings; collective.

    Raises:
        ValueError: On every rank, naming the first rank that differs from rank 0, and in what.
    """
    described = [[name, list(p.shape), str(p.dtype), p.requires_grad] for name, p in parameters.items()]
    mine = [_digest(described), json.dumps(settings, sort_keys=True)]
    everyone: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(everyone, mine, group=group)
    for rank, (model, chosen) in enumerate(everyone):
        if model != everyone[0][0]:
            raise ValueError(f"rank {rank} has another model than rank 0 (names, shapes, dtypes or frozen parameters)")
        if chosen != everyone[0][1]:
            raise ValueError(f"rank {rank} has other settings than rank 0: {chosen}, rank 0 {everyone[0][1]}")


def _digest(described: object) -> str:
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()
