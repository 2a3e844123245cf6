"""Batches from row groups: every row once a pass, of one rank or two, and the same ones again for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ludocast.datamodules.fit_preprocessing import fit_preprocessing
from ludocast.datamodules.infer import infer_schema, label_index, label_values, raw_columns
from ludocast.datamodules.row_group_loader import RowGroupLoader, Rows, TrainingStream, shuffled, whole_batches
from ludocast.datamodules.row_groups import StreamedTable, open_row_groups

from tests.compression.ranks import on_ranks
from tests.datamodules.data_sets import made_frame, write_parts

ROWS = 1_000  # 600 of them to train on


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parts(made_frame(ROWS), tmp_path_factory.mktemp("parts"))


def stream(folder: Path) -> TrainingStream:
    groups = open_row_groups(folder, "split")
    table, _ = groups.sample({"train": 600}, 0)
    schema = infer_schema(table, "churned", "true", ["split"])
    columns, _ = raw_columns(table, schema)
    label = label_index(label_values(table, "churned", frozenset()), schema)
    return TrainingStream(StreamedTable(groups, schema), fit_preprocessing(schema, columns, label)[0])


def passes(rank: int, folder: Path, batch: int, options: dict[str, int], epochs: int) -> list[list[np.ndarray]]:
    """Of each epoch the batches [M, B] of scaled `number`, which tells rows apart."""
    loader = RowGroupLoader(stream(folder), 2, batch, 5, **options)
    found = []
    for epoch in range(epochs):
        loader.set_epoch(epoch)
        found.append([numbers[..., 0].numpy().copy() for numbers, _, _ in loader])
        assert len(found[-1]) == len(loader)
    return found


def all_numbers(folder: Path) -> set[float]:
    rows = stream(folder)
    numbers = np.concatenate([numbers[:, 0] for numbers, _, _ in rows.line(rows.filled, 0, rows.rows)])
    found = set(numbers.tolist())
    assert len(found) == len(numbers) == 600
    return found


@pytest.mark.parametrize("options", [{}, {"buffer": 100}, {"buffer": 20, "epoch_rows": 200}])
def test_each_member_sees_each_row_once_a_pass(folder: Path, options: dict[str, int]) -> None:
    parts = 3 if "epoch_rows" in options else 1
    found = passes(0, folder, 50, options, 2 * parts)
    rows = all_numbers(folder)
    for number in range(2):
        epochs = found[number * parts : (number + 1) * parts]
        for member in range(2):
            seen = np.concatenate([batch[member] for epoch in epochs for batch in epoch])
            assert len(seen) == len(rows)
            assert set(seen.tolist()) == rows
    first, second = np.concatenate(found[0], axis=1), np.concatenate(found[parts], axis=1)
    assert (first[0] != first[1]).mean() > 0.5  # members have orders of their own
    assert (first != second).mean() > 0.5  # and so have passes
    again = passes(0, folder, 50, options, 2 * parts)
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("batch", [50, 40, 37])
def test_two_ranks_share_the_rows(folder: Path, batch: int) -> None:
    shares = on_ranks(2, passes, folder, batch, {"buffer": 64, "epoch_rows": 300}, 2)
    rows, whole = all_numbers(folder), []
    for epoch in range(2):
        first, second = (share[epoch] for share in shares)
        assert len(first) == len(second) == 300 // batch
        assert {found.shape[1] for found in first} == {(batch + 1) // 2}
        assert {found.shape[1] for found in second} == {batch // 2}
        whole += [found[0] for found in (*first, *second)]
    seen = np.concatenate(whole).tolist()
    assert len(set(seen)) == len(seen) == 2 * batch * (300 // batch)  # in one place alone
    assert set(seen) <= rows
    assert len(rows - set(seen)) == 600 - 2 * batch * (300 // batch)  # less than a batch an epoch is left out


def test_few_rows_are_one_batch(folder: Path) -> None:
    (batches,) = passes(0, folder, 10_000, {}, 1)
    assert [batch.shape for batch in batches] == [(2, 600)]


@pytest.mark.parametrize("size", [1, 7, 30, 1000])
def test_the_buffer_gives_back_what_came(size: int) -> None:
    def blocks() -> Iterator[Rows]:
        begin = 0
        for count in (10, 1, 64, 25):
            number = np.arange(begin, begin + count)
            yield number[:, None].astype(np.float32), number[:, None] * 2, number * 3
            begin += count

    found = list(whole_batches(shuffled(blocks(), min(size, 100), np.random.default_rng(1)), 8))
    numbers, codes, label = (np.concatenate(side) for side in zip(*found, strict=True))
    assert all(len(rows[2]) % 8 == 0 for rows in found)
    assert len(set(label.tolist())) == len(label) == 96
    np.testing.assert_array_equal(numbers[:, 0] * 3, label)
    np.testing.assert_array_equal(codes[:, 0] * 3, label * 2)
    if size >= 30:  # rows leave in another order than they came in
        assert (np.diff(label) > 0).mean() < 0.8
