"""Residuals by parameter name: how they move between buckets, into checkpoints, and to another number of ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ludocast.compression.exchange import BucketExchange
from torch import Tensor

FORMAT = 1


@dataclass
class Kept:
    """What lies in no bucket at the moment, by parameter name; float32, flat.

    Attributes:
        worker: What this rank has not sent.
        owner: What this rank, as owner, has not sent on; only the rows that it owns, the others are zero.
        late: Averages that wait for the next step, with a delay of 1.
    """

    worker: dict[str, Tensor] = field(default_factory=dict)
    owner: dict[str, Tensor] = field(default_factory=dict)
    late: dict[str, Tensor] = field(default_factory=dict)

    def take_from(self, exchange: BucketExchange, late: Tensor | None) -> None:
        """Keep a bucket's residuals, and its late average."""
        for part in exchange.plan.compressed:
            self.worker[part.name] = exchange.worker.now[part.where].clone()
            self.owner[part.name] = exchange.owner.now[part.where].clone()
        if late is not None:
            for part in exchange.plan.parts:
                self.late[part.name] = late[part.where].clone()

    def put_into(self, exchange: BucketExchange, late: Tensor | None) -> None:
        """Move what is kept of a bucket's parameters into it, and their late averages into `late`."""
        for part in exchange.plan.compressed:
            for kept, residual in ((self.worker, exchange.worker), (self.owner, exchange.owner)):
                if part.name in kept:
                    residual.now[part.where] = kept.pop(part.name).to(exchange.device)
        for part in exchange.plan.parts:
            if late is not None and part.name in self.late:
                late[part.where] = self.late.pop(part.name).to(late)

    def scale(self, factor: float) -> None:
        """Multiply all of it."""
        for kept in (self.worker, self.owner, self.late):
            for value in kept.values():
                value.mul_(factor)


def consolidate(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The `state_dict()`s of all ranks as one that any number of ranks can load.

    Each rank gets the mean of the workers' residuals plus the owners': what was not yet applied stays the same in all.

    Args:
        states: Of all ranks, in order.

    Raises:
        ValueError: If they are not those of all ranks of one step.
    """
    ranks = len(states)
    if [(s["rank"], s["ranks"], s["step"]) for s in states] != [(r, ranks, states[0]["step"]) for r in range(ranks)]:
        found = ", ".join(f"rank {s['rank']} of {s['ranks']} at step {s['step']}" for s in states)
        raise ValueError(f"consolidating takes the state of every rank, in order, of one step; got {found}")
    worker = {}
    for name in states[0]["worker"]:
        total = sum(state["worker"][name].double() for state in states) / ranks
        owners = [state["owner"][name].double() for state in states if name in state["owner"]]
        worker[name] = (total + sum(owners)).float()
    return {**states[0], "ranks": None, "rank": None, "worker": worker, "owner": {}}


def check_saved(saved: Mapping[str, Any], sizes: Mapping[str, int], rank: int, ranks: int) -> None:
    """Refuse a state that does not belong to this model and rank.

    Args:
        saved: The state.
        sizes: Elements of each parameter of the model.
        rank: This rank.
        ranks: Number of ranks.

    Raises:
        ValueError: Saying what does not fit.
    """
    if saved.get("format") != FORMAT:
        raise ValueError(f"this 1-bit state has format {saved.get('format')}; this version reads format {FORMAT}")
    if saved["ranks"] is not None and saved["ranks"] != ranks:
        raise ValueError(
            f"this 1-bit state was saved by {saved['ranks']} ranks and cannot be shared out over {ranks}; "
            "consolidate(...) the states of all ranks first"
        )
    if saved["rank"] is not None and saved["rank"] != rank:
        raise ValueError(f"this 1-bit state is that of rank {saved['rank']}, this is rank {rank}")
    for name, value in saved["worker"].items():
        if sizes.get(name) != value.numel():
            raise ValueError(
                f'this 1-bit state is of another model: its parameter "{name}" has {value.numel():,} elements, '
                f"here it has {sizes.get(name, 0):,}"
            )
