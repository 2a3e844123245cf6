"""A bundle of several labels: through files, REST and its protocols, OpenAPI and the client the same answers."""

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
from ludocast.serve.manifest_labels import LabelValues
from ludocast.serve.scorer import Scorer
from ludocast.serve.taker import ManifestError

from ludocast.__main__ import main
from tests.serve.listening import ask, served
from tests.serve.logistic import SOFTMAX_INPUT, logistic_model, write_labels

AGES = [1.5, None, -2.0]
ROWS: list[dict[str, Any]] = [{"age": age} for age in AGES]
P = 1 / (1 + np.exp(-np.array([[3, -1.5], [0, 0], [-4, 2]])))  # of 2 age and of -age, missing is 0
HAD = [["old"], ["old"], ["young"]]  # from 0.5 and from 0.7 on


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labels(tmp_path_factory.mktemp("labels") / "b")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with served(folder) as found:
        yield found


def test_rows_and_columns_get_labels_and_probabilities(folder: Path) -> None:
    for found in (Scorer.load(folder).predict(ROWS), Scorer.load(folder).predict({"age": AGES})):
        assert found.labels.tolist() == [[True, False], [True, False], [False, True]]
        np.testing.assert_allclose(found.probabilities, P, atol=1e-6)
    many = Scorer.load(folder).predict({"age": np.linspace(-2, 2, 10_000)})  # of several batches
    np.testing.assert_array_equal(many.labels, many.probabilities >= np.array([0.5, 0.7], np.float32))


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_a_file_is_scored(folder: Path, tmp_path: Path, suffix: str) -> None:
    table, scored = tmp_path / "rows.csv", tmp_path / f"scored.{suffix}"
    table.write_text("age\n1.5\n\n-2\n".replace("\n\n", "\nNA\n"))
    assert main(["score", "--bundle", str(folder), "--input", str(table), "--output", str(scored)]) == 0
    if suffix == "jsonl":
        frame = pd.read_json(scored, lines=True)
    else:
        frame = pd.read_csv(scored) if suffix == "csv" else pd.read_parquet(scored)
    labels, probabilities = (
        [f"scored_{what}_{name}" for name in ("old", "young")] for what in ("label", "probability")
    )
    assert list(frame.columns) == ["age", *labels, *probabilities]
    assert frame[labels].to_numpy().tolist() == [[True, False], [True, False], [False, True]]
    np.testing.assert_allclose(frame[probabilities], P, atol=1e-6)


def test_every_protocol_gives_the_same_answers(url: str) -> None:
    for one, names, p in zip(ask(f"{url}/predict", ROWS)[1]["predictions"], HAD, P.tolist(), strict=True):
        assert one["labels"] == names
        assert one["probabilities"] == pytest.approx({"old": p[0], "young": p[1]}, abs=1e-6)
    tensor = {"name": "age", "datatype": "FP32", "shape": [2, 1], "data": [1.5, -2.0]}
    labels, probabilities = ask(f"{url}/v2/models/labels/infer", {"inputs": [tensor]})[1]["outputs"]
    assert (labels["datatype"], labels["shape"], labels["data"]) == ("BOOL", [2, 2], [True, False, False, True])
    np.testing.assert_allclose(probabilities["data"], P[[0, 2]].ravel(), atol=1e-6)
    described = ask(f"{url}/v2/models/labels")[1]
    assert [(one["name"], one["datatype"], one["shape"]) for one in described["outputs"]] == [
        ("labels", "BOOL", [-1, 2]), ("probabilities", "FP32", [-1, 2]),
    ]  # fmt: skip
    assert json.loads(described["parameters"]["classes"]) == ["old", "young"]


def test_the_classic_service_has_columns_a_label(url: str) -> None:
    asked = {"Inputs": {"input1": {"ColumnNames": ["age"], "Values": [["1.5"]]}}, "GlobalParameters": {}}
    place = f"{url}/workspaces/w/services/labels/execute?api-version=2.0&details=true"
    value = ask(place, asked)[1]["Results"]["output1"]["value"]
    names = [f'Scored {what} for "{name}"' for what in ("Labels", "Probabilities") for name in ("old", "young")]
    assert value["ColumnNames"] == ["age", *names]
    assert value["ColumnTypes"] == ["Double", "String", "String", "Double", "Double"]
    assert value["Values"][0][1:3] == ["True", "False"]
    np.testing.assert_allclose([float(text) for text in value["Values"][0][3:]], P[0], atol=1e-6)


