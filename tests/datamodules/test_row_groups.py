"""A data set read a piece at a time: every row of a part, samples, and what is wrong with a file said with its name."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ludocast.datamodules.infer import infer_schema
from ludocast.datamodules.row_groups import PARTS, StreamedTable, open_row_groups

from tests.datamodules.data_sets import made_frame, spoil, write_parts

FRAME = made_frame(1_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parts(FRAME, tmp_path_factory.mktemp("parts"))


def test_all_rows_are_there(folder: Path) -> None:
    (folder / "_schema.json").write_text("{}")
    groups = open_row_groups(folder, "split")
    assert len(groups.groups) == 15
    assert groups.whole().to_pandas().equals(pd.read_parquet(folder))
    schema = infer_schema(groups.whole(), "churned", "true", ["split"])
    for part in PARTS:
        rows = FRAME[FRAME.split == part]
        assert groups.rows(part) == len(rows)
        pieces = list(StreamedTable(groups, schema).part(part))
        np.testing.assert_array_equal(np.concatenate([label for _, label in pieces]), rows.churned)
        for name in ("number", "noise"):
            found = np.concatenate([columns[name] for columns, _ in pieces])
            np.testing.assert_array_equal(found, rows[name].astype(np.float32))


def test_a_sample_tells_which_rows_it_has(folder: Path) -> None:
    groups = open_row_groups(folder, "split")
    most = {"train": 100, "validation": 50, "test": 10_000}
    table, positions = groups.sample(most, 3)
    found = table.to_pandas()
    for part in PARTS:
        rows = FRAME[FRAME.split == part]
        assert len(positions[part]) == min(most[part], len(rows))
        expected, sampled = rows.iloc[positions[part]], found[found.split == part]
        assert sampled.number.tolist() == expected.number.tolist()
    assert (np.diff(found.number) > 0).all()
    assert groups.sample(most, 3)[0].equals(table)
    assert not groups.sample(most, 4)[0].equals(table)
    # Each row has the same chance: over many draws, training row 0 is taken in 100 of 600.
    taken = sum(groups.sample({"train": 100}, seed)[1]["train"][0] == 0 for seed in range(60))
    assert 2 <= taken <= 22


@pytest.mark.parametrize("group", [0, 3])
def test_a_corrupt_row_group_is_named(folder: Path, tmp_path: Path, group: int) -> None:
    bad = shutil.copytree(folder, tmp_path / "bad")
    spoil(bad / "part-00001.parquet", group, "noise")
    groups = open_row_groups(bad, "split")
    with pytest.raises(ValueError, match=rf"part-00001\.parquet, row group {group + 1} of 5 cannot be read"):
        groups.sample({"train": 100, "validation": 10, "test": 10}, 0)


def test_files_that_do_not_belong_are_named(folder: Path, tmp_path: Path) -> None:
    bad = shutil.copytree(folder, tmp_path / "bad")
    last = bad / "part-00002.parquet"
    whole = pq.read_table(last)
    pq.write_table(whole.set_column(0, "number", whole["number"].cast(pa.float32())), last)
    with pytest.raises(ValueError, match=r'"number" is float in .*part-00002.* and double in .*part-00000'):
        open_row_groups(bad, "split")
    pq.write_table(whole.drop_columns(["noise"]), last)
    with pytest.raises(ValueError, match=r'"noise" is absent in .*part-00002'):
        open_row_groups(bad, "split")
    last.write_bytes(last.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"part-00002\.parquet cannot be read"):
        open_row_groups(bad, "split")
    with pytest.raises(ValueError, match='has no column "part"'):
        open_row_groups(folder, "part")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no Parquet file"):
        open_row_groups(tmp_path / "empty", "split")


def test_a_label_that_the_schema_does_not_know_is_named(tmp_path: Path) -> None:
    frame = FRAME.assign(churned=FRAME.churned.astype(object))
    frame.loc[500, "churned"] = None
    groups = open_row_groups(write_parts(frame, tmp_path), "split")
    schema = infer_schema(groups.whole().slice(0, 300), "churned", "true", ["split"])
    with pytest.raises(ValueError, match=r'part-00001\.parquet, row group 3 of 5: the label "churned" is "" in a row'):
        list(StreamedTable(groups, schema).part("train"))
