"""One bucket's exchange, its bytes moved by hand as the two collectives do: no value whatever poisons what is kept."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from ludocast.compression.exchange import BucketExchange
from ludocast.compression.plan import Plan, bucket_parts
from ludocast.compression.residuals import Kept
from torch import Tensor

SHAPES = {"a": (7, 19), "b": (3,), "c": (5, 3, 7), "d": (11, 23), "e": (1,)}
KINDS = ("normal", "zeros", "denormals", "huge", "tiny and large", "of one exponent")
BAD = ("inf", "-inf", "nan")


def exchanges(ranks: int, width: int, late: bool, may_drop: bool, row_length: int) -> list[BucketExchange]:
    parts = bucket_parts(tuple(SHAPES), tuple(SHAPES.values()), smallest=64)
    plan = Plan(parts, ranks, sum(part.elements for part in parts), row_length, width)
    options = (torch.float32, torch.device("cpu"), late, may_drop)
    return [BucketExchange(plan, rank, *options) for rank in range(ranks)]


def exchange(all_: Sequence[BucketExchange], gradients: Sequence[Tensor]) -> list[Tensor]:
    """What each rank decodes."""
    for one, gradient in zip(all_, gradients, strict=True):
        one.encode(gradient)
        if one.late:
            gradient.fill_(7.0)  # DDP writes into it
    sent = [torch.split(one._send, one._sent_sizes) for one in all_]
    for rank, one in enumerate(all_):
        one._got.copy_(torch.cat([pieces[rank] for pieces in sent]))
    for one, gradient in zip(all_, gradients, strict=True):
        one.add(gradient)
    for one in all_:
        one._answers.copy_(torch.cat([other._answer for other in all_]))
    found = []
    for one in all_:
        found.append(torch.full((one.plan.elements,), 7.0))
        one.decode(found[-1])
    return found


def check_steps(all_: Sequence[BucketExchange]) -> None:
    """Both ends of every message know the same steps."""
    for sender, one in enumerate(all_):
        mine, first = ({name: steps for name, steps, _ in other.steps()} for other in (one, all_[0]))
        assert len(mine) == len(first) == 2 * (len(all_) - 1) + (len(all_) if one.plan.width == 1 else 0)
        for name, steps in mine.items():
            if name.startswith("to owner "):
                owner = int(name.removeprefix("to owner "))
                known = {other: its for other, its, _ in all_[owner].steps()}
                assert torch.equal(steps.step, known[f"from other {sender - (sender > owner)}"].step)
            if name.startswith("to all "):
                assert torch.equal(steps.step, first[name].step)


def values(kind: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    normal = torch.randn(shape, generator=generator)
    if kind == "zeros":  # of both signs
        return torch.zeros(shape).copysign(normal)
    if kind == "tiny and large":
        return normal * 10.0 ** torch.randint(-30, 12, shape, generator=generator)
    if kind == "of one exponent":
        return (normal.double() * 2.0 ** torch.randint(-149, 100, (1,), generator=generator)).float()
    return normal * {"normal": 1.0, "denormals": 3e-41, "huge": 1e37}[kind]


def bits(x: Tensor) -> Tensor:
    return x.view(torch.int32)


def check(seed: int, steps: int) -> int:
    """A run of random steps; how many were not finite."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    ranks, width, may_drop = rng.randint(2, 4), rng.choice([1, 4, 8]), rng.random() < 0.3
    all_ = exchanges(ranks, width, rng.random() < 0.5, may_drop, rng.choice([16, 40, 100]))
    parts, bad_steps = all_[0].plan.parts, 0
    for step in range(steps):
        kinds = [rng.choice(KINDS) for _ in parts]
        given = [
            torch.cat([values(kind, (part.elements,), generator) for kind, part in zip(kinds, parts, strict=True)])
            for _ in range(ranks)
        ]
        bad = step < steps - 1 and rng.random() < 0.3
        if bad:
            part = rng.choice(all_[0].plan.compressed)
            given[rng.randrange(ranks)][rng.randrange(part.where.start, part.where.stop)] = float(rng.choice(BAD))
        before = [one.residual.now.clone() for one in all_]
        wanted = torch.stack([x.double() for x in (*given, *before)])
        averages = exchange(all_, given)
        after = [one.residual.now for one in all_]
        check_steps(all_)
        where = f"seed {seed}, step {step}"
        for average in averages[1:]:
            assert torch.equal(bits(average), bits(averages[0])), where
        assert all(bool(x.isfinite().all()) for x in after), where
        if bad:
            bad_steps += 1
            assert bool(averages[0].isnan().all()), where
            for old, new in zip(before, after, strict=True):
                assert torch.equal(bits(new), bits(old)), where
            continue
        assert bool(averages[0].isfinite().all()), where
        found = averages[0].double() + torch.stack([x.double() for x in after]).mean(dim=0)
        error, size = (found - wanted.sum(dim=0) / ranks).abs(), wanted.abs().sum(dim=0)
        # Rounding is of the size of a row's values, which may be far larger than one of its elements.
        rows = all_[0].plan.rows
        for start, length in zip(rows.start.tolist(), rows.length.tolist(), strict=True):
            row = slice(start, start + length)
            assert float(error[row].max()) <= 1e-6 * float(size[row].max()) + 1e-44, where
        plain = all_[0].plan.plain
        assert bool((error[plain] <= 1e-6 * size[plain] + 1e-44).all()), where
    return bad_steps


