"""`ludocast train table`: any table, for classes or a number, to a report and a bundle that answers as was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from ludocast.datamodules.fit_preprocessing import fit_preprocessing
from ludocast.datamodules.infer import infer_schema, raw_columns
from ludocast.datamodules.read import from_frame
from ludocast.models.learner import Learner
from ludocast.models.table.fit import try_all
from ludocast.models.table.learners import Job, learners
from ludocast.models.table.model import Model
from ludocast.serve.scorer import Scorer
from sklearn.datasets import load_diabetes, load_wine
from sklearn.metrics import mean_pinball_loss

from ludocast.__main__ import main
from tests.serve.made_table import made_frame

FAST = "tree,boosting,naive_bayes,knn,svm"


def train(folder: Path, frame: pd.DataFrame, *words: str) -> Path:
    frame.to_csv(folder / "rows.csv", index=False)
    options = ["--data", str(folder / "rows.csv"), "--out", str(folder / "run"), *words]
    assert main(["train", "table", *options]) == 0
    return folder / "run"


def test_rows(run: Path, frame: pd.DataFrame) -> pd.DataFrame:
    split = pd.read_csv(run / "split.csv")
    return frame.iloc[split.loc[split["part"] == "test", "row"].to_numpy() - 1]


test_rows.__test__ = False  # type: ignore[attr-defined]


def test_a_number_with_its_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = load_diabetes(as_frame=True).frame
    run = train(tmp_path, frame, "--label", "target", "--learners", f"{FAST},linear")
    said = capsys.readouterr().out
    assert "so a number is predicted; for classes say --task classification" in said
    metrics = json.loads((run / "metrics.json").read_text())
    assert {row["learner"] for row in metrics["learners"]} == {*FAST.split(","), "linear"}
    losses = [row["loss"] for row in metrics["learners"]]
    assert losses == sorted(losses)
    # The report's figures by hand, of what the bundle answers.
    test = test_rows(run, frame)
    found = Scorer.load(run / "bundle").predict(test.drop(columns="target"))
    off = test["target"].to_numpy() - found.labels
    assert metrics["metrics"]["rmse"]["value"] == pytest.approx(float(np.sqrt(np.mean(off**2))), rel=1e-5)
    variance = np.var(test["target"])
    assert metrics["metrics"]["r2"]["value"] == pytest.approx(1 - float(np.mean(off**2)) / variance, rel=1e-4)
    inside = (found.probabilities[:, 0] <= test["target"]) & (test["target"] <= found.probabilities[:, 1])
    assert metrics["metrics"]["coverage"]["value"] == pytest.approx(inside.mean(), abs=0.012)
    assert metrics["metrics"]["rmse"]["value"] < 65  # the mean alone is off by 78
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "how large is target?" in page
    assert "player" not in page + said


def test_a_quantile_is_what_so_many_rows_stay_below(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = made_frame(0, 1_500)
    words = ("--label", "y", "--task", "regression", "--loss", "quantile", "--quantile", "0.8")
    run = train(tmp_path, frame, *words, "--learners", "boosting,linear")
    said = capsys.readouterr().out
    assert "pinball loss" in said
    test = test_rows(run, frame)
    found = Scorer.load(run / "bundle").predict(test.drop(columns="y"))
    metrics = json.loads((run / "metrics.json").read_text())["metrics"]
    wanted = mean_pinball_loss(test["y"], found.labels, alpha=0.8)
    assert metrics["pinball_loss"]["value"] == pytest.approx(wanted, rel=1e-5)
    assert 0.72 < np.mean(test["y"] <= found.labels) < 0.88
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "It predicts what 80 % of the rows stay below" in page
    assert "pinball loss behind ours" in page


def test_more_than_two_classes(tmp_path: Path) -> None:
    frame = load_wine(as_frame=True).frame
    run = train(tmp_path, frame, "--label", "target", "--learners", FAST, "--combine", "blend")
    metrics = json.loads((run / "metrics.json").read_text())
    found = Scorer.load(run / "bundle").predict(test_rows(run, frame).drop(columns="target"))
    right = found.labels == test_rows(run, frame)["target"].astype(str).to_numpy()
    assert metrics["metrics"]["accuracy"]["value"] == pytest.approx(right.mean())
    assert metrics["metrics"]["accuracy"]["value"] > 0.9


def test_two_classes_of_customers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--label", "y", "--positive", "class 1", "--learners", "forest,logistic", "--entity", "customer")
    run = train(tmp_path, made_frame(2), *words, "--cost-missed", "4")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "which customer has y = class 1?" in page
    assert "One customer, explained" in page
    assert "player" not in page + capsys.readouterr().out
    manifest = Scorer.load(run / "bundle").manifest
    assert manifest.threshold == pytest.approx(0.2)  # 1 / (1 + 4)
    assert manifest.positive == "class 1"


def test_equal_seeds_give_equal_bundles(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        train(tmp_path / name, made_frame(0, 300), "--label", "y", "--learners", "forest,svm,knn", "--combine", "blend")
    a, b = ((tmp_path / name / "run" / "bundle" / "model.onnx").read_bytes() for name in ("a", "b"))
    assert a == b


def test_the_label_of_the_test_part_changes_nothing_but_the_report(tmp_path: Path) -> None:
    frame = made_frame(2, 400)
    frame["when"] = np.arange(400)
    words = ("--label", "y", "--split-time", "when", "--learners", "tree,logistic,knn", "--exclude", "when")
    models = []
    for name in ("clean", "poisoned"):
        (tmp_path / name).mkdir()
        if name == "poisoned":
            late = frame["when"] >= 320
            frame.loc[late, "y"] = frame.loc[late, "y"].map({"class 0": "class 1", "class 1": "class 0"})
        run = train(tmp_path / name, frame, *words)
        models.append((run / "bundle" / "model.onnx").read_bytes())
    assert models[0] == models[1]


def test_a_learner_that_fails_alone_gets_a_row_that_says_why() -> None:
    table = from_frame(made_frame(2, 200))
    schema = infer_schema(table, "y")
    columns, _ = raw_columns(table, schema)
    label = np.arange(200) % 2
    preprocessing, encoded = fit_preprocessing(schema, columns, label)

    def fail(*_: Any) -> Any:
        raise MemoryError("no room for so many rows")

    every: dict[str, Learner[Model]] = {**learners(("tree",), Job(preprocessing, 2)), "large": Learner(fail, fail)}
    said: list[str] = []
    found = try_all(every, encoded, label, None, np.arange(200) // 2 % 5, said.append)
    assert set(found.models) == {"tree"}
    assert [(row.learner, row.failed) for row in found.rows] == [("tree", ""), ("large", "no room for so many rows")]
    assert said[-1] == "note: large failed, the others go on: no room for so many rows"


@pytest.mark.parametrize(
    ("column", "words", "sentence"),
    [
        (["1", "2", "x"] * 20, ["--task", "regression"], 'the label "y", row 3: '),
        (["1", "inf", "2.5"] * 20, ["--task", "regression"], 'the label "y", row 2: infinite or too large a number'),
        (["1", "", "2.5"] * 20, ["--task", "regression"], 'the label "y" is missing in 20 of 60 rows'),
        (["7"] * 60, ["--task", "regression"], 'the label "y" is always 7; learning needs two values or more'),
        (["a"] * 60, [], 'the label "y" is always "a"; learning needs two values or more'),
        (["a"] * 59 + ["b"], [], 'the label value "b" stands in 1 rows; each needs 3 or more, drop or merge it'),
        ([f"n{k}" for k in range(60)], [], "stands in 1 rows"),
        (["a", "b"] * 30, ["--learners", "forrest"], 'there is no learner "forrest"; did you mean "forest"?'),
        (["a", "b"] * 30, ["--learners", "gpu"], 'there is no learner "gpu". There are network, tree, forest'),
        (["a", "b"] * 30, ["--learners", "linear"], '"linear" does not predict classes; "logistic" does'),
        (["a", "b"] * 30, ["--learners", ","], "--learners names no learner"),
        (["a", "b"] * 30, ["--exclude", "x"], "no column is left to learn from"),
        (
            list(map(str, range(60))),
            ["--loss", "quantile"],
            "--loss quantile needs --quantile, a number between 0 and 1",
        ),
        (list(map(str, range(60))), ["--quantile", "0.9"], "--quantile is of --loss quantile, not of --loss squared"),
        (list(map(str, range(-5, 55))), ["--loss", "poisson"], 'the label "y" is below 0 in 5 of 60 rows'),
        (["a", "b"] * 30, ["--loss", "poisson"], '--loss is of numbers, and "y" is predicted as classes'),
        (
            list(map(str, range(60))),
            ["--loss", "tweedie", "--learners", "svm"],
            '--loss tweedie: "svm" does not know it',
        ),
        (list(map(str, range(60))), ["--positive", "1"], 'names a class, and "y" is predicted as a number'),
    ],
)
def test_what_cannot_be_learnt_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], column: list[str], words: list[str], sentence: str
) -> None:
    pd.DataFrame({"x": np.arange(60) % 7, "y": column}).to_csv(tmp_path / "rows.csv", index=False)
    options = ["--data", str(tmp_path / "rows.csv"), "--label", "y", "--out", str(tmp_path / "run"), *words]
    assert main(["train", "table", *options]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.csv"]


def test_a_gpu_that_is_not_there_and_columns_that_are_all_ignored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pd.DataFrame({"x": np.arange(60) % 7, "y": ["a", "b"] * 30})
    run = train(tmp_path, rows, "--label", "y", "--learners", "tree")
    options = ["train", "table", "--data", str(tmp_path / "rows.csv"), "--label", "y", "--out", str(tmp_path / "other")]
    schema = json.loads((run / "schema.json").read_text())
    for column in schema["columns"]:
        column["kind"] = "ignored"
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    asked = [(["--schema", str(tmp_path / "schema.json")], "leaves no column to learn from; give one of them a kind")]
    if not torch.cuda.is_available():
        asked.append((["--accelerator", "gpu"], "--accelerator gpu: torch finds no GPU on this machine; leave it out"))
    for words, sentence in asked:
        capsys.readouterr()
        assert main([*options, *words]) == 2
        error = capsys.readouterr().err
        assert sentence in error
        assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "other").exists()


def test_more_neighbours_and_prototypes_than_rows(tmp_path: Path) -> None:
    """50 neighbours are asked for of 24 training rows, and 500 centres of them."""
    run = train(tmp_path, made_frame(2, 30), "--label", "y", "--learners", "knn", "--knn-prototypes", "500")
    metrics = json.loads((run / "metrics.json").read_text())
    assert [row["failed"] for row in metrics["learners"]] == [""]
    found = Scorer.load(run / "bundle").predict(made_frame(2, 30).drop(columns="y"))
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-6)


def test_by_the_command_line_the_others_go_on_where_one_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CatBoost refuses rows whose columns are all constant, as four of five folds are here; naive Bayes does not."""
    pytest.importorskip("catboost")
    rows = pd.DataFrame({"x": (np.arange(80) == 7).astype(int), "y": np.random.default_rng(0).choice(["p", "q"], 80)})
    run = train(tmp_path, rows, "--label", "y", "--learners", "catboost,naive_bayes,tree")
    said = capsys.readouterr().out
    assert "note: catboost failed, the others go on: " in said
    failed = {row["learner"]: row["failed"] for row in json.loads((run / "metrics.json").read_text())["learners"]}
    assert "constant" in failed.pop("catboost")
    assert failed == {"naive_bayes": "", "tree": ""}
    assert "catboost     left out: " in said
