"""Score tests of pairs: equal to loops in float64, find what acts together, and find nothing where nothing does."""

from __future__ import annotations

import numpy as np
import pytest
from ludocast.datamodules.fit_preprocessing import fit_preprocessing
from ludocast.datamodules.infer import RawColumns, infer_schema, label_index, label_values, raw_columns
from ludocast.datamodules.interactions import (
    CELL_ROWS,
    Interactions,
    cross_statistics,
    find_interactions,
    one_hot,
    product_statistics,
)
from ludocast.datamodules.preprocess import Preprocessing
from ludocast.datamodules.read import from_frame
from ludocast.datamodules.schema import Schema


def drawn(logit: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return np.asarray(generator.random(len(logit)) < 1 / (1 + np.exp(-logit))).astype(np.int64)


def test_product_statistics_equal_a_loop() -> None:
    generator = np.random.default_rng(0)
    x, r = generator.normal(size=(40, 3)).astype(np.float32), generator.normal(size=(40, 2))
    w = generator.uniform(0.1, 0.25, size=(40, 2))
    found = product_statistics(x, r, w)
    for i in range(3):
        for j in range(3):
            wanted = 0.0
            for k in range(2):
                u = sum(float(r[n, k]) * float(x[n, i]) * float(x[n, j]) for n in range(40))
                variance = sum(float(w[n, k]) * (float(x[n, i]) * float(x[n, j])) ** 2 for n in range(40))
                wanted += u**2 / variance
            assert found[i, j] == pytest.approx(wanted, rel=1e-5)


def test_cross_statistics_equal_a_loop_and_skip_small_cells() -> None:
    generator = np.random.default_rng(1)
    codes = np.stack([generator.integers(0, 3, 200), generator.integers(0, 2, 200)], 1)
    codes[:4] = [2, 1]
    codes[4:, 0] = np.minimum(codes[4:, 0], 1)  # the cell (2, 1) has four rows, (2, 0) none
    r, w = generator.normal(size=(200, 1)), generator.uniform(0.1, 0.25, size=(200, 1))
    statistic, freedom = cross_statistics(one_hot(codes, [3, 2]), [3, 2], r, w)
    wanted, cells = 0.0, 0
    for a in range(3):
        for b in range(2):
            rows = [n for n in range(200) if codes[n, 0] == a and codes[n, 1] == b]
            if len(rows) >= CELL_ROWS:
                wanted += sum(float(r[n, 0]) for n in rows) ** 2 / sum(float(w[n, 0]) for n in rows)
                cells += 1
    assert statistic[0, 1] == pytest.approx(wanted, rel=1e-6)
    assert freedom[0, 1] == cells == 4


def test_finds_the_product_and_the_cross_that_act() -> None:
    generator = np.random.default_rng(2)
    x = generator.normal(size=(3_000, 6)).astype(np.float32)
    codes = generator.integers(2, 6, size=(3_000, 4))
    parity = np.where((codes[:, 1] + codes[:, 3]) % 2 == 0, 1.0, -1.0)
    label = drawn(x[:, 0] + np.abs(x[:, 1]) + 0.7 * x[:, 2] * x[:, 5] + parity - 1, generator)
    assert find_interactions(x, codes, [6, 6, 6, 6], label) == Interactions(((2, 5),), ((1, 3),))


@pytest.mark.parametrize("seed", range(5))
def test_finds_nothing_where_every_input_acts_alone(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(2_000, 12)).astype(np.float32)
    codes = generator.integers(2, 7, size=(2_000, 5))
    label = drawn(x[:, 0] + np.abs(x[:, 1]) + np.sin(2 * x[:, 2]) + (codes[:, 0] == 3) - 1, generator)
    assert find_interactions(x, codes, [7] * 5, label) == Interactions()


def crossed_table(rows: int = 2_000) -> tuple[Schema, RawColumns, np.ndarray]:
    import pandas as pd

    generator = np.random.default_rng(3)
    a, b = generator.integers(0, 4, rows), generator.integers(0, 3, rows)
    x, z = generator.normal(size=(2, rows))
    label = drawn(1.5 * np.where((a + b) % 2 == 0, 1, -1) + x * z, generator)
    frame = pd.DataFrame({"a": [f"a{k}" for k in a], "b": [f"b{k}" for k in b], "x": x, "z": z, "y": label.astype(str)})
    table = from_frame(frame)
    schema = infer_schema(table, "y")
    columns, _ = raw_columns(table, schema)
    return schema, columns, label_index(label_values(table, "y", frozenset(schema.missing_tokens)), schema)


@pytest.fixture(scope="module")
def fitted() -> tuple[Preprocessing, RawColumns, np.ndarray, np.ndarray]:
    schema, columns, label = crossed_table()
    preprocessing, encoded = fit_preprocessing(schema, columns, label)
    return preprocessing, columns, label, encoded.raw


def test_a_product_is_that_of_the_scaled_numbers(
    fitted: tuple[Preprocessing, RawColumns, np.ndarray, np.ndarray],
) -> None:
    preprocessing, columns, _, _ = fitted
    encoded = preprocessing.encode(columns)
    assert preprocessing.products == ((0, 1),)
    np.testing.assert_array_equal(encoded.numbers[:, -1], encoded.numbers[:, 0] * encoded.numbers[:, 1])
    np.testing.assert_array_equal(encoded.raw[:, -1], encoded.numbers[:, -1])


def test_a_cross_numbers_the_pairs_and_smooths_their_mean_label(
    fitted: tuple[Preprocessing, RawColumns, np.ndarray, np.ndarray],
) -> None:
    preprocessing, columns, label, _ = fitted
    (cross,) = preprocessing.crosses
    encoded = preprocessing.encode(columns)
    pairs: dict[tuple[str, str], list[int]] = {}
    for n in range(len(label)):
        pairs.setdefault((columns["a"][n], columns["b"][n]), []).append(n)
    assert cross.size == len(pairs) + 2  # unknown and missing come first
    for rows in pairs.values():
        assert len({int(code) for code in encoded.codes[rows, -1]}) == 1
        wanted = (sum(int(label[n]) for n in rows) + 10 * float(label.mean())) / (len(rows) + 10)
        np.testing.assert_allclose(encoded.raw[rows, -2], wanted, rtol=1e-6)


def test_no_row_sees_its_own_label_in_its_cross(
    fitted: tuple[Preprocessing, RawColumns, np.ndarray, np.ndarray],
) -> None:
    preprocessing, columns, label, raw = fitted
    schema, _, _ = crossed_table()
    turned = label.copy()
    turned[7] = 1 - turned[7]
    again, encoded = fit_preprocessing(schema, columns, turned)
    assert [(c.first, c.second) for c in again.crosses] == [(c.first, c.second) for c in preprocessing.crosses]
    mean = len(preprocessing.numbers) + len(preprocessing.means)
    assert encoded.raw[7, mean] == raw[7, mean]
    assert (encoded.raw[:, mean] != raw[:, mean]).sum() > 50  # rows of the same pair in other folds do see it


def test_rare_pairs_have_no_code_and_private_ones_no_rate() -> None:
    schema, columns, label = crossed_table()
    preprocessing, _ = fit_preprocessing(schema, columns, label, rare=1_000)
    for cross in preprocessing.crosses:
        assert set(cross.table.ravel().tolist()) == {0}
        np.testing.assert_allclose(cross.means, label.mean(), rtol=1e-6)
