"""A schema written, perhaps edited by a person, and read back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ludocast.datamodules.schema import MISSING_TOKENS, Column, Schema, read_schema

SCHEMA = Schema(
    columns=(
        Column("age", "number", "numbers, 3 distinct", 2, 3, None, [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0]),
        Column("국가 ", "category", "2 distinct texts", 0, 2, {"한국": 7, "US, \"x\"\n": 1}, None),
        Column("seen", "timestamp", "dates", 1, 1, None, [0.0] * 7),
        Column("paid", "boolean", "true and false", 0, 2, {"true": 3, "false": 1}, None),
        Column("id", "id", "it names rows"),
        Column("empty", "ignored", "missing in every row"),
    ),
    label="churn",
    classes=("N", "Y"),
    positive="Y",
    missing_tokens=("", "NA", "-999"),
    warnings=("a note",),
)  # fmt: skip


def edited(path: Path, **changes: Any) -> Path:
    SCHEMA.write(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**document, **changes}), encoding="utf-8")
    return path


def test_what_is_written_is_read_the_same(tmp_path: Path) -> None:
    SCHEMA.write(tmp_path / "s.json")
    found = read_schema(tmp_path / "s.json")
    assert found == SCHEMA
    assert found.warnings == ()  # those of the table at hand take their place
    text = (tmp_path / "s.json").read_text(encoding="utf-8")
    assert "한국" in text
    assert json.loads(text)["columns"][0] == {
        "name": "age", "kind": "number", "reason": "numbers, 3 distinct", "missing": 2, "distinct": 3, "categories": None,
        "quantiles": [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0], "is_quantity": False,
    }  # fmt: skip
    found.write(tmp_path / "again.json")
    again = json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))
    assert {**again, "warnings": ["a note"]} == json.loads(text)


def test_inputs_are_the_columns_that_a_model_reads() -> None:
    assert [column.name for column in SCHEMA.inputs] == ["age", "국가 ", "seen", "paid"]
    assert SCHEMA.positive_index == 1
    assert Schema((), "y", ("a", "b", "c"), None).positive_index is None


def test_an_edited_kind_and_token_are_followed(tmp_path: Path) -> None:
    columns = [{"name": "age", "kind": "category", "reason": "it is a code"}]
    found = read_schema(edited(tmp_path / "s.json", columns=columns, missing_tokens=["", " none "]))
    assert found.columns == (Column("age", "category", "it is a code"),)
    assert found.missing_tokens == ("", "none")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"columns": [{"name": "a", "kind": "text", "reason": ""}]},
         'column "a": kind is one of number, category, boolean, timestamp, id, ignored, got "text"'),
        ({"columns": [{"name": "a", "kind": "number", "reason": "", "knid": 1}]}, "unexpected keyword argument 'knid'"),
        ({"columns": [{"name": "a", "reason": ""}]}, "KeyError 'kind'"),
        ({"columns": [{"name": 3, "kind": "number", "reason": ""}]}, "a column's name is text, got 3"),
        ({"columns": [{"name": "a", "kind": "id", "reason": ""}] * 2}, 'describes the column "a" twice'),
        ({"columns": {}}, '"columns" has to be a list'),
        ({"missing_tokens": [-999]}, '"missing_tokens" is a list of texts such as "-999", got -999'),
        ({"missing_tokens": "NA"}, '"missing_tokens" has to be a list'),
        ({"classes": "NY"}, '"classes" has to be a list'),
        ({"format": 2}, "has schema format 2, this ludocast reads 1"),
    ],
)  # fmt: skip
def test_a_slip_in_editing_is_named(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        read_schema(edited(tmp_path / "s.json", **changes))


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}", b"\xff\xfe", b"player_id,age\n1,2\n"])
def test_what_is_no_schema_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"s\.json is not a schema as training writes it \(schema\.json of a run\)"):
        read_schema(tmp_path / "s.json")
    with pytest.raises(ValueError, match=r"there is no schema .*absent\.json"):
        read_schema(tmp_path / "absent.json")


def test_the_default_tokens_are_those_of_cells() -> None:
    assert MISSING_TOKENS[0] == ""
    assert all(token == token.strip() for token in MISSING_TOKENS)
