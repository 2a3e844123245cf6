"""Residuals by parameter name: how they move between buckets, into checkpoints, and to another number of ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ludocast.compression.exchange import BucketExchange
from ludocast.compression.kept_steps import KeptSteps, put_steps, scale_steps, take_steps
from ludocast.compression.plan import Part
from torch import Tensor

FORMAT = 3


@dataclass
class Kept:
    """What lies in no bucket at the moment, by parameter name; flat.

    Attributes:
        residual: What was not sent yet, float32.
        late: Averages that wait for the next step, with a delay of 1.
        steps: Of the messages that carry the parameter.
    """

    residual: dict[str, Tensor] = field(default_factory=dict)
    late: dict[str, Tensor] = field(default_factory=dict)
    steps: KeptSteps = field(default_factory=dict)

    def take_from(self, parts: Sequence[Part], exchange: BucketExchange | None, late: Tensor | None) -> None:
        """Keep a bucket's residuals, where this rank has some, and its late average."""
        if exchange is not None:
            for part in exchange.plan.compressed:
                self.residual[part.name] = exchange.residual.now[part.where].clone()
            self.steps |= take_steps(exchange)
        if late is not None:
            self.late |= {part.name: late[part.where].clone() for part in parts}

    def put_into(self, parts: Sequence[Part], exchange: BucketExchange | None, late: Tensor | None) -> None:
        """Move what is kept of a bucket's parameters into it, and their late averages into `late`."""
        if exchange is not None:
            for part in exchange.plan.compressed:
                if part.name in self.residual:
                    exchange.residual.now[part.where] = self.residual.pop(part.name).to(exchange.device)
            put_steps(exchange, self.steps)
            for part in exchange.plan.compressed:
                self.steps.pop(part.name, None)
        if late is not None:
            for part in parts:
                if part.name in self.late:
                    late[part.where] = self.late.pop(part.name).to(late)

    def scale(self, factor: float) -> None:
        """Multiply all of it."""
        for kept in (self.residual, self.late):
            for name, value in kept.items():
                kept[name] = value * factor
        scale_steps(self.steps, factor)


def consolidate(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The `state_dict()`s of all ranks as one that any number of ranks can load.

    It holds the mean of their residuals: all that was computed and not yet applied. The sizes of steps begin anew, for
    who owns which rows follows from the number of ranks.

    Args:
        states: Of all ranks, in order.

    Raises:
        ValueError: If they are not those of all ranks of one step.
    """
    if not states or [state["rank"] for state in states] != list(range(len(states))) or len(
        {(state["ranks"], state["step"]) for state in states}
    ) != 1 or states[0]["ranks"] != len(states):  # fmt: skip
        found = ", ".join(f"rank {s['rank']} of {s['ranks']} at step {s['step']}" for s in states)
        raise ValueError(f"consolidating takes the state of every rank, in order, of one step; got {found}")
    holding = [state["residual"] for state in states if state["share"] is not None]
    means = {name: sum(kept[name].double() for kept in holding) / len(holding) for name in holding[0]}
    residual = {name: mean.float() for name, mean in means.items()}
    return {**states[0], "ranks": None, "rank": None, "share": None, "residual": residual, "steps": {}}


def check_saved(saved: Mapping[str, Any], sizes: Mapping[str, int], rank: int, ranks: int, share: object) -> None:
    """Refuse a state that does not belong to this model and rank.

    Args:
        saved: The state.
        sizes: Elements of each parameter of the model.
        rank: This rank.
        ranks: Number of ranks.
        share: Which part this rank has in the exchange, of how many; None if it has none.

    Raises:
        ValueError: Saying what does not fit.
    """
    if not isinstance(saved, Mapping):
        raise ValueError(f"a 1-bit state is what state_dict() or consolidate(...) returned, got {type(saved).__name__}")
    if saved.get("format") != FORMAT:
        raise ValueError(f"this 1-bit state has format {saved.get('format')}; this version reads format {FORMAT}")
    if saved["ranks"] is not None:
        if saved["ranks"] != ranks:
            raise ValueError(
                f"this 1-bit state was saved by {saved['ranks']} ranks and cannot be shared out over {ranks}; "
                "consolidate(...) the states of all ranks first"
            )
        if saved["rank"] != rank:
            raise ValueError(f"this 1-bit state is that of rank {saved['rank']}, this is rank {rank}")
        if saved["share"] != share:
            raise ValueError(
                "this 1-bit state was saved with other ranks sharing a host; consolidate(...) the states of all ranks "
                "first"
            )
    for name, value in saved["residual"].items():
        if sizes.get(name) != value.numel():
            raise ValueError(
                f'this 1-bit state is of another model: its parameter "{name}" has {value.numel():,} elements, '
                f"here it has {sizes.get(name, 0):,}"
            )