def test_1_000_steps_of_any_values() -> None:
    assert sum(check(seed, 10) for seed in range(100)) > 200


def test_steps_move_with_their_parameters_into_other_buckets() -> None:
    """Two steps in one bucket and two in another division give what four in one bucket give, to the bit."""
    generator = torch.Generator().manual_seed(3)
    given = [[torch.randn(495, generator=generator) for _ in range(2)] for _ in range(4)]
    whole, first = exchanges(2, 1, False, False, 16), exchanges(2, 1, False, False, 16)
    wanted = [exchange(whole, [x.clone() for x in step]) for step in given]
    for step in given[:2]:
        exchange(first, [x.clone() for x in step])
    names = list(SHAPES)
    then = []
    for parts_of in (names[3:], names[:3]):
        parts = bucket_parts(parts_of, [SHAPES[name] for name in parts_of], smallest=64)
        plan = Plan(parts, 2, sum(part.elements for part in parts), 16)
        then.append([BucketExchange(plan, rank, torch.float32, torch.device("cpu")) for rank in range(2)])
    for rank in range(2):
        kept = Kept()
        kept.take_from(first[rank].plan.parts, first[rank], None)
        for bucket in then:
            kept.put_into(bucket[rank].plan.parts, bucket[rank], None)
        assert not kept.residual
        assert not kept.steps
    cut = sum(part.elements for part in then[1][0].plan.parts)
    for step, old in zip(given[2:], wanted[2:], strict=True):
        new = [exchange(then[1], [x[:cut] for x in step]), exchange(then[0], [x[cut:] for x in step])]
        for rank in range(2):
            assert torch.equal(torch.cat([new[0][rank], new[1][rank]]), old[rank])


@pytest.mark.slow
def test_10_000_steps_of_any_values() -> None:
    assert sum(check(seed, 10) for seed in range(100, 1_100)) > 2_000


@pytest.mark.parametrize("width", [1, 8])
def test_what_no_rank_has_used_is_kept_whole(width: int) -> None:
    one, two = all_ = exchanges(2, width, late=False, may_drop=True, row_length=16)
    generator = torch.Generator().manual_seed(1)
    exchange(all_, [torch.randn(one.plan.elements, generator=generator) for _ in all_])
    kept = (one.residual.now.double() + two.residual.now.double()) / 2
    given = [torch.randn(one.plan.elements, generator=generator) for _ in all_]
    a, c, d = one.plan.compressed
    for gradient in given:
        gradient[a.where] = 0.0
    given[1][d.where] = 0.0  # used by the other rank
    wanted = (given[0].double() + given[1].double()) / 2 + kept
    average = exchange(all_, given)[0]
    now = (one.residual.now.double() + two.residual.now.double()) / 2
    assert not average[a.where].any()
    torch.testing.assert_close(now[a.where], kept[a.where], rtol=0, atol=1e-6)
    for part in (c, d):
        assert average[part.where].any()
        torch.testing.assert_close((average + now)[part.where], wanted[part.where], rtol=0, atol=1e-6)
