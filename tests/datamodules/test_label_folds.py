"""Folds and columns of several labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ludocast.datamodules.label_columns import infer_label_schema, label_columns, label_matrix
from ludocast.datamodules.label_folds import label_folds
from ludocast.datamodules.read import from_frame
from ludocast.datamodules.schema import MISSING_TOKENS, LabelColumn, read_schema
from ludocast.datamodules.split import stratified_split
from ludocast.datamodules.traps import traps

MISSING = frozenset(MISSING_TOKENS)


def test_each_fold_has_its_share_of_each_label() -> None:
    generator = np.random.default_rng(0)
    wish = generator.normal(size=(1_003, 1)) + generator.normal(size=(1_003, 6))
    label = (wish > [-3, -1, 0, 1, 2, 3.5]).astype(np.int64)  # of the first nearly all rows, of the last nearly none
    fold = label_folds(label, 3, 5)
    counts = np.array([label[fold == k].sum(axis=0) for k in range(5)])
    assert np.ptp(counts, axis=0).max() <= 2
    assert np.ptp(np.bincount(fold)) <= 1
    assert (fold == label_folds(label, 3, 5)).all()
    assert (fold != label_folds(label, 4, 5)).any()


def test_the_rarest_values_reach_every_fold() -> None:
    """Five rows of a label, five that lack another: one of each in every fold, although rows overlap."""
    label = np.zeros((40, 3), np.int64)
    label[:5, 0] = 1
    label[:, 1] = 1
    label[3:8, 1] = 0
    label[::2, 2] = 1
    fold = label_folds(label, 0, 5)
    assert [label[fold == k, 0].sum() for k in range(5)] == [1] * 5
    assert [(label[fold == k, 1] == 0).sum() for k in range(5)] == [1] * 5
    split = stratified_split(label, 0.2, 0.1, 0)
    assert sorted([*split.train, *split.test]) == list(range(40))
    assert label[split.test, 0].sum() == 1


def test_what_means_yes() -> None:
    frame = pd.DataFrame(
        {"a": ["Yes", "No"] * 5, "b": [0, 1] * 5, "c": [True, False] * 5, "d": ["left", "stays"] * 5, "x": range(10)}
    )
    table = from_frame(frame)
    found = label_columns(table, ["a", "b", "c", "d"], "left", MISSING)
    assert found == (
        LabelColumn("a", "No", "Yes"), LabelColumn("b", "0", "1"), LabelColumn("c", "false", "true"),
        LabelColumn("d", "stays", "left"),
    )  # fmt: skip
    assert label_matrix(table, found, MISSING).tolist() == [[1, 0, 1, 1], [0, 1, 0, 0]] * 5
    # What is named counts even against what is evident.
    assert label_columns(table, ["a", "b"], "No", MISSING)[0] == LabelColumn("a", "Yes", "No")


@pytest.mark.parametrize(
    ("labels", "positive", "message"),
    [
        (["a"], None, "two columns or more"),
        (["a", "a"], None, 'names "a" twice'),
        (["a", "nope"], None, 'no column "nope"'),
        (["a", "three"], None, 'the label "three" has 3 values .* --label three'),
        (["a", "one"], None, 'the label "one" is always "yes"'),
        (["a", "gap"], None, 'the label "gap" is missing in 2 of 10 rows'),
        (["a", "odd"], None, 'which value of the label "odd" means yes, "left" or "right"'),
        (["a", "odd"], "left,right", 'which value of the label "odd" means yes'),
        (["a", "b"], "maybe", '--positive "maybe" is no value of a, b'),
    ],
)
def test_labels_that_are_none_are_refused(labels: list[str], positive: str | None, message: str) -> None:
    frame = pd.DataFrame(
        {
            "a": ["Yes", "No"] * 5, "b": [0, 1] * 5, "three": ["u", "v", "w"] * 3 + ["u"], "one": ["yes"] * 10,
            "gap": ["yes", "no", "no", "yes", ""] * 2, "odd": ["left", "right"] * 5, "x": range(10),
        }
    )  # fmt: skip
    with pytest.raises(ValueError, match=message):
        infer_label_schema(from_frame(frame), labels, positive)


def test_labels_are_no_inputs_and_the_schema_comes_back(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": ["Yes", "No"] * 30, "b": [0, 1, 0] * 20, "x": [0.5, 1.5] * 30, "note": ["k"] * 60})
    schema = infer_label_schema(from_frame(frame), ["a", "b"], exclude=["note"])
    assert [column.name for column in schema.inputs] == ["x"]
    assert (schema.label, schema.classes, schema.positive) == ("a, b", ("a", "b"), None)
    path = tmp_path / "schema.json"
    schema.write(path)
    assert read_schema(path) == schema


def test_traps_name_the_label() -> None:
    generator = np.random.default_rng(0)
    has = (generator.random((1_000, 2)) < [0.5, 0.02]).astype(np.int64)
    frame = pd.DataFrame({"a": has[:, 0], "b": has[:, 1], "leak": has[:, 0] + 0.0, "x": generator.normal(size=1_000)})
    table = from_frame(frame)
    schema = infer_label_schema(table, ["a", "b"])
    columns = {name: frame[name].to_numpy(np.float32) for name in ("leak", "x")}
    found = traps(schema, columns, has, np.arange(800), np.arange(800, 1_000))
    assert any('"leak" alone tells the label "a"' in one for one in found)
    assert any('the label "b" is rare' in one for one in found)
    assert len(found) == 2
