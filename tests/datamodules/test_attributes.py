"""Attributes of users and items: found by id, made numbers on known rows alone, refused with what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ludocast.datamodules.attributes import (
    attributes_of_frame,
    fit_user_columns,
    is_blank,
    of_rows,
    read_attributes,
    user_schema,
)
from ludocast.datamodules.item_features import item_features

PLAYERS = pd.DataFrame(
    {"player": [7, 3, 5, 9], "age": [20.0, 30.0, None, 40.0], "country": ["KR", "DE", None, "KR"], "same": ["x"] * 4}
)


def test_rows_are_found_by_whole_numbers_and_by_texts() -> None:
    found = attributes_of_frame(PLAYERS, "player")
    assert found.rows_of(np.array([3, 4, 9])).tolist() == [1, -1, 3]
    assert found.rows_of(np.array(["7", "x"], object)).tolist() == [0, -1]
    assert found.table.column_names == ["age", "country", "same"]


def test_vectors_are_scaled_numbers_flags_and_one_hot_codes() -> None:
    schema, raw, told = user_schema(attributes_of_frame(PLAYERS, "player"))
    assert [column.name for column in schema.inputs] == ["age", "country"]
    assert len(told) == 1
    assert "same" in told[0]
    repeated = np.repeat(np.arange(4), 60)
    columns = fit_user_columns(schema, raw, repeated)
    found = columns.vectors(raw)
    # Scaled age, whether it is missing, then one-hot: age missing, 20, 30, 40; country missing, DE, KR.
    assert columns.groups.tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1]
    assert found[:, 1:].tolist() == [
        [0, 0, 1, 0, 0, 0, 0, 1],
        [0, 0, 0, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0, 0, 1],
    ]
    assert found[2, 0] == 0
    assert found[0, 0] < found[1, 0] < found[3, 0]
    assert columns.vectors(columns.blank())[0].tolist() == found[2].tolist()
    assert is_blank(raw).tolist() == [False, False, True, False]


def test_values_of_other_rows_are_never_seen() -> None:
    schema, raw, _ = user_schema(attributes_of_frame(PLAYERS, "player"))
    columns = fit_user_columns(schema, raw, np.repeat([0, 3], 60))
    assert [entry.keys.tolist() for entry in columns.preprocessing.codes] == [[20.0, 40.0], ["KR"]]
    assert columns.vectors(of_rows(raw, np.array([1])))[0, 1:].tolist() == [0] * (columns.vectors(raw).shape[1] - 1)


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (PLAYERS.drop(columns="player"), 'needs the column "player", named as in the pairs; it has age, country, same'),
        (pd.concat([PLAYERS, PLAYERS.tail(1)]), '"player" = "9" twice; give one row each'),
        (PLAYERS[["player"]], 'no column beside "player"'),
    ],
)
def test_tables_that_cannot_be_used(frame: pd.DataFrame, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        attributes_of_frame(frame, "player", "--users players.csv")


def test_constant_attributes_are_refused() -> None:
    same = attributes_of_frame(PLAYERS[["player", "same"]], "player", "--users players.csv")
    with pytest.raises(ValueError, match="no column that tells one from another"):
        user_schema(same)
    with pytest.raises(ValueError, match="no column that tells one item from another"):
        item_features(same, np.arange(4))


def test_items_are_alike_by_words_lists_and_numbers(tmp_path: Path) -> None:
    table = pa.table(
        {
            "item": ["a", "b", "c", "d", "e"],
            "name": ["Dark Keep", "Dark Keep II", "Gem Rush", "Gem Rush Gold", None],
            "genres": [["rpg"], ["rpg", "action"], ["puzzle"], ["puzzle"], None],
            "price": [20.0, 21.0, 1.0, 0.5, 10.0],
        }
    )
    pq.write_table(table, tmp_path / "items.parquet")
    found = read_attributes(tmp_path / "items.parquet", "item", "--items")
    features, told = item_features(found, np.arange(5))
    assert told == ()
    alike = (features @ features.T).toarray()
    assert alike[0, 1] > 1.5 > 0 > alike[0, 2]
    assert alike[2, 3] > 1.5
    # The words "dark", "keep" and both side by side are all that two names share: a bag of length 1 each.
    names = item_features(attributes_of_frame(table.select(["item", "name"]).to_pandas(), "item"), np.arange(5))[0]
    np.testing.assert_allclose((names @ names.T).toarray()[0], [1, 1, 0, 0, 0], atol=1e-12)


def test_words_of_held_out_items_alone_are_no_features() -> None:
    found = attributes_of_frame(pd.DataFrame({"item": range(4), "name": ["a x", "b x", "c y", "d y"]}), "item")
    assert item_features(found, np.array([0, 1]))[0].toarray()[2:].tolist() == [[0], [0]]
