"""`bundle.json`: what is written reads back the same, and each field that is not as it has to be is named."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from typing import Any, get_args

import pytest
from ludocast.models.number_loss import LossName
from ludocast.serve.manifest import FORMAT, CheckRows, Input, Manifest, parse_manifest
from ludocast.serve.manifest_sequences import PairColumns, SequenceInputs, StepGraph
from ludocast.serve.taker import ManifestError
from ludocast.serve.tasks import LOSSES

# Written by the first release. It is never edited: a bundle of any older format has to load for ever.
FORMAT_1 = """{
 "format": 1,
 "outputs": ["label", "probabilities"],
 "name": "run",
 "version": "0123456789ab",
 "inputs": [
  {"column": "age", "tensor": "x0", "kind": "number", "categories": null, "range": [10, 60.5], "dtype": "float32"},
  {"column": "국가 ", "tensor": "x1", "kind": "category", "categories": ["KR", ""], "range": null, "dtype": "string"},
  {"column": "seen", "tensor": "x2", "kind": "timestamp", "categories": null, "range": [0, 1.7e9], "dtype": "float64"},
  {"column": "paid", "tensor": "x3", "kind": "boolean", "categories": ["true"], "range": null, "dtype": "string"}
 ],
 "missing_tokens": ["", "NA"],
 "classes": ["no", "yes"],
 "positive": "yes",
 "threshold": 0.25,
 "files": {"model.onnx": "HASH_A", "sub/extra-1.txt": "HASH_0"},
 "check_rows": {
  "rows": [{"age": 1, "국가 ": "KR", "seen": "1970-01-01T00:00:00Z", "paid": true}, {"age": null}],
  "label": ["no", "yes"],
  "probabilities": [[0.875, 0.125], [0.25, 0.75]]
 },
 "created": "2026-01-31T18:00:00+00:00",
 "metrics": {"auc": {"value": 0.93}},
 "libraries": {"onnx": "1.18"},
 "data_sha256": null,
 "git_revision": "abc",
 "task": "classification"
}""".replace("HASH_A", "a" * 64).replace("HASH_0", "0" * 64)
WANTED = Manifest(
    name="run",
    version="0123456789ab",
    inputs=(
        Input("age", "x0", "number", None, (10.0, 60.5)),
        Input("국가 ", "x1", "category", ("KR", ""), None),
        Input("seen", "x2", "timestamp", None, (0.0, 1.7e9)),
        Input("paid", "x3", "boolean", ("true",), None),
    ),
    missing_tokens=("", "NA"),
    classes=("no", "yes"),
    positive="yes",
    threshold=0.25,
    files={"model.onnx": "a" * 64, "sub/extra-1.txt": "0" * 64},
    check_rows=CheckRows(
        ({"age": 1, "국가 ": "KR", "seen": "1970-01-01T00:00:00Z", "paid": True}, {"age": None}),
        ("no", "yes"),
        ((0.875, 0.125), (0.25, 0.75)),
    ),
    created="2026-01-31T18:00:00+00:00",
    metrics={"auc": {"value": 0.93}},
    libraries={"onnx": "1.18"},
    data_sha256=None,
    git_revision="abc",
)


# Written by the first release with sequences; the same holds for it.
FORMAT_2 = """{
 "format": 2,
 "outputs": ["labels", "probabilities"],
 "name": "run",
 "version": "0123456789ab",
 "inputs": [
  {"column": "event", "tensor": "names", "kind": "category", "categories": ["login"], "range": null, "form": "list",
   "dtype": "string"},
  {"column": "time", "tensor": "times", "kind": "timestamp", "categories": null, "range": [0, 1.7e9], "form": "list",
   "dtype": "float64"},
  {"column": "now", "tensor": "now", "kind": "timestamp", "categories": null, "range": null, "form": "cell",
   "dtype": "float64"}
 ],
 "missing_tokens": ["", "NA"],
 "classes": ["login", "buy"],
 "positive": null,
 "threshold": null,
 "files": {"model.onnx": "HASH_A", "step.onnx": "HASH_0"},
 "check_rows": {
  "rows": [{"event": ["login"], "time": [0], "now": 1}, {"event": [], "time": [], "now": 1}],
  "label": [["buy", "login"], ["login"]],
  "probabilities": [[0.5, 0.25], [0.75]]
 },
 "created": "2026-11-26T11:00:00+00:00",
 "metrics": {},
 "libraries": {},
 "data_sha256": null,
 "git_revision": null,
 "task": "next",
 "sequence": {"length": "length", "longest": 10000, "time": "time", "now": "now", "observe": 56, "active_within": 7,
  "line_end": null},
 "step": {"file": "step.onnx", "state": 64}
}""".replace("HASH_A", "a" * 64).replace("HASH_0", "0" * 64)
WANTED_2 = Manifest(
    name="run",
    version="0123456789ab",
    inputs=(
        Input("event", "names", "category", ("login",), None, "list"),
        Input("time", "times", "timestamp", None, (0.0, 1.7e9), "list"),
        Input("now", "now", "timestamp"),
    ),
    missing_tokens=("", "NA"),
    classes=("login", "buy"),
    positive=None,
    threshold=None,
    files={"model.onnx": "a" * 64, "step.onnx": "0" * 64},
    check_rows=CheckRows(
        ({"event": ["login"], "time": [0], "now": 1}, {"event": [], "time": [], "now": 1}),
        (("buy", "login"), ("login",)),
        ((0.5, 0.25), (0.75,)),
    ),
    created="2026-11-26T11:00:00+00:00",
    task="next",
    sequence=SequenceInputs("length", 10_000, "time", "now", 56.0, 7.0),
    step=StepGraph("step.onnx", 64),
)


def test_the_second_format_is_read() -> None:
    assert parse_manifest(FORMAT_2) == WANTED_2
    assert parse_manifest(WANTED_2.to_json()) == WANTED_2
    assert WANTED_2.has_lists
    assert json.loads(WANTED.to_json())["format"] == 1, "releases before sequences read tables"


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("task",), "ranking", '"task" has to be "classification" or "tags" or "next" or "items", got "ranking"'),
        (("outputs",), ["label", "probabilities"], "\"outputs\" has to be ['labels', 'probabilities']"),
        (("inputs", 0, "form"), "set", '"inputs[0].form" has to be one of cell, list, words, got "set"'),
        (("inputs", 0, "tensor"), "labels", "an input tensor has the name of an output"),
        (("sequence", "length"), "times", '"sequence.length" has the name of an input or output'),
        (("sequence", "longest"), 0, '"sequence.longest" has to be a whole number from 1 on, got 0'),
        (("sequence", "longest"), True, '"sequence.longest" has to be a whole number from 1 on, got true'),
        (("sequence", "time"), "event", '"sequence.time" has to name a timestamp of form list'),
        (("sequence", "time"), "now", '"sequence.time" has to name a timestamp of form list'),
        (("sequence", "time"), None, '"sequence.now" needs a "sequence.time"'),
        (("sequence", "now"), "time", '"sequence.now" has to name a timestamp of form cell'),
        (("step", "file"), "other.onnx", '"files" does not name "other.onnx", which "step.file" does'),
        (("check_rows", "probabilities"), [[0.5], [0.75]], "has to hold one number a label"),
        (("check_rows", "label"), ["buy", "login"], '"check_rows.label" has to be a list, got "buy"'),
        (("classes",), [], '"classes" has to hold'),
    ],
)
def test_a_wrong_field_of_sequences_is_named(path: tuple[Any, ...], value: object, sentence: str) -> None:
    document = json.loads(FORMAT_2)
    entry = document
    for key in path[:-1]:
        entry = entry[key]
    entry[path[-1]] = value
    with pytest.raises(ManifestError) as caught:
        parse_manifest(json.dumps(document))
    assert sentence in str(caught.value)


def test_sequences_without_a_list_are_refused() -> None:
    document = json.loads(FORMAT_2)
    for item in document["inputs"]:
        item["form"] = "cell"
    with pytest.raises(ManifestError, match='has an input of "form" list or words'):
        parse_manifest(json.dumps(document))


def test_the_first_format_is_read() -> None:
    assert parse_manifest(FORMAT_1) == WANTED
    assert parse_manifest(FORMAT_1.encode()) == WANTED
    assert [item.dtype for item in WANTED.inputs] == ["float32", "string", "float64", "string"]
    assert WANTED.positive_index == 1


def test_what_is_written_is_read_the_same() -> None:
    text = WANTED.to_json()
    assert parse_manifest(text) == WANTED
    assert "국가 " in text  # in its own script, for whoever reads the file
    assert json.loads(text).keys() == json.loads(FORMAT_1).keys()


def test_fields_of_later_minor_additions_do_no_harm() -> None:
    assert parse_manifest(json.dumps({**json.loads(FORMAT_1), "colour": "red"})) == WANTED


@pytest.mark.parametrize("version", [FORMAT + 1, 99])
def test_a_newer_format_is_refused(version: int) -> None:
    # Refused before anything else is looked at: a newer format may lack all the fields of this one.
    with pytest.raises(ManifestError) as caught:
        parse_manifest(json.dumps({"format": version}))
    assert str(caught.value) == (
        f"it has bundle format {version}, and this ludocast reads formats up to {FORMAT}; "
        "install a newer ludocast (pip install --upgrade ludocast)"
    )


@pytest.mark.parametrize("version", [0, -1, 1.0, "1", True, None, [1]])
def test_a_format_that_is_no_number_is_refused(version: object) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(json.dumps({**json.loads(FORMAT_1), "format": version}))
    wanted = '"format" has to be a whole number from 1 on'
    assert str(caught.value) == f"bundle.json: {wanted}, got {json.dumps(version)}"


Path = tuple[str | int, ...]  # of keys and positions that lead to a part of the document


def at(document: Any, path: Path) -> Any:
    for step in path:
        document = document[step]
    return document


PLACES: list[tuple[Path, str]] = [
    (path, key)
    for path in ((), ("inputs", 0), ("check_rows",))
    for key in at(json.loads(FORMAT_1), path)
    if key != "format"
]


@pytest.mark.parametrize(("path", "key"), PLACES, ids=lambda part: part if isinstance(part, str) else None)
def test_each_required_field_is_missed(path: Path, key: str) -> None:
    document = json.loads(FORMAT_1)
    del at(document, path)[key]
    where = {(): "", ("inputs", 0): "inputs[0].", ("check_rows",): "check_rows."}[path]
    with pytest.raises(ManifestError) as caught:
        parse_manifest(json.dumps(document))
    assert str(caught.value) == f'bundle.json: "{where}{key}" is missing'


@pytest.mark.parametrize(("path", "key"), PLACES, ids=lambda part: part if isinstance(part, str) else None)
def test_each_field_refuses_another_type(path: Path, key: str) -> None:
    document = json.loads(FORMAT_1)
    at(document, path)[key] = -1 if key not in ("threshold",) else "0.5"  # no field but the threshold is a number
    where = {(): "", ("inputs", 0): "inputs[0].", ("check_rows",): "check_rows."}[path]
    with pytest.raises(ManifestError) as caught:
        parse_manifest(json.dumps(document))
    assert str(caught.value).startswith(f'bundle.json: "{where}{key}" has to be ')
    assert str(caught.value).endswith(f", got {json.dumps(at(document, path)[key])}")


def changed(path: Path, value: object) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        at(document, path[:-1])[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("task",), "regression", '"task" has to be "classification", got "regression"'),
        (("outputs",), ["probabilities", "label"], "\"outputs\" has to be ['label', 'probabilities']"),
        (("classes",), ["yes"], '"classes" has to hold two different labels or more'),
        (("classes",), ["yes", "yes"], '"classes" has to hold two different labels or more'),
        (("classes",), ["a", "yes", "b"], '"positive" has to be one of two classes, or null'),
        (("positive",), "maybe", '"positive" has to be one of two classes, or null'),
        (("threshold",), math.nan, '"threshold" has to be a finite number, got nan'),
        (("threshold",), math.inf, '"threshold" has to be a finite number, got inf'),
        (("threshold",), True, '"threshold" has to be a finite number, got true'),
        (("name",), "\ud800", '"name" has to be Unicode text'),
        (("inputs",), [], '"inputs" is empty'),
        (("inputs", 0), 3, '"inputs" has to be an object, got 3'),
        (("inputs", 0, "kind"), "text", '"inputs[0].kind" has to be one of number, timestamp, category, boolean, got "text"'),
        (("inputs", 0, "dtype"), "float64", '"inputs[0].dtype" has to be "float32" for a number'),
        (("inputs", 0, "range"), [1], '"inputs[0].range" has to be [smallest, largest]'),
        (("inputs", 0, "range"), [2, 1], '"inputs[0].range" has to be [smallest, largest]'),
        (("inputs", 1, "categories"), ["a", 1], '"inputs[1].categories" has to be text, got 1'),
        (("inputs", 1, "tensor"), "x0", 'two inputs have the same "tensor"'),
        (("inputs", 1, "column"), "age", 'two inputs have the same "column"'),
        (("inputs", 1, "tensor"), "label", "an input tensor has the name of an output"),
        (("libraries",), {"onnx": 1}, '"libraries" has to be text, got 1'),
        (("check_rows", "label"), ["no"], '"check_rows" has to hold as many rows as labels and probabilities'),
        (("check_rows", "probabilities"), [[1, 0]], '"check_rows" has to hold as many rows as labels and probabilities'),
        (("check_rows",), {"rows": [], "label": [], "probabilities": []},
         '"check_rows" has to hold as many rows as labels and probabilities'),
        (("check_rows", "probabilities", 0), [1], '"check_rows.probabilities" has to hold one number a class'),
        (("check_rows", "probabilities", 0), [math.nan, 0],
         '"check_rows.probabilities" has to be a finite number, got nan'),
        (("check_rows", "rows"), [1, 2], '"check_rows.rows" has to be an object, got 1'),
        (("files", "model.onnx"), "A" * 64, f'the SHA-256 of model.onnx has to be 64 hex digits, got "{"A" * 58}…'),
        (("files", "model.onnx"), None, "the SHA-256 of model.onnx has to be 64 hex digits, got null"),
        (("files",), {"other.onnx": "a" * 64}, '"files" does not name model.onnx'),
    ],
)  # fmt: skip
def test_what_a_field_must_not_hold(path: Path, value: object, sentence: str) -> None:
    document = json.loads(FORMAT_1)
    changed(path, value)(document)
    with pytest.raises(ManifestError) as caught:
        parse_manifest(json.dumps(document))
    assert str(caught.value) == f"bundle.json: {sentence}"


@pytest.mark.parametrize(
    "name",
    ["../model.onnx", "/etc/passwd", "a/../../b", "a//b", "a/", "./a", ".hidden", "a/.b", "a\\..\\b", "C:\\a", "a:b", "", "a\n",
     "a\0", "~/a", "a b", "模型"],
)  # fmt: skip
def test_a_file_name_that_may_leave_the_folder_is_refused(name: str) -> None:
    document = json.loads(FORMAT_1)
    document["files"][name] = "a" * 64
    with pytest.raises(ManifestError) as caught:
        parse_manifest(json.dumps(document))
    shown = json.dumps(name)
    assert str(caught.value) == f"bundle.json: the file name {shown} does not stay inside the bundle's folder"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "bundle.json is not JSON (Expecting value: line 1 column 1 (char 0))"),
        (
            b"\x80\x04\x95",
            "bundle.json is not JSON ('utf-8' codec can't decode byte 0x80 in position 0: invalid start byte)",
        ),
        (b"{}", 'bundle.json: "format" has to be a whole number from 1 on, got null'),
        (b"[]", "bundle.json holds no object"),
        (b"null", "bundle.json holds no object"),
        (FORMAT_1[:-30].encode(), "bundle.json is not JSON (Unterminated string starting at: line 26"),
        (b"[" * 100_000, "bundle.json is not JSON (maximum recursion depth exceeded"),
        (b'{"format": ' + b"9" * 5000 + b"}", "bundle.json is not JSON (Exceeds the limit"),
    ],
    ids=["empty", "binary", "no fields", "list", "null", "cut off", "deep", "huge number"],
)
def test_what_is_no_json_object_is_refused_in_one_line(text: bytes, sentence: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(text)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cut", range(0, len(FORMAT_1), 97))
def test_a_file_that_was_cut_off_is_refused(cut: int) -> None:
    with pytest.raises(ManifestError, match=r"bundle\.json is not JSON"):
        parse_manifest(FORMAT_1[:cut])


@pytest.mark.parametrize("value", [math.nan, -math.inf, {1, 2}, b"x"])
def test_metrics_that_json_cannot_hold_are_refused(value: object) -> None:
    manifest = copy.deepcopy(WANTED)
    assert isinstance(manifest.metrics, dict)
    manifest.metrics["auc"] = value
    with pytest.raises(ValueError, match=r"bundle\.json cannot hold this: .*; give numbers, text and lists of them"):
        manifest.to_json()


def test_columns_of_pairs_are_kept_and_needed_by_items_alone() -> None:
    document = json.loads(FORMAT_2)
    document |= {"task": "items", "outputs": ["items", "scores"], "pairs": {"user": "player", "item": "thing"}}
    found = parse_manifest(json.dumps(document))
    assert found.pairs == PairColumns("player", "thing")
    assert parse_manifest(found.to_json()) == found
    for pairs in (None, {"user": "player"}, {"user": "player", "item": 3}):
        with pytest.raises(ManifestError, match="pairs"):
            parse_manifest(json.dumps({**document, "pairs": pairs}))
    assert "pairs" not in json.loads(WANTED_2.to_json())


def test_the_losses_of_bundles_are_those_of_trainings() -> None:
    assert get_args(LossName) == LOSSES
