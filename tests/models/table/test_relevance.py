"""What the network reads where rows are few, and that what it does not read cannot move it."""

from __future__ import annotations

import numpy as np
import torch
from ludocast.datamodules.preprocess import Encoded
from ludocast.models.table.network import TabularNetwork
from ludocast.models.table.relevance import relevant_inputs


def table(rows: int, columns: int) -> tuple[Encoded, np.ndarray]:
    generator = np.random.default_rng(0)
    numbers = generator.normal(size=(rows, columns)).astype(np.float32)
    codes = generator.integers(2, 5, size=(rows, 3))
    logit = 2 * numbers[:, 1] + 2 * np.abs(numbers[:, 4]) + 1.5 * (codes[:, 2] == 3) - 2
    label = (generator.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    return Encoded(numbers, codes, numbers), label


def test_keeps_what_acts_and_leaves_out_the_noise() -> None:
    encoded, label = table(1_200, 30)
    numbers, codes = relevant_inputs(encoded, label, seed=0)
    assert numbers[[1, 4]].all()
    assert codes[2]
    assert numbers.sum() + codes.sum() <= 3 + 2  # a noise column wins by chance about once in as many as there are


def test_keeps_all_where_rows_abound_or_nothing_acts() -> None:
    encoded, label = table(2_000, 5)
    assert all(mask.all() for mask in relevant_inputs(encoded, label, seed=0))
    encoded, label = table(300, 10)
    generator = np.random.default_rng(4)
    assert all(mask.all() for mask in relevant_inputs(encoded, generator.permutation(label), seed=0))


def test_a_member_does_not_see_what_it_does_not_read() -> None:
    torch.manual_seed(0)
    network = TabularNetwork(3, [4, 5], 1, members=2).eval()
    network.read_only(
        torch.tensor([[True, False, True], [True, True, True]]), torch.tensor([[True, False], [True, True]])
    )
    numbers, codes = torch.randn(1, 6, 3), torch.randint(0, 4, (2, 6, 2))
    before = network(numbers, codes)
    numbers[..., 1] += 1
    codes[..., 1] = (codes[..., 1] + 1) % 4
    after = network(numbers, codes)
    torch.testing.assert_close(after[0], before[0], rtol=0, atol=0)
    assert (after[1] != before[1]).all()
