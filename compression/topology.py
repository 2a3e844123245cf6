"""Who exchanges with whom: ranks of one host average among themselves first, and one of them speaks for the host."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Topology:
    """The groups of one rank.

    Attributes:
        share: Index of this rank's host among the hosts, and their number; None if another rank speaks for the host.
        local: Groups of the ranks of this host, one to average in and one to tell the result; None if each rank speaks
            for itself.
        across: Groups of the ranks that speak, one a phase; None if this one does not.
        local_ranks: Ranks of a host.
        leader: Global rank of the one that speaks for this host.
    """

    share: tuple[int, int] | None
    local: tuple[dist.ProcessGroup, dist.ProcessGroup] | None
    across: tuple[dist.ProcessGroup, dist.ProcessGroup] | None
    local_ranks: int
    leader: int


def ranks_per_host(group: dist.ProcessGroup, wanted: int | None) -> int:
    """How many neighbouring ranks share a host: as wanted, or as torchrun's LOCAL_WORLD_SIZE says; else 1.

    Where all ranks share one host nothing would be left to compress, so each then speaks for itself.

    Raises:
        ValueError: If the ranks cannot be shared out that way.
    """
    ranks = dist.get_world_size(group)
    if wanted is not None:
        if wanted < 1 or ranks % wanted != 0:
            raise ValueError(f"ranks_per_host divides the number of ranks, {ranks}; got {wanted}")
        return wanted
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    whole = ranks == dist.get_world_size()  # torchrun numbers the world host by host, a part of it may be scattered
    return local if whole and local < ranks and ranks % local == 0 else 1


def make_topology(group: dist.ProcessGroup, local_ranks: int) -> Topology:
    """Make the process groups; collective.

    Args:
        group: All ranks.
        local_ranks: How many neighbouring ranks share a host.
    """
    members = dist.get_process_group_ranks(group)
    rank = dist.get_rank(group)
    host, place = divmod(rank, local_ranks)
    leaders = members[::local_ranks]
    mine = members[host * local_ranks : (host + 1) * local_ranks]
    across = _two_groups(leaders, _timeout(group)) if place == 0 else None
    local = _two_groups(mine, _timeout(group)) if local_ranks > 1 else None
    return Topology((host, len(leaders)) if place == 0 else None, local, across, local_ranks, leaders[host])


def _timeout(group: dist.ProcessGroup) -> timedelta:
    """The group's, which a new group would not have by itself."""
    backend: Any = group._get_backend(torch.device(group._device_types[0]))
    return cast(timedelta, backend.options._timeout)


def _two_groups(members: list[int], timeout: timedelta) -> tuple[dist.ProcessGroup, dist.ProcessGroup]:
    first, second = (dist.new_group(members, timeout, use_local_synchronization=True) for _ in range(2))
    return cast(dist.ProcessGroup, first), cast(dist.ProcessGroup, second)
