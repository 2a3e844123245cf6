"""Bundles of sequences in use: loaded with their checks, over real HTTP, on Parquet and CSV files."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ludocast.serve.bundle import Bundle
from ludocast.serve.scorer import Scorer

from ludocast.__main__ import main
from tests.serve.listening import ask, listening
from tests.serve.made_sequences import NAMES, Row, drawn, made, write

ROOT = Path(__file__).parent.parent.parent
LENGTHS = [5, 1, 40, 2, 17, 3]


@pytest.fixture(scope="module", params=["stream", "sessions", "tags"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp(request.param) / "bundle"
    write(made(request.param), folder)
    return folder


@pytest.fixture(scope="module")
def url(bundle: Path) -> Iterator[str]:
    with listening(bundle) as found:
        yield found


def rows_of(bundle: Path) -> list[Row]:
    return drawn(made(bundle.parent.name.rstrip("0123456789")), LENGTHS)


def parts(found: Any, row: int) -> tuple[Any, list[float]]:
    return found.labels[row], [float(p) for p in found.probabilities[row]]


# Loading.


def document(bundle: Path) -> Any:
    return json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))


def test_a_bundle_says_what_its_lists_are(bundle: Path) -> None:
    manifest, found = Bundle.load(bundle).manifest, document(bundle)
    assert found["format"] == 2
    assert len(manifest.check_rows.rows) == 9
    assert [item.form for item in manifest.inputs if item.kind == "category"] == [
        "words" if manifest.task == "tags" else "list"
    ]
    assert found["step"] == (None if manifest.task == "tags" else {"file": "step.onnx", "state": 16})
    assert manifest.sequence is not None
    assert manifest.sequence.longest == 10_000
    assert set(manifest.files) == ({"model.onnx"} if manifest.task == "tags" else {"model.onnx", "step.onnx"})


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change(**changes: Any) -> Callable[[Path], None]:
    def rewrite(bundle: Path) -> None:
        text = json.dumps({**document(bundle), **changes}, ensure_ascii=False)
        (bundle / "bundle.json").write_text(text, encoding="utf-8")

    return rewrite


def change_answer(key: str, value: Any) -> Callable[[Path], None]:
    def rewrite(bundle: Path) -> None:
        rows = document(bundle)["check_rows"]
        rows[key][1][0] = value
        change(check_rows=rows)(bundle)

    return rewrite


@pytest.mark.parametrize(
    ("tamper", "sentence"),
    [
        (lambda bundle: flip(bundle / "model.onnx"), "its file model.onnx is damaged"),
        (lambda bundle: flip(bundle / "step.onnx"), "its file step.onnx is damaged"),
        (lambda bundle: (bundle / "step.onnx").unlink(), "its file step.onnx is missing"),
        (change_answer("probabilities", 0.75), "it does not reproduce its check rows: row 2 gives ["),
        (change(format=1), 'bundle.json: "task" has to be "classification", got "next"'),
        (change(task="tags"), "it does not reproduce its check rows: row 1 gives ["),
        (change(step={"file": "other.onnx", "state": 16}), '"files" does not name "other.onnx"'),
        (change(step={"file": "step.onnx", "state": 0}), '"step.state" has to be a whole number from 1 on, got 0'),
        (change(sequence=None), '"sequence" has to be an object, got null'),
        (change(sequence={"length": "length"}), '"sequence.longest" is missing'),
    ],
)
def test_a_tampered_bundle_is_refused(tmp_path: Path, tamper: Callable[[Path], None], sentence: str) -> None:
    write(made("next"), tmp_path / "b")
    tamper(tmp_path / "b")
    with pytest.raises(ValueError, match=r"^bundle ") as caught:
        Bundle.load(tmp_path / "b")
    assert sentence in str(caught.value)


def test_another_label_of_a_sure_answer_is_refused(tmp_path: Path) -> None:
    one = made("next")
    assert one.module.averaged is not None
    for parameter in one.module.averaged.head.parameters():
        parameter.requires_grad_(False).mul_(30)  # so that answers are sure
    write(one, tmp_path / "b")
    assert document(tmp_path / "b")["check_rows"]["probabilities"][1][0] > 0.9
    change_answer("label", "quit" if document(tmp_path / "b")["check_rows"]["label"][1][0] == "buy" else "buy")(
        tmp_path / "b"
    )
    with pytest.raises(ValueError, match="it does not reproduce its check rows: row 2 gives"):
        Bundle.load(tmp_path / "b")


# HTTP.


def test_one_player_over_http(bundle: Path, url: str) -> None:
    scorer, rows = Scorer.load(bundle), rows_of(bundle)
    wanted = scorer.predict_rows(rows)
    for number in (0, 4):
        status, answer = ask(url + "/predict", rows[number])
        assert status == 200
        (found,) = answer["predictions"]
        label, p = parts(wanted, number)
        if scorer.manifest.has_lists:
            assert found["labels"] == label
            assert found["probabilities"] == pytest.approx(p, abs=1e-6)
        else:
            assert (found["label"], found["probability"]) == (label, pytest.approx(p[1], abs=1e-6))
    many = ask(url + "/predict", rows * 10)[1]["predictions"]
    assert many[: len(rows)] == many[-len(rows) :]
    assert [one.get("labels", one.get("label")) for one in many[: len(rows)]] == list(wanted.labels)


def test_the_example_of_the_description_is_answered(bundle: Path, url: str) -> None:
    found = ask(url + "/openapi.json")[1]
    body = found["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["example"]
    status, answer = ask(url + "/predict", body)
    assert status == 200
    wanted = found["components"]["schemas"]["Prediction"]["required"]
    assert set(answer["predictions"][0]) == set(wanted)
    assert "Lists of one entry a step" in found["components"]["schemas"]["Record"]["description"]


def test_bad_lists_over_http_are_sentences(bundle: Path, url: str) -> None:
    manifest = Scorer.load(bundle).manifest
    row = rows_of(bundle)[0]
    name = manifest.inputs[0].column
    status, answer = ask(url + "/predict", [row, {**row, name: [["x"]]}])
    assert status == 422
    assert answer["error"].startswith(f'row 2, column "{name}": step 1: expected text')
    assert ask(url + "/predict", {})[0] == 422
    if manifest.task == "tags":
        status, answer = ask(url + "/predict", {"words": ["a"] * 10_001})
        assert (status, answer["error"]) == (
            422, 'row 1, column "words": 10,001 steps; at most 10,000 are read at once, so cut it'
        )  # fmt: skip
        assert ask(url + "/predict", {"words": []})[1]["predictions"] == [{"labels": [], "probabilities": []}]
        return
    status, answer = ask(url + "/predict", {**row, "time": row["time"][::-1], "colour": 1})
    assert status == 200
    assert answer["warnings"][0] == 'ignored what the model does not read: column "colour"'
    assert any("time goes backwards at" in warning for warning in answer["warnings"])


# Files.


def write_files(rows: list[Row], folder: Path) -> None:
    numbered: list[Row] = [{"id": i, **row} for i, row in enumerate(rows)]
    pq.write_table(pa.Table.from_pylist(numbered), folder / "in.parquet")
    with (folder / "in.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(numbered[0]))
        writer.writeheader()
        for row in numbered:
            text = {k: json.dumps(v, ensure_ascii=False) if isinstance(v, list) else v for k, v in row.items()}
            if "words" in text:
                text["words"] = " ".join(row["words"])
            writer.writerow(text)


def test_files_are_scored_as_rows_are(bundle: Path, tmp_path: Path) -> None:
    scorer = Scorer.load(bundle)
    rows = rows_of(bundle) * 1_000  # several chunks of a file
    if scorer.manifest.task == "tags":  # a text's words have no blanks
        rows = [{"words": [word.replace(" ", "_") for word in row["words"]]} for row in rows]
    write_files(rows, tmp_path)
    wanted = scorer.predict_rows(rows)
    for source in ("in.parquet", "in.csv"):
        for output in ("out.parquet", "out.csv"):
            words = ["--bundle", str(bundle), "--input", str(tmp_path / source), "--keep", "id", "--overwrite"]
            assert main(["score", *words, "--output", str(tmp_path / output)]) == 0
        table = pq.read_table(tmp_path / "out.parquet")
        text = pd.read_csv(tmp_path / "out.csv")
        assert [int(i) for i in table["id"].to_pylist()] == text["id"].tolist() == list(range(len(rows)))
        name = "labels" if scorer.manifest.has_lists else "label"
        assert table[f"scored_{name}"].to_pylist() == list(wanted.labels)
        if not scorer.manifest.has_lists:
            assert text["scored_label"].tolist() == list(wanted.labels)
            np.testing.assert_allclose(table["scored_probability"], wanted.probabilities[:, 1], atol=1e-6)
            np.testing.assert_allclose(text["scored_probability"], wanted.probabilities[:, 1], atol=1e-6)
            continue
        assert list(map(json.loads, text["scored_labels"])) == list(wanted.labels)
        for lists in (table["scored_probabilities"].to_pylist(), map(json.loads, text["scored_probabilities"])):
            flat, own = (
                np.concatenate([np.asarray(row, float) for row in one]) for one in (lists, wanted.probabilities)
            )
            np.testing.assert_allclose(flat, own, atol=1e-6)


def test_a_bad_file_leaves_nothing(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(bundle)
    name = Scorer.load(bundle).manifest.inputs[0].column
    pq.write_table(pa.Table.from_pylist([{**row, name: 3} for row in rows]), tmp_path / "in.parquet")
    words = ["--bundle", str(bundle), "--input", str(tmp_path / "in.parquet"), "--output", str(tmp_path / "out.csv")]
    assert main(["score", *words]) == 2
    assert f'row 1, column "{name}": expected a list, got int' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_lists_that_are_kept_need_parquet(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(pa.Table.from_pylist(rows_of(bundle)), tmp_path / "in.parquet")
    words = ["--bundle", str(bundle), "--input", str(tmp_path / "in.parquet"), "--output"]
    assert main(["score", *words, str(tmp_path / "out.csv")]) == 2
    assert "write .parquet, or name the columns to keep with --keep" in capsys.readouterr().err
    assert main(["score", *words, str(tmp_path / "out.parquet")]) == 0


def test_a_frame_and_a_table_in_the_process(bundle: Path) -> None:
    scorer, rows = Scorer.load(bundle), rows_of(bundle)
    wanted = scorer.predict(rows)
    for found in (scorer.predict(pd.DataFrame(rows)), scorer.predict(pa.Table.from_pylist(rows))):
        assert list(found.labels) == list(wanted.labels)
        for p, q in zip(found.probabilities, wanted.probabilities, strict=True):
            np.testing.assert_array_equal(p, q)
    assert list(scorer.predict(rows[0]).labels) == list(wanted.labels[:1])
    assert len(scorer.predict([]).labels) == 0


def test_serving_sequences_loads_no_training_library(tmp_path: Path) -> None:
    write(made("next"), tmp_path / "b")
    code = (
        "import sys\nimport ludocast.serve.server\nfrom ludocast.serve.scorer import Scorer\n"
        "from ludocast.serve.stepper import Stepper\n"
        f"found = Scorer.load({str(tmp_path / 'b')!r}).predict({{'event': ['login'], 'time': [0]}})\n"
        f"stepper = Stepper.load({str(tmp_path / 'b')!r})\n"
        "_, other = stepper.update(stepper.new_state(), {'event': 'login', 'time': 0})\n"
        "assert found.labels[0] == other.labels[0] and len(found.labels[0]) == 10\n"
        "heavy = {'torch', 'pandas', 'sklearn', 'onnx', 'pytorch_lightning', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(NAMES) > 10
