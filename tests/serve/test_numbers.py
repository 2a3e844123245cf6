"""A bundle whose answers are numbers: through files, REST and its protocols, OpenAPI and the client the same ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ludocast.serve.bundle import Bundle, write_bundle
from ludocast.serve.client import Client
from ludocast.serve.manifest import parse_manifest
from ludocast.serve.scorer import Scorer
from ludocast.serve.taker import ManifestError

from ludocast.__main__ import main
from tests.serve.listening import ask, served
from tests.serve.logistic import SOFTMAX_INPUT, logistic_model, write_numbers

AGES = [1.5, None, -2.0]
ROWS: list[dict[str, Any]] = [{"age": age} for age in AGES]
VALUES = [150.0, 0.0, -200.0]  # 100 · age, bounds 50 below and 100 above
ANSWERS = [{"value": value, "lower": value - 50, "upper": value + 100} for value in VALUES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_numbers(tmp_path_factory.mktemp("numbers") / "b")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with served(folder) as found:
        yield found


def test_rows_and_columns_get_values_and_bounds(folder: Path) -> None:
    for found in (Scorer.load(folder).predict(ROWS), Scorer.load(folder).predict({"age": AGES})):
        assert found.labels.tolist() == VALUES
        assert found.labels.dtype == np.float32
        assert found.probabilities.tolist() == [[v - 50, v + 100] for v in VALUES]
    many = Scorer.load(folder).predict({"age": np.linspace(-2, 2, 10_000)})  # of several batches
    np.testing.assert_allclose(many.labels, 100 * np.linspace(-2, 2, 10_000), atol=1e-4)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_a_file_is_scored(folder: Path, tmp_path: Path, suffix: str) -> None:
    table, scored = tmp_path / "rows.csv", tmp_path / f"scored.{suffix}"
    table.write_text("age,scored_label\n1.5,a\n,b\n-2,c\n")  # another model's column stays
    main(["score", "--bundle", str(folder), "--input", str(table), "--output", str(scored)])
    if suffix == "jsonl":
        frame = pd.read_json(scored, lines=True)
    else:
        frame = pd.read_csv(scored) if suffix == "csv" else pd.read_parquet(scored)
    assert list(frame.columns) == ["age", "scored_label", "scored_value", "scored_lower", "scored_upper"]
    assert frame["scored_value"].tolist() == VALUES
    assert frame["scored_upper"].tolist() == [value + 100 for value in VALUES]


def test_a_column_of_its_own_name_is_not_written_over(folder: Path, tmp_path: Path, capsys: Any) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("age,scored_lower\n1.5,a\n")
    assert main(["score", "--bundle", str(folder), "--input", str(table), "--output", str(tmp_path / "o.csv")]) == 2
    assert 'has a column "scored_lower" already' in capsys.readouterr().err


def test_every_protocol_gives_the_same_numbers(url: str) -> None:
    assert ask(f"{url}/predict", ROWS)[1]["predictions"] == ANSWERS
    tensor = {"name": "age", "datatype": "FP32", "shape": [1, 1], "data": [1.5]}
    outputs = ask(f"{url}/v2/models/numbers/infer", {"inputs": [tensor]})[1]["outputs"]
    assert [(one["name"], one["datatype"], one["data"]) for one in outputs] == [
        ("value", "FP32", [150.0]), ("lower", "FP32", [100.0]), ("upper", "FP32", [250.0]),
    ]  # fmt: skip
    described = ask(f"{url}/v2/models/numbers")[1]
    assert [(one["name"], one["shape"]) for one in described["outputs"]] == [
        ("value", [-1]), ("lower", [-1]), ("upper", [-1]),
    ]  # fmt: skip
    assert described["parameters"] == {}


def test_the_classic_service_holds_the_number_as_scored_label(url: str) -> None:
    table = {"ColumnNames": ["age"], "Values": [["1.5"], ["-2"]]}
    asked = {"Inputs": {"input1": table}, "GlobalParameters": {}}
    place = f"{url}/workspaces/w/services/numbers/execute?api-version=2.0&details=true"
    value = ask(place, asked)[1]["Results"]["output1"]["value"]
    assert value == {
        "ColumnNames": ["age", "Scored Labels"],
        "ColumnTypes": ["Double", "Double"],
        "Values": [["1.5", "150.0"], ["-2", "-200.0"]],
    }


def test_the_openapi_document_describes_the_answers(url: str) -> None:
    document = ask(f"{url}/openapi.json")[1]
    schema = document["components"]["schemas"]["Prediction"]
    assert schema["required"] == list(schema["properties"]) == list(ANSWERS[0])
    assert {one["type"] for one in schema["properties"].values()} == {"number"}
    assert "90%" in schema["properties"]["lower"]["description"]


def test_the_client_answers_frames_and_records(url: str) -> None:
    with Client(url) as client:
        assert client.predict(ROWS).predictions == ANSWERS
        frame = client.predict(pd.DataFrame({"age": AGES})).predictions
    assert frame["scored_value"].tolist() == VALUES
    assert ask(f"{url}/models/numbers")[1]["coverage"] == 0.9


def changed(folder: Path, **changes: Any) -> str:
    return json.dumps({**json.loads((folder / "bundle.json").read_text()), **changes})


def test_releases_that_do_not_know_the_task_refuse_it(folder: Path) -> None:
    """Of tables they read format 1, of sequences 2; neither may hold numbers."""
    document = json.loads((folder / "bundle.json").read_text())
    assert document["format"] == 3
    assert "sequence" not in document
    for older in (1, 2):
        with pytest.raises(ManifestError, match='"task" has to be'):
            parse_manifest(changed(folder, format=older))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"classes": ["a"]}, '"classes" has to be empty'),
        ({"coverage": 1.5}, '"coverage" is a share between 0 and 1'),
        ({"coverage": None}, '"coverage" has to be a finite number'),
        ({"outputs": ["label", "probabilities"]}, "\"outputs\" has to be ['value', 'bounds']"),
        ({"task": "tags"}, '"task" has to be "classification" or "regression"'),
    ],
)
def test_what_a_manifest_says_is_checked(folder: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(changed(folder, **changes))
    assert sentence in str(caught.value)


def test_a_model_that_answers_otherwise_is_refused(folder: Path, tmp_path: Path) -> None:
    """Within 1e-4 of the largest of the recorded numbers."""
    document = json.loads((folder / "bundle.json").read_text())
    largest = np.abs(document["check_rows"]["probabilities"]).max()
    for shift, is_refused in ((0.8e-4 * largest, False), (1.2e-4 * largest, True)):
        moved = json.loads(json.dumps(document))
        moved["check_rows"]["label"][0] += shift
        place = tmp_path / str(shift)
        place.mkdir()
        (place / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
        (place / "bundle.json").write_text(json.dumps(moved))
        if is_refused:
            with pytest.raises(ValueError, match="does not reproduce its check rows: row 1"):
                Bundle.load(place)
        else:
            Bundle.load(place)
    fields: dict[str, Any] = {"name": "b", "inputs": [SOFTMAX_INPUT], "classes": [], "coverage": 0.9}
    with pytest.raises(ValueError, match="export the model again"):
        write_bundle(tmp_path / "c", logistic_model(), task="regression", **fields)
