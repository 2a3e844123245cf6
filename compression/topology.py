"""Who exchanges with whom: ranks of one host average among themselves first, and one of them speaks for the host."""

from __future__ import annotations

import os
from dataclasses import dataclass
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
    host, place = divmod(dist.get_rank(group), local_ranks)
    hosts = [members[first : first + local_ranks] for first in range(0, len(members), local_ranks)]
    across = _two_groups([members[k::local_ranks] for k in range(local_ranks)], group)
    local = _two_groups(hosts, group) if local_ranks > 1 else None
    if place > 0:
        return Topology(None, local, None, local_ranks, hosts[host][0])
    return Topology((host, len(hosts)), local, across, local_ranks, hosts[host][0])


def _two_groups(parts: list[list[int]], group: dist.ProcessGroup) -> tuple[dist.ProcessGroup, dist.ProcessGroup]:
    """Two process groups of each part, with the timeout of `group`; this rank's own come back.

    torch names a group by counting those that were made before: every rank has to make as many, in one order.
    """
    mine, whole = dist.get_rank(), dist.get_world_size(group) == dist.get_world_size()
    backend: Any = group._get_backend(torch.device(group._device_types[0]))
    timeout = backend.options._timeout  # a new group would wait 30 minutes
    own: list[Any] = []
    for part in parts:
        if whole or mine in part:  # where the group is not the whole world, no other rank takes part
            made = [dist.new_group(part, timeout, use_local_synchronization=not whole) for _ in range(2)]
            own = made if mine in part else own
    first, second = own
    return cast(dist.ProcessGroup, first), cast(dist.ProcessGroup, second)
