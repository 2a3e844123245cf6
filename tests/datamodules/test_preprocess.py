from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pytest
from ludocast.datamodules.fit_preprocessing import fit_preprocessing
from ludocast.datamodules.infer import RawColumns, infer_schema, raw_columns
from ludocast.datamodules.preprocess import FIRST, MISSING, UNKNOWN, Preprocessing
from ludocast.datamodules.schema import Schema


def fitted(rows: int = 400) -> tuple[Schema, RawColumns, np.ndarray, Preprocessing]:
    generator = np.random.default_rng(0)
    table = pa.table(
        {
            "x": generator.gamma(1.0, 100.0, rows),
            "code": generator.integers(0, 4, rows),
            "city": [f"c{k}" for k in generator.zipf(1.5, rows) % 300],
            "gap": [None if k % 3 == 0 else float(k) for k in range(rows)],
            "y": [["a", "b"][k % 2] for k in range(rows)],
        }
    )
    schema = infer_schema(table, "y")
    columns, _ = raw_columns(table, schema)
    label = np.arange(rows) % 2
    return schema, columns, label, fit_preprocessing(schema, columns, label)[0]


def test_quantile_normal_by_hand() -> None:
    table = pa.table({"x": [1.0, 1.0, 2.0, 4.0] * 2, "y": ["a", "b"] * 4})
    schema = infer_schema(table, "y")
    columns, _ = raw_columns(table, schema)
    preprocessing, encoded = fit_preprocessing(schema, columns, np.array([0, 1] * 4))
    # Middle ranks: the tie of 1 fills [0, 1/2], 2 fills [1/2, 3/4], 4 fills [3/4, 1].
    scores = [NormalDist().inv_cdf(p) for p in (0.25, 0.25, 0.625, 0.875)]
    np.testing.assert_allclose(encoded.numbers[:4, 0], scores, atol=1e-6)
    between = preprocessing.encode({"x": np.array([3.0, -9.0, 99.0, np.nan], np.float32)})
    wanted = [(scores[2] + scores[3]) / 2, scores[0], scores[3], 0.0]
    np.testing.assert_allclose(between.numbers[:, 0], wanted, atol=1e-6)


def test_codes_of_known_missing_and_unseen_values() -> None:
    schema, columns, _, preprocessing = fitted()
    probe = {name: values[:3].copy() for name, values in columns.items()}
    probe["code"] = np.array([0.0, np.nan, 77.0], np.float32)
    codes = preprocessing.encode(probe).codes
    at = [entry.column for entry in preprocessing.codes].index("code")
    assert codes[:, at].tolist() == [FIRST, MISSING, UNKNOWN]
    assert schema.inputs[1].name == "code"


def test_rare_values_of_a_sparse_column_have_no_code_of_their_own() -> None:
    _, columns, _, preprocessing = fitted()
    entry = next(entry for entry in preprocessing.codes if entry.column == "city")
    names, counts = np.unique(columns["city"].astype(str), return_counts=True)
    assert len(names) * 50 > 400  # fewer than 50 rows a value on average
    assert set(entry.keys) == set(names[counts >= 20])


def test_missing_flag_stands_beside_the_number() -> None:
    _, columns, _, preprocessing = fitted()
    encoded = preprocessing.encode(columns)
    position = [entry.column for entry in preprocessing.numbers].index("gap")
    flags = encoded.numbers[:, len(preprocessing.numbers)]
    np.testing.assert_array_equal(flags, np.isnan(columns["gap"]).astype(np.float32))
    assert (encoded.numbers[np.isnan(columns["gap"]), position] == 0).all()


def test_a_rows_own_label_is_not_in_its_mean_label() -> None:
    schema, columns, label, _ = fitted()
    at = -1  # the mean label of "city" is the last raw column
    before = fit_preprocessing(schema, columns, label)[1].raw[:, at]
    for row in (0, 7, 31):
        changed = label.copy()
        changed[row] = 1 - changed[row]
        after = fit_preprocessing(schema, columns, changed)[1].raw[:, at]
        assert after[row] == before[row]
        assert (after != before).any()


def test_mean_labels_are_smoothed_by_ten_rows() -> None:
    table = pa.table({"c": ["u"] * 30 + ["v"] * 10, "y": ["a", "b"] * 20})
    schema = infer_schema(table, "y")
    columns, _ = raw_columns(table, schema)
    label = np.array([1] * 30 + [0] * 10)
    entry = fit_preprocessing(schema, columns, label)[0].means[0]
    np.testing.assert_allclose(entry.means[:, 0], [(30 + 7.5) / 40, (0 + 7.5) / 20])
    np.testing.assert_allclose(entry.default, [0.75])


@pytest.mark.parametrize("rare", [0, 5])
def test_private_leaves_rare_values_out(rare: int) -> None:
    table = pa.table({"c": ["a"] * 400 + ["b"] * 396 + ["secret"] * 4, "y": ["0", "1"] * 400})
    schema = infer_schema(table, "y")
    columns, _ = raw_columns(table, schema)
    preprocessing, _ = fit_preprocessing(schema, columns, np.arange(800) % 2, rare=rare)
    assert ("secret" in preprocessing.codes[0].keys) is (rare == 0)
    assert ("secret" in preprocessing.means[0].keys) is (rare == 0)
