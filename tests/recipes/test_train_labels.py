"""`ludocast train table --labels`: several yes/no columns at once, from a table to served answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ludocast.models.table.search import Budget, search_table
from ludocast.recipes.labelled_table import read_labelled_table
from ludocast.recipes.predictions import LabelPredictions, read_predictions
from ludocast.serve.scorer import Scorer
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from ludocast.__main__ import main
from tests.serve.listening import ask, served
from tests.serve.made_labels import LABELS, made_labels

NAMES = ",".join(LABELS)
OTHER = ["--private", "true", "--logger", "csv"]


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(words)
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """The folder of two runs, "run" and "other", and their table."""
    folder, frame = tmp_path_factory.mktemp("labels"), made_labels()
    frame.to_csv(folder / "rows.csv", index=False)
    words = ["train", "table", "--data", str(folder / "rows.csv"), "--labels", NAMES, "--entity", "player"]
    assert main([*words, "--learners", "logistic,boosting", "--out", str(folder / "run")]) == 0
    assert main([*words, "--learners", "tree", "--threshold-by", "f1", *OTHER, "--out", str(folder / "other")]) == 0
    return folder, frame


def test_figures_are_those_of_what_the_bundle_answers(made: tuple[Path, pd.DataFrame]) -> None:
    folder, frame = made
    split = pd.read_csv(folder / "run" / "split.csv")
    test = frame.iloc[split.loc[split["part"] == "test", "row"].to_numpy() - 1]
    found = Scorer.load(folder / "run" / "bundle").predict(test.drop(columns=list(LABELS)))
    truth = np.stack([test["skin"], test["pass"] == "yes", test["event"]], axis=1).astype(int)
    document = json.loads((folder / "run" / "metrics.json").read_text())
    values = {name: entry["value"] for name, entry in document["metrics"].items()}
    p = found.probabilities.astype(np.float64)
    assert values["log_loss"] == pytest.approx(np.mean([log_loss(truth[:, k], p[:, k]) for k in range(3)]), rel=1e-4)
    assert values["auc"] == pytest.approx(roc_auc_score(truth, p), abs=1e-4)
    assert values["auc:pass"] == pytest.approx(roc_auc_score(truth[:, 1], p[:, 1]), abs=1e-4)
    assert values["subset_accuracy"] == pytest.approx(accuracy_score(truth, found.labels))
    assert (found.labels == (found.probabilities >= 0.5)).all()
    # Each label is learnt: better than its own share, and its kept answers are these.
    for k, name in enumerate(LABELS):
        assert values[f"log_loss:{name}"] < log_loss(truth[:, k], np.full(len(truth), truth[:, k].mean()))
    kept = read_predictions(folder / "run")
    assert isinstance(kept, LabelPredictions)
    np.testing.assert_array_equal(kept.label, truth[np.argsort(test.index)])
    np.testing.assert_allclose(kept.probabilities, p[np.argsort(test.index)], atol=1e-5)


def test_the_bundle_tells_its_labels(made: tuple[Path, pd.DataFrame]) -> None:
    folder, _ = made
    document = json.loads((folder / "other" / "bundle" / "bundle.json").read_text())
    assert (document["format"], document["task"], document["classes"]) == (4, "labels", list(LABELS))
    values = [(one["no"], one["yes"]) for one in document["labels"]]
    assert values == [("0", "1"), ("no", "yes"), ("False", "True")]
    assert {one["threshold"] for one in document["labels"]} != {0.5}  # those of the highest F1
    assert {item["column"] for item in document["inputs"]}.isdisjoint(LABELS)


def test_served_answers(made: tuple[Path, pd.DataFrame]) -> None:
    folder, frame = made
    bundle = folder / "run" / "bundle"
    rows = json.loads(frame.drop(columns=list(LABELS)).head(20).to_json(orient="records"))
    wanted = Scorer.load(bundle).predict(rows)
    with served(bundle) as url:
        answer = ask(f"{url}/predict", rows)
        schema = ask(f"{url}/openapi.json")[1]
        described = ask(f"{url}/models/run")[1]
        inputs = [{"name": name, "datatype": "BYTES", "shape": [1], "data": [str(rows[0][name])]} for name in rows[0]]
        tensors = ask(f"{url}/v2/models/run/infer", {"inputs": inputs})[1]
    predictions = answer[1]["predictions"]
    for one, labels, p in zip(predictions, wanted.labels, wanted.probabilities, strict=True):
        assert one == {
            "labels": [name for name, has in zip(LABELS, labels, strict=True) if has],
            "probabilities": {name: pytest.approx(q, abs=1e-6) for name, q in zip(LABELS, p.tolist(), strict=True)},
        }
    assert {len(one["labels"]) for one in predictions} > {1, 2}
    prediction = schema["components"]["schemas"]["Prediction"]
    assert prediction["properties"]["labels"]["items"]["enum"] == list(LABELS)
    assert described["labels"][1] == {"no": "no", "yes": "yes", "threshold": 0.5}
    outputs = {one["name"]: one for one in tensors["outputs"]}
    assert (outputs["labels"]["datatype"], outputs["labels"]["shape"]) == ("BOOL", [1, 3])
    assert outputs["labels"]["data"] == wanted.labels[0].tolist()
    np.testing.assert_allclose(outputs["probabilities"]["data"], wanted.probabilities[0], atol=1e-6)


def test_scored_columns(made: tuple[Path, pd.DataFrame]) -> None:
    folder, frame = made
    words = ["score", "--bundle", str(folder / "run" / "bundle"), "--input", str(folder / "rows.csv")]
    assert main([*words, "--output", str(folder / "scored.csv")]) == 0
    scored = pd.read_csv(folder / "scored.csv")
    found = Scorer.load(folder / "run" / "bundle").predict(frame.drop(columns=list(LABELS)))
    for k, name in enumerate(LABELS):
        np.testing.assert_array_equal(scored[f"scored_label_{name}"], found.labels[:, k])
        np.testing.assert_allclose(scored[f"scored_probability_{name}"], found.probabilities[:, k], atol=1e-5)


def test_evaluate_on_other_rows(made: tuple[Path, pd.DataFrame], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = made
    other = made_labels(700).iloc[400:]
    other.loc[other.index[:50], "pass"] = None
    other.to_csv(folder / "other.csv", index=False)
    words = ["evaluate", "--bundle", str(folder / "run" / "bundle"), "--data", str(folder / "other.csv")]
    gates = ["--fail-below", "auc:skin=0.99", "--fail-above", "log_loss=5"]
    code, out, _ = said([*words, "--out", str(folder / "evaluation"), *gates], capsys)
    assert code == 1
    assert "On 250 labelled rows the mean AUC is" in out
    assert "50 of 300 rows lack a label" in out
    assert out.count("failed:") == 1
    assert "failed: auc:skin is" in out
    document = json.loads((folder / "evaluation" / "metrics.json").read_text())
    known = other[other["pass"].notna()]
    p = Scorer.load(folder / "run" / "bundle").predict(known.drop(columns=list(LABELS))).probabilities
    assert document["metrics"]["auc:event"]["value"] == pytest.approx(roc_auc_score(known["event"], p[:, 2]), abs=1e-4)
    assert {one["name"] for one in document["drift"]} > {*LABELS, "probability of skin", "level"}
    # Without labels only what was asked is told; with some of them nothing is.
    other.drop(columns=list(LABELS)).to_csv(folder / "other.csv", index=False)
    assert "None of the 300 rows has all labels" in said([*words, "--out", str(folder / "none")], capsys)[1]
    other.drop(columns="pass").to_csv(folder / "other.csv", index=False)
    code, _, error = said([*words, "--out", str(folder / "some")], capsys)
    assert code != 0
    assert 'the table lacks the label "pass"' in error
    code, _, error = said([*words, "--label", "skin", "--out", str(folder / "one")], capsys)
    assert code != 0
    assert "found by their names (skin, pass, event); leave --label out" in error
    known_rows = [*words, "--data", str(folder / "rows.csv"), "--fail-below", "auc:nobody=0.5"]
    code, _, error = said([*known_rows, "--out", str(folder / "gate")], capsys)
    assert code != 0
    assert "auc:nobody is no measure of the bundle's task, labels" in error


def test_runs_are_compared(made: tuple[Path, pd.DataFrame], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = made
    pair = [str(folder / "run"), str(folder / "other")]
    code, out, _ = said(["runs", "compare", *pair], capsys)
    assert code == 0
    values = [json.loads((Path(run) / "metrics.json").read_text())["metrics"]["log_loss"]["value"] for run in pair]
    assert f"log loss {values[1]:.4f} against {values[0]:.4f}" in out
    assert "AUC of pass" in out
    assert "F1 of pass" not in out
    assert "F1 of pass" in said(["runs", "compare", *pair, "--measure", "f1:pass"], capsys)[1]
    assert "subset_accuracy" not in said(["runs", "list", str(folder)], capsys)[1]


def test_the_report_tells_each_label(made: tuple[Path, pd.DataFrame]) -> None:
    folder, _ = made
    page = (folder / "run" / "report.html").read_text(encoding="utf-8")
    assert "which of 3 labels does a player have?" in page
    for name in LABELS:
        assert f"<summary>{name}: how well" in page
    assert "Which labels come together" in page
    told = pd.read_csv(next((folder / "other" / "logs").rglob("metrics.csv")))
    measured = json.loads((folder / "other" / "metrics.json").read_text())["metrics"]
    assert told["test/auc of pass"].iloc[-1] == pytest.approx(measured["auc:pass"]["value"])
    document = json.loads((folder / "run" / "metrics.json").read_text())
    pairs = {frozenset((one["first"], one["second"])): one for one in document["pairs"]}
    split = pd.read_csv(folder / "run" / "split.csv")
    test = made[1].iloc[split.loc[split["part"] == "test", "row"].to_numpy() - 1]
    both = int(((test["skin"] == 1) & test["event"]).sum())
    pair = pairs[frozenset(("skin", "event"))]
    found = Scorer.load(folder / "run" / "bundle").predict(test.drop(columns=list(LABELS)))
    assert (pair["rows"], pair["answered"]) == (both, int((found.labels[:, 0] & found.labels[:, 2]).sum()))
    assert pair["by_probability"] == pytest.approx(
        float((found.probabilities[:, 0] * found.probabilities[:, 2]).sum()), rel=1e-4
    )


def test_the_run_is_done_again_by_its_file(made: tuple[Path, pd.DataFrame]) -> None:
    folder, _ = made
    assert main(["run", str(folder / "other" / "experiment.yaml"), "--out", str(folder / "again")]) == 0
    before, after = ((folder / run / "bundle" / "model.onnx").read_bytes() for run in ("other", "again"))
    assert len(before) == len(after)
    figures = [json.loads((folder / run / "metrics.json").read_text())["metrics"] for run in ("other", "again")]
    assert figures[0] == figures[1]


@pytest.mark.parametrize("option", [{"split_time": "since"}, {"split_group": "guild"}])
def test_splits_by_time_and_by_group(made: tuple[Path, pd.DataFrame], option: dict[str, str]) -> None:
    folder, frame = made
    asked: dict[str, Any] = {"split_time": None, "split_group": None, **option}
    table = read_labelled_table(
        folder / "rows.csv", LABELS, None, [], None, seed=0, encoding="utf-8", delimiter=None, truth=None, **asked
    )
    (name,) = option.values()
    train, test = (set(frame[name].iloc[rows]) for rows in (table.split.train, table.split.test))
    assert not train & test
    assert name == "guild" or max(train) < min(test)
    assert table.label.shape == (400, 3)
    assert name != "guild" or "guild" not in table.columns


def test_a_schema_of_labels_is_followed(made: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    folder, _ = made
    file = folder / "run" / "schema.json"
    asked: dict[str, Any] = {"seed": 0, "encoding": "utf-8", "delimiter": None, "truth": None}
    options: dict[str, Any] = {"split_time": None, "split_group": None, **asked}
    table = read_labelled_table(folder / "rows.csv", LABELS, None, ["guild"], file, **options)
    assert "guild" not in table.columns
    turned = read_labelled_table(folder / "rows.csv", LABELS, "0,no,False", [], file, **options)
    np.testing.assert_array_equal(turned.label, 1 - table.label)
    with pytest.raises(ValueError, match='is the schema for label "skin, pass, event", not for --labels "skin, pass"'):
        read_labelled_table(folder / "rows.csv", LABELS[:2], None, [], file, **options)


def test_a_search_finds_settings_a_label(made: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    folder, _ = made
    table = read_labelled_table(folder / "rows.csv", LABELS, None, [], None, None, None, 0, "utf-8", None, None)
    columns, label = table.part(table.split.train)
    asked: dict[str, Any] = {"names": "logistic,naive_bayes", "folder": tmp_path}
    found = search_table(table.schema, columns, label, None, Budget(trials=2), **asked)
    assert [len(one.setting) for one in found.trials if isinstance(one.setting, tuple)] == [3, 3]
    again = search_table(table.schema, columns, label, None, Budget(trials=2), **asked)  # from the disk
    assert again.trials == found.trials
    np.testing.assert_array_equal(again.found.model.predict(columns), found.found.model.predict(columns))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--label", "skin", "--labels", NAMES], "and not both"),
        ([], "give --label"),
        (["--labels", "skin"], "one alone is for --label"),
        (["--labels", "skin,level"], 'the label "level" has 6 values'),
        (["--labels", "skin,nope"], 'no column "nope"'),
        (["--labels", NAMES, "--task", "regression"], "leave one out"),
        (["--labels", NAMES, "--loss", "absolute"], "--loss is of numbers"),
        (["--labels", NAMES, "--learners", "linear"], '"linear" does not predict classes; "logistic" does'),
        (["--labels", NAMES, "--positive", "maybe"], '--positive "maybe" is no value'),
        (["--labels", "skin,since"], 'the label "since"'),
        (["--labels", NAMES, "--split-time", "since", "--split-group", "level"], "not both"),
    ],
)
def test_bad_input_is_one_sentence(
    made: tuple[Path, pd.DataFrame], tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["train", "table", "--data", str(made[0] / "rows.csv"), "--out", str(tmp_path / "run")]
    code, _, error = said([*base, *words], capsys)
    assert code != 0
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
