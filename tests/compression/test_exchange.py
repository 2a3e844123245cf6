"""The exchange of one bucket, its bytes moved by hand as the two collectives move them: what is lost, what is poisoned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ludocast.compression.exchange import BucketExchange
from ludocast.compression.plan import Plan, bucket_parts
from torch import Tensor

NAMES = ("w", "b", "u")
SHAPES = ((7, 19), (7,), (5, 3, 11))  # divide nothing
ELEMENTS = 133 + 7 + 165


def exchanges(ranks: int, width: int, late: bool) -> list[BucketExchange]:
    plan = Plan(bucket_parts(NAMES, SHAPES, smallest=1), ranks, ELEMENTS, row_length=32, width=width)
    return [BucketExchange(plan, rank, torch.float32, torch.device("cpu"), late) for rank in range(ranks)]


def one_step(ranks: list[BucketExchange], gradients: list[Tensor]) -> list[Tensor]:
    for one, gradient in zip(ranks, gradients, strict=True):
        one.encode(gradient)
    pieces = [torch.split(one._send, one._sent_sizes) for one in ranks]
    for owner, one in enumerate(ranks):
        one._got.copy_(torch.cat([pieces[sender][owner] for sender in range(len(ranks))]))
    for one, gradient in zip(ranks, gradients, strict=True):
        one.add(torch.full_like(gradient, 9.0) if one.late else gradient)
    outs = []
    for one in ranks:
        one._answers.copy_(torch.cat([other._answer for other in ranks]))
        outs.append(torch.full((ELEMENTS,), 7.0))
        one.decode(outs[-1])
    return outs


def drawn(draw: np.random.Generator, ranks: int, bad: bool) -> list[Tensor]:
    exponent = draw.choice(np.array([-149.0, -126.0, -60.0, 0.0, 0.0, 60.0, 100.0]), size=(ranks, 1))
    values = draw.standard_normal((ranks, ELEMENTS)) * np.exp2(exponent)
    some = draw.random(values.shape) < 0.1
    values[some] = draw.choice(np.array([0.0, -0.0, 1e-45, -1e-40, 1e30, -1e30]), size=some.sum())
    if bad:
        values[draw.integers(ranks), draw.integers(ELEMENTS)] = draw.choice(np.array([np.nan, np.inf, -np.inf]))
    return list(torch.from_numpy(values.astype(np.float32)).clone())


@pytest.mark.parametrize(
    ("ranks", "width", "late"), [(2, 1, False), (3, 1, True), (4, 1, False), (3, 4, False), (2, 8, True)]
)
def test_of_two_thousand_random_buckets_none_is_poisoned(ranks: int, width: int, late: bool) -> None:
    """Five settings of 2,000 buckets: zeros of both signs, denormals, huge values, inf and NaN on one rank."""
    draw = np.random.default_rng(ranks + 10 * width)
    all_ranks = exchanges(ranks, width, late)
    inside = torch.zeros(ELEMENTS, dtype=torch.bool)
    for part in all_ranks[0].plan.compressed:
        inside[part.where] = True
    for case in range(2_000):
        if case % 5 == 0:  # so that what huge values leave over does not hide what small ones do
            all_ranks = exchanges(ranks, width, late)
        bad = draw.random() < 0.1
        gradients = drawn(draw, ranks, bad)
        before = [one.residual.now.clone() for one in all_ranks]
        outs = one_step(all_ranks, [gradient.clone() for gradient in gradients])
        for out in outs[1:]:
            assert out.numpy().tobytes() == outs[0].numpy().tobytes()
        after = [one.residual.now for one in all_ranks]
        poison = [gradient for gradient in gradients if not gradient[inside].isfinite().all()]
        if poison:
            assert bool(outs[0].isnan().all())
            for kept, untouched in zip(after, before, strict=True):
                assert kept.numpy().tobytes() == untouched.numpy().tobytes()
            continue
        assert bool(outs[0][inside].isfinite().all())
        pair = torch.stack([torch.stack(gradients), torch.stack(before)]).double()
        given, size = pair.sum(dim=(0, 1)) / ranks, pair.abs().sum(dim=(0, 1))
        left = torch.stack(after).double().mean(dim=0)
        error = (outs[0].double() + left - given).abs()[inside]
        # Rounding is of the size of a row's values, which may be far larger than one of its elements.
        rows = all_ranks[0].plan.rows
        for start, length in zip(rows.start.tolist(), rows.length.tolist(), strict=True):
            row = slice(start, start + length)
            error = (outs[0].double() + left - given)[row].abs().max()
            assert float(error) <= 1e-6 * float(size[row].max()) + 1e-44
