"""Before the first step: can this model have the hook, and do all ranks have the same model and settings?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def check_model(model: nn.Module, delay: int) -> None:
    """Refuse a model that cannot have the hook.

    Raises:
        ValueError: Saying why.
    """
    name = type(model).__name__
    if not isinstance(model, DistributedDataParallel):
        sharded = "FSDP" in name or "FullySharded" in name
        raise ValueError(
            f"register_onebit_hook takes a model wrapped in DistributedDataParallel, got {name}"
            + ("; FSDP shards gradients by itself and takes no such hook" if sharded else "")
        )
    backend = dist.get_backend(model.process_group)
    if backend not in ("gloo", "nccl"):
        raise ValueError(f'the 1-bit hook works on process groups of gloo or nccl, this one is of "{backend}"')
    if model.find_unused_parameters and delay:
        raise ValueError(
            "delay=1 needs every parameter in every step: DDP drops what comes late for one that no rank has used; set "
            "find_unused_parameters=False or delay=0"
        )


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
