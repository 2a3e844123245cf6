"""Many short trainings, ranks slow by chance: none waits for another for ever, and all ranks hold the same gradients."""

from __future__ import annotations

import hashlib
import random
import time
from typing import Any

import pytest
import torch
from ludocast.compression.hook import register_onebit_hook
from torch import Tensor

from tests.compression.ranks import average_once, gradients, on_ranks, wrapped

STEPS = 4


def options_of(seed: int) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Ranks, the hook's options, and the rest."""
    rng = random.Random(seed)
    ranks = rng.randint(2, 4)
    hook: dict[str, Any] = {
        "delay": rng.randint(0, 1), "width": rng.choice([1, 4, 8]), "warmup_steps": rng.randint(0, 1),
        "auto_every": rng.randint(2, 3), "smallest": rng.choice([1, 1_000]), "row_length": rng.choice([64, 256]),
    }  # fmt: skip
    hook["auto"] = hook["delay"] == 0 and rng.random() < 0.5
    hook["ranks_per_host"] = 2 if ranks == 4 and rng.random() < 0.5 else None
    # A bucket a parameter, or all in one.
    shapes = {f"p{k}": (rng.randint(1, 60), rng.randint(1, 60)) for k in range(rng.randint(1, 7))}
    rest = {
        "shapes": shapes, "bucket_mb": rng.choice([1e-4, 1e-4, 0.005, 25.0]),
        "gradient_as_bucket_view": rng.random() < 0.5, "find_unused_parameters": hook["delay"] == 0 and rng.random() < 0.4,
    }  # fmt: skip
    return ranks, hook, rest


def short_run(rank: int, seed: int) -> str:
    _, hook, rest = options_of(seed)
    shapes = rest["shapes"]
    slow = random.Random(100 * seed + rank)
    model = wrapped(**rest)
    state = register_onebit_hook(model, **hook)

    def sleep(_: Tensor) -> None:
        if slow.random() < 0.3:
            time.sleep(0.02 * slow.random())

    for parameter in model.parameters():
        parameter.register_hook(sleep)  # type: ignore[no-untyped-call]
    digest = hashlib.sha256()
    for step in range(STEPS):
        given = gradients(shapes, rank, step)
        if rest["find_unused_parameters"]:
            used = slow.sample(sorted(shapes), slow.randint(1, len(shapes)))
            given = {name: given[name] for name in used}
        sleep(torch.empty(0))
        averaged = average_once(model, given)
        if step == 1 and rank == slow.randrange(4):
            state.state_dict()  # a checkpoint that other ranks do not take part in
        for name in sorted(averaged):
            assert averaged[name].isfinite().all()
            digest.update(name.encode() + averaged[name].numpy().tobytes())
    state.close()
    return digest.hexdigest()


def run(seeds: range) -> None:
    for seed in seeds:
        ranks, hook, rest = options_of(seed)
        case = f"seed {seed}: {ranks} ranks, {hook}, {rest}"
        try:
            found = on_ranks(ranks, short_run, seed)
        except AssertionError as error:
            raise AssertionError(case) from error
        assert len(set(found)) == 1, case


def test_40_short_runs() -> None:
    run(range(40))


@pytest.mark.slow
def test_1_000_short_runs() -> None:
    run(range(1_000, 2_000))