def test_the_openapi_document_describes_the_answers(url: str) -> None:
    schema = ask(f"{url}/openapi.json")[1]["components"]["schemas"]["Prediction"]
    assert schema["required"] == list(schema["properties"]) == ["labels", "probabilities"]
    assert schema["properties"]["labels"]["items"]["enum"] == ["old", "young"]
    assert list(schema["properties"]["probabilities"]["properties"]) == ["old", "young"]


def test_the_client_answers_frames_and_records(url: str) -> None:
    with Client(url) as client:
        assert [one["labels"] for one in client.predict(ROWS).predictions] == HAD
        frame = client.predict(pd.DataFrame({"age": AGES})).predictions
    assert frame["scored_label_young"].tolist() == [False, False, True]
    assert ask(f"{url}/models/labels")[1]["labels"][0] == {"no": "no", "yes": "yes", "threshold": 0.5}


def changed(folder: Path, **changes: Any) -> str:
    return json.dumps({**json.loads((folder / "bundle.json").read_text()), **changes})


def test_releases_that_do_not_know_the_task_refuse_it(folder: Path) -> None:
    assert json.loads((folder / "bundle.json").read_text())["format"] == 4
    for older in (1, 2, 3):
        with pytest.raises(ManifestError, match='"task" has to be'):
            parse_manifest(changed(folder, format=older))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"labels": None}, '"labels" has to be a list'),
        ({"labels": [{"no": "a", "yes": "b", "threshold": 0.5}]}, '"labels" has to hold one entry a class'),
        ({"labels": [{"no": "a", "yes": "a", "threshold": 0.5}] * 2}, '"no", "yes", which differ'),
        ({"labels": [{"no": "a", "yes": "b"}] * 2}, 'and "threshold"'),
        ({"labels": [{"no": "a", "yes": "b", "threshold": "x"}] * 2}, "has to be a finite number"),
        ({"classes": ["old"]}, '"classes" has to hold two different labels or more'),
        ({"outputs": ["label", "probabilities"]}, "\"outputs\" has to be ['labels', 'probabilities']"),
    ],
)
def test_what_a_manifest_says_is_checked(folder: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(changed(folder, **changes))
    assert sentence in str(caught.value)


def test_a_model_that_answers_otherwise_is_refused(folder: Path, tmp_path: Path) -> None:
    """Other probabilities, or other labels than those recorded, unless their probability is at the threshold."""
    document = json.loads((folder / "bundle.json").read_text())
    rows = document["check_rows"]
    clear = next(k for k, p in enumerate(rows["probabilities"]) if abs(p[0] - 0.5) > 0.01)
    close = next(k for k, p in enumerate(rows["probabilities"]) if abs(p[0] - 0.5) < 1e-6)
    for name, row, shift, label, is_refused in (
        ("p", clear, 2e-4, None, True), ("same", clear, 0.0, None, False), ("label", clear, 0.0, "old", True),
        ("tie", close, 0.0, "old", False),
    ):  # fmt: skip
        moved = json.loads(json.dumps(document))
        moved["check_rows"]["probabilities"][row][0] += shift
        if label is not None:
            moved["check_rows"]["label"][row] = sorted({label} ^ {*moved["check_rows"]["label"][row]})
        place = tmp_path / name
        place.mkdir()
        (place / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
        (place / "bundle.json").write_text(json.dumps(moved))
        if is_refused:
            with pytest.raises(ValueError, match=f"does not reproduce its check rows: row {row + 1} "):
                Bundle.load(place)
        else:
            Bundle.load(place)
    values = [LabelValues("no", "yes", 0.5)] * 2
    fields: dict[str, Any] = {"name": "b", "inputs": [SOFTMAX_INPUT], "classes": ["a", "b"], "labels": values}
    with pytest.raises(ValueError, match="export the model again"):
        write_bundle(tmp_path / "c", logistic_model(), task="labels", **fields)
