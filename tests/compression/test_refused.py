"""Bad input is refused in one sentence on every rank that it concerns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from ludocast.compression.hook import register_onebit_hook
from ludocast.compression.residuals import consolidate
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel

from tests.compression.ranks import average_once, gradients, on_ranks, wrapped

SHAPES = {"w": (40, 30), "v": (30,)}


def message(act: Callable[[], Any]) -> str:
    try:
        act()
    except ValueError as error:
        return str(error)
    return "no error"


def fully_sharded(rank: int) -> list[str]:
    first = FullyShardedDataParallel(nn.Linear(8, 8), device_id=torch.device("cpu"))
    second = nn.Linear(8, 8)
    fully_shard(second, mesh=dist.device_mesh.init_device_mesh("cpu", (2,)))
    return [message(partial(register_onebit_hook, one)) for one in (first, second)]  # type: ignore[arg-type]


def test_fsdp() -> None:
    for sentences in on_ranks(2, fully_sharded):
        for name, sentence in zip(("FullyShardedDataParallel", "FSDPLinear"), sentences, strict=True):
            assert sentence == (
                f"register_onebit_hook takes a model wrapped in DistributedDataParallel, got {name}; "
                "FSDP shards gradients by itself and takes no such hook"
            )


def models_differ(rank: int) -> list[str]:
    other = wrapped({("u" if rank == 2 else "w"): (40, 30)})
    frozen = DistributedDataParallel(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)))
    frozen.module[0].weight.requires_grad_(rank != 1)
    return [message(partial(register_onebit_hook, one)) for one in (other, frozen)]


def test_other_models() -> None:
    for named, frozen in on_ranks(3, models_differ):
        assert named == "rank 2 has another model than rank 0 (names, shapes, dtypes or frozen parameters)"
        assert frozen == "rank 1 has another model than rank 0 (names, shapes, dtypes or frozen parameters)"


def settings(rank: int) -> list[str]:
    def refused(**options: Any) -> str:
        unused = options.pop("find_unused_parameters", False)
        return message(lambda: register_onebit_hook(wrapped(SHAPES, find_unused_parameters=unused), **options))

    return [
        refused(ranks_per_host=2), refused(ranks_per_host=0), refused(width=2), refused(auto=True, delay=1),
        refused(smallest=0), refused(auto_every=1), refused(delay=1, find_unused_parameters=True),
        refused(width=8 if rank == 1 else 4),
    ]  # fmt: skip


def test_settings() -> None:
    for sentences in on_ranks(3, settings):
        assert sentences[:-1] == [
            "ranks_per_host divides the number of ranks, 3; got 2",
            "ranks_per_host divides the number of ranks, 3; got 0",
            "width is 1, 4 or 8 bits, got 2",
            "auto changes between averages that come at once and late ones; leave delay at 0",
            "smallest is 1 or more, got 0",
            "auto_every is 2 or more, got 1",
            "delay=1 needs every parameter in every step: DDP drops what comes late for one that no rank has used; "
            "set find_unused_parameters=False or delay=0",
        ]
        assert sentences[-1].startswith('rank 1 has other settings than rank 0: {"auto": false')
        assert sentences[-1].count('"width": 8') == sentences[-1].count('"width": 4') == 1


def saved_states(rank: int, ranks_per_host: int | None) -> Any:
    model = wrapped(SHAPES)
    state = register_onebit_hook(model, smallest=1_000, ranks_per_host=ranks_per_host)
    average_once(model, gradients(SHAPES, rank, 0))
    saved = state.state_dict()
    state.close()
    return saved


def loads(rank: int, states: list[Any]) -> list[str]:
    state = register_onebit_hook(wrapped(SHAPES), smallest=1_000)
    mine = states[rank]
    larger = {**mine, "residual": {"w": torch.zeros(1300)}}
    another = {**mine, "residual": {"lstm.weight": torch.zeros(1200)}}
    wrong = [states[1 - rank], larger, another, {**mine, "format": 1}, {}, states]
    found = [message(partial(state.load_state_dict, one)) for one in wrong]
    found.append(message(lambda: state.load_state_dict(mine)))
    state.close()
    return found


def test_checkpoints() -> None:
    states = on_ranks(2, saved_states, None)
    for rank, found in enumerate(on_ranks(2, loads, states)):
        assert found == [
            f"this 1-bit state is that of rank {1 - rank}, this is rank {rank}",
            'this 1-bit state is of another model: its parameter "w" has 1,300 elements, here it has 1,200',
            'this 1-bit state is of another model: its parameter "lstm.weight" has 1,200 elements, here it has 0',
            "this 1-bit state has format 1; this version reads format 3",
            "this 1-bit state has format None; this version reads format 3",
            "a 1-bit state is what state_dict() or consolidate(...) returned, got list",
            "no error",
        ]


def elsewhere(rank: int, states: list[Any]) -> str:
    state = register_onebit_hook(wrapped(SHAPES), smallest=1_000)
    found = message(lambda: state.load_state_dict(states[rank]))
    state.load_state_dict(consolidate(states))
    state.close()
    return found


def test_checkpoints_of_other_ranks() -> None:
    assert on_ranks(3, elsewhere, on_ranks(4, saved_states, None)) == [
        "this 1-bit state was saved by 4 ranks and cannot be shared out over 3; consolidate(...) the states of all "
        "ranks first"
    ] * 3  # fmt: skip
    assert on_ranks(4, elsewhere, on_ranks(4, saved_states, 2)) == [
        "this 1-bit state was saved with other ranks sharing a host; consolidate(...) the states of all ranks first"
    ] * 4  # fmt: skip
    two = on_ranks(2, saved_states, None)
    assert message(lambda: consolidate(two[::-1])) == (
        "consolidating takes the state of every rank, in order, of one step; got rank 1 of 2 at step 1, rank 0 of 2 at "
        "step 1"
    )
