"""`ludocast evaluate` from the command line: its measures, its drift, its exit code, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ludocast.datamodules.reference import REFERENCE_FILE, Reference, class_counts, describe_column
from ludocast.recipes.predictions import NumberPredictions, Predictions, read_predictions
from ludocast.serve.scorer import Scorer
from sklearn import metrics as sklearn_metrics

from ludocast.__main__ import main
from tests.serve.logistic import by_hand, write_logistic, write_softmax

KINDS = {"age": "number", "plan": "category", "active": "boolean"}


def table(rows: int, seed: int, age: float = 30) -> pd.DataFrame:
    """Rows of the model of `tests/serve/logistic.py`, whose labels follow it."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame({
        "age": generator.normal(age, 12, rows).round(1),
        "plan": np.array(["basic", "pro", "other"])[generator.integers(3, size=rows)],
        "active": np.array(["true", "false"])[generator.integers(2, size=rows)],
        "last seen ": "2023-11-16T22:13:20Z",
    })  # fmt: skip
    return frame.assign(left=np.where(generator.random(rows) < chances(frame), "Y", "N"))


def chances(frame: pd.DataFrame) -> np.ndarray:
    cells = zip(frame["age"], frame["plan"], frame["active"], strict=True)
    return np.array([by_hand(age, plan, active, 2.0) for age, plan, active in cells])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With what training would have kept of its rows and answers."""
    frame = table(3000, 1)
    p = chances(frame)
    columns = tuple(
        describe_column(name, kind, frame[name].to_numpy(np.float32 if kind == "number" else object))
        for name, kind in KINDS.items()
    )
    counts = frame["left"].value_counts()
    score = describe_column("probability of Y", "number", p.astype(np.float32))
    known = class_counts("left", {"N": int(counts["N"]), "Y": int(counts["Y"])})
    reference = Reference((known,), (score,), columns)
    auc = float(sklearn_metrics.roc_auc_score(frame["left"] == "Y", p))
    return write_logistic(
        tmp_path_factory.mktemp("made") / "bundle",
        metrics={"auc": {"value": auc, "low": auc - 0.02, "high": auc + 0.02}},
        extra_files={REFERENCE_FILE: reference.to_json()},
    )


def test_the_measures_are_those_of_the_rows(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = table(900, 2)
    frame.loc[5:44, "left"] = ""
    data, out = tmp_path / "june.csv", tmp_path / "evaluation"
    frame.to_csv(data, index=False)
    assert main(["evaluate", "--bundle", str(bundle), "--data", str(data), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    labelled = frame[frame["left"] != ""]
    p, hit = chances(labelled), (labelled["left"] == "Y").to_numpy()
    document = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert document["rows"] == {"all": 900, "labelled": 860}
    measured = {name: entry["value"] for name, entry in document["metrics"].items()}
    assert measured["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(hit, p), abs=1e-5)
    assert measured["log_loss"] == pytest.approx(sklearn_metrics.log_loss(hit, p), abs=1e-5)
    assert measured["brier"] == pytest.approx(sklearn_metrics.brier_score_loss(hit, p), abs=1e-5)
    assert measured["accuracy"] == pytest.approx(((p >= 0.5) == hit).mean())
    assert "chance explains the difference" in told
    assert "40 of 900 rows have no label" in told
    assert {one["level"] for one in document["drift"]} == {"none"}
    assert {one["name"] for one in document["drift"]} == {*KINDS, "probability of Y", "left"}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "who leave" not in page
    assert "found, of those with left = Y" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    kept = read_predictions(out)
    assert isinstance(kept, Predictions)
    assert kept.rows.tolist() == (np.flatnonzero(frame["left"] != "") + 1).tolist()
    np.testing.assert_allclose(kept.probabilities[:, 1], p, atol=1e-5)
    assert (kept.label == hit).all()


def test_what_has_moved_is_told_and_fails_where_it_is_asked_to(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = table(900, 3, age=45)
    frame["left"] = np.random.default_rng(0).permutation(frame["left"].to_numpy())
    frame.loc[:250, "plan"] = "<b>new</b>"
    data, out = tmp_path / "june.parquet", tmp_path / "evaluation"
    frame.to_parquet(data)
    asked = ["evaluate", "--bundle", str(bundle), "--data", str(data), "--out", str(out)]
    gates = ["--fail-below", "auc=0.8,accuracy=0.01", "--fail-above", "drift=0.2"]
    assert main([*asked, *gates]) == 1
    told = capsys.readouterr().out
    assert "AUC is worse than in training by" in told
    assert '"age" has moved a lot' in told
    assert '"plan" has moved a lot' in told
    assert "hold values that training has not seen" in told
    assert '"active" has moved' not in told
    assert "failed: auc is 0." in told
    assert "failed: drift is" in told
    assert "failed: accuracy" not in told
    document = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert [(gate["name"], gate["passed"]) for gate in document["gates"]] == [
        ("auc", False), ("accuracy", True), ("drift", False),
    ]  # fmt: skip
    assert main([*asked, "--overwrite", "--fail-below", "auc=0.3"]) == 0


def test_without_labels_drift_is_told_alone(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "june.csv", tmp_path / "evaluation"
    table(300, 4).drop(columns="left").to_csv(data, index=False)
    asked = ["evaluate", "--bundle", str(bundle), "--data", str(data), "--out", str(out)]
    assert main(asked) == 0
    assert "None of the 300 rows has a label" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["experiment.yaml", "metrics.json", "report.html"]
    assert main([*asked, "--overwrite", "--fail-below", "auc=0.5"]) == 2
    assert "auc needs labels" in capsys.readouterr().err
    assert (out / "metrics.json").exists()


def test_an_old_bundle_and_one_class_and_three_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = write_logistic(tmp_path / "old")
    frame = table(200, 5)
    frame[frame["left"] == "Y"].to_csv(tmp_path / "one.csv", index=False)
    asked = ["evaluate", "--bundle", str(old), "--data", str(tmp_path / "one.csv"), "--label", "left"]
    assert main([*asked, "--out", str(tmp_path / "one")]) == 0
    told = capsys.readouterr().out
    assert "the accuracy is" in told
    assert "keeps nothing of its training's columns, so drift is not told" in told
    assert main([*asked, "--out", str(tmp_path / "gated"), "--fail-above", "drift=0.1"]) == 2
    assert main([*asked, "--out", str(tmp_path / "gated"), "--fail-below", "auc=0.1"]) == 2
    assert not (tmp_path / "gated").exists()
    assert not (tmp_path / "gated.partial").exists()
    three = write_softmax(tmp_path / "three")
    ages = pd.DataFrame({"age": np.random.default_rng(8).normal(size=60), "y": ["a", "b", "c"] * 20})
    ages.to_csv(tmp_path / "three.csv", index=False)
    asked = ["evaluate", "--bundle", str(three), "--data", str(tmp_path / "three.csv"), "--label", "y"]
    assert main([*asked, "--out", str(tmp_path / "of three")]) == 0
    measured = json.loads((tmp_path / "of three" / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    p = np.exp(np.outer(ages["age"], [0, 1, -1]))
    p /= p.sum(axis=1, keepdims=True)
    expected = sklearn_metrics.roc_auc_score(ages["y"], p, multi_class="ovr")
    assert measured["auc"]["value"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--label", "lefft"], 'did you mean "left"'),
        (["--label", "plan"], "is it another column?"),
        (["--fail-below", "acu=0.5"], "one of auc, average_precision, log_loss"),
        (["--fail-below", "log_loss=0.5"], "better low: give it to --fail-above"),
        (["--fail-above", "auc=0.5"], "better high: give it to --fail-below"),
        (["--fail-below", "auc"], "a name and a number such as auc=0.8"),
        (["--data", "nothing.csv"], "there is no file nothing.csv"),
    ],
)
def test_bad_input_is_one_sentence(
    bundle: Path, tmp_path: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "june.csv", tmp_path / "evaluation"
    table(50, 6).to_csv(data, index=False)
    assert main(["evaluate", "--bundle", str(bundle), "--data", str(data), "--out", str(out), *words]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["june.csv"]


def test_a_cell_that_does_not_fit_is_named(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = table(20, 7).astype({"age": object})
    frame.loc[11, "age"] = "old"
    frame.to_csv(tmp_path / "june.csv", index=False)
    out = tmp_path / "evaluation"
    assert main(["evaluate", "--bundle", str(bundle), "--data", str(tmp_path / "june.csv"), "--out", str(out)]) == 2
    assert 'row 12, column "age"' in capsys.readouterr().err


def prices(rows: int, seed: int, size: float = 100, noise: float = 10) -> pd.DataFrame:
    """Houses whose price is nearly linear in what is known of them."""
    generator = np.random.default_rng(seed)
    houses = pd.DataFrame({
        "size": generator.normal(size, 25, rows).round(2),
        "place": np.array(["north", "south", "west"])[generator.integers(3, size=rows)],
    })  # fmt: skip
    base = 3 * houses["size"] + 50 * (houses["place"] == "south")
    return houses.assign(price=(base + generator.normal(0, noise, rows)).round(2))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trainings on the same houses, by learners that differ much."""
    folder = tmp_path_factory.mktemp("houses")
    prices(1500, 1).to_csv(folder / "houses.csv", index=False)
    for learner in ("linear", "naive_bayes"):
        words = ["--data", str(folder / "houses.csv"), "--label", "price", "--learners", learner, "--entity", "house"]
        assert main(["train", "table", *words, "--out", str(folder / learner)]) == 0
    return folder


def test_a_number_is_evaluated_beside_its_training(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = prices(600, 2)
    asked = frame.copy().astype({"price": object})
    asked.loc[5:44, "price"] = ""
    data, out = tmp_path / "june.csv", tmp_path / "evaluation"
    asked.to_csv(data, index=False)
    words = ["evaluate", "--bundle", str(trained / "linear" / "bundle"), "--data", str(data), "--out", str(out)]
    assert main([*words, "--fail-above", "rmse=15,drift=0.25", "--fail-below", "r2=0.9"]) == 0
    told = capsys.readouterr().out
    assert "chance explains the difference" in told
    assert "None of 4 columns (score and label among them) has moved" in told
    assert "40 of 600 rows have no label" in told
    labelled = frame.drop(index=range(5, 45))
    found = Scorer.load(trained / "linear" / "bundle").predict(labelled)
    document = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    measured = {name: entry["value"] for name, entry in document["metrics"].items()}
    price = labelled["price"].to_numpy()
    assert measured["rmse"] == pytest.approx(sklearn_metrics.root_mean_squared_error(price, found.labels), rel=1e-6)
    assert measured["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(price, found.labels), rel=1e-6)
    assert measured["r2"] == pytest.approx(sklearn_metrics.r2_score(price, found.labels), rel=1e-6)
    inside = (found.probabilities[:, 0] <= price) & (price <= found.probabilities[:, 1])
    assert measured["coverage"] == pytest.approx(inside.mean())
    assert {one["name"] for one in document["drift"]} == {"size", "place", "predicted price", "price"}
    kept = read_predictions(out)
    assert isinstance(kept, NumberPredictions)
    assert kept.rows.tolist() == (labelled.index + 1).tolist()
    np.testing.assert_allclose(kept.label, price, rtol=1e-6)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Predicted and actual" in page
    assert "player" not in page + told


def test_a_number_that_has_moved_fails_its_gate(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "june.csv", tmp_path / "evaluation"
    prices(600, 3, size=160, noise=60).to_csv(data, index=False)
    words = ["evaluate", "--bundle", str(trained / "linear" / "bundle"), "--data", str(data), "--out", str(out)]
    assert main([*words, "--fail-above", "rmse=15", "--fail-below", "coverage=0.85"]) == 1
    told = capsys.readouterr().out
    assert "RMSE is worse than in training by" in told
    for name in ("size", "price", "predicted price"):
        assert f'"{name}" has moved a lot' in told
    assert "failed: rmse is" in told
    assert "failed: coverage is 0." in told


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--fail-below", "auc=0.5"], "auc is no measure of the bundle's task, regression"),
        (["--label", "place"], 'the label "place", row 1: '),
        (["--fail-below", "rmse=5"], "rmse is better low: give it to --fail-above"),
    ],
)
def test_bad_input_to_a_number_is_one_sentence(
    trained: Path, tmp_path: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prices(50, 6).to_csv(tmp_path / "june.csv", index=False)
    named = ["--bundle", str(trained / "linear" / "bundle"), "--data", str(tmp_path / "june.csv")]
    assert main(["evaluate", *named, "--out", str(tmp_path / "evaluation"), *words]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_trainings_of_a_number_are_listed_and_compared(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(trained / name) for name in ("linear", "naive_bayes")]
    assert main(["runs", "compare", *runs]) == 0
    assert "naive_bayes is worse than linear: RMSE" in capsys.readouterr().out
    assert main(["runs", "compare", *runs[::-1], "--measure", "mae"]) == 0
    assert "linear is better than naive_bayes: MAE" in capsys.readouterr().out
    assert main(["runs", "list", str(trained)]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["run", "when", "rows", "r2", "mae", "rmse"]


def delays(rows: int, seed: int) -> pd.DataFrame:
    """Orders whose days of delay are skewed, and grow with what is known of them."""
    generator = np.random.default_rng(seed)
    load = generator.uniform(0, 2, rows)
    return pd.DataFrame({"load": load.round(3), "days": generator.poisson(np.exp(load)) + 0.0})


@pytest.fixture(scope="module")
def by_losses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trainings by two losses, and a table to evaluate them on."""
    folder = tmp_path_factory.mktemp("orders")
    delays(900, 1).to_csv(folder / "orders.csv", index=False)
    delays(500, 2).to_csv(folder / "june.csv", index=False)
    for name, options in (("high", ["quantile", "--quantile", "0.9"]), ("mean", ["poisson"])):
        words = ["--data", str(folder / "orders.csv"), "--label", "days", "--learners", "linear", "--entity", "order"]
        asked = [*words, "--task", "regression", "--loss", *options, "--out", str(folder / name)]
        assert main(["train", "table", *asked]) == 0
    return folder


def evaluated(folder: Path, run: str, out: Path, *words: str) -> int:
    named = ["--bundle", str(folder / run / "bundle"), "--data", str(folder / "june.csv"), "--out", str(out)]
    return main(["evaluate", *named, *words])


def test_the_loss_of_the_training_is_told_and_gated(
    by_losses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.read_csv(by_losses / "june.csv")
    for run, name, titled in (
        ("high", "pinball_loss", "pinball loss"),
        ("mean", "poisson_deviance", "Poisson deviance"),
    ):
        found = Scorer.load(by_losses / run / "bundle").predict(frame).labels
        by_hand = {
            "pinball_loss": sklearn_metrics.mean_pinball_loss(frame["days"], found, alpha=0.9),
            "poisson_deviance": sklearn_metrics.mean_poisson_deviance(frame["days"], found),
        }[name]
        gate = f"{name}={by_hand * 0.9}"
        assert evaluated(by_losses, run, tmp_path / run, "--fail-above", f"{gate},rmse=100") == 1
        told = capsys.readouterr().out
        assert f"On 500 labelled rows the {titled} is" in told
        assert f"failed: {name} is {by_hand:.4f}" in told
        document = json.loads((tmp_path / run / "metrics.json").read_text(encoding="utf-8"))
        assert document["metrics"][name]["value"] == pytest.approx(by_hand, rel=1e-6)
        assert document["metrics"]["rmse"]["value"] > 0
        assert name in document["changes"]
    assert evaluated(by_losses, "high", tmp_path / "again") == 0
    assert main(["runs", "compare", str(tmp_path / "high"), str(tmp_path / "again"), "--measure", "pinball_loss"]) == 0
    assert "cannot be told apart: pinball loss" in capsys.readouterr().out


def test_the_loss_of_another_training_is_no_gate(
    by_losses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluated(by_losses, "high", tmp_path / "out", "--fail-above", "poisson_deviance=1") == 2
    assert "poisson_deviance is not the loss by which the bundle was trained; that is pinball_loss" in (
        capsys.readouterr().err
    )
    frame = pd.read_csv(by_losses / "june.csv")
    frame.loc[7, "days"] = -1
    (tmp_path / "mean").symlink_to(by_losses / "mean")
    frame.to_csv(tmp_path / "june.csv", index=False)
    assert evaluated(tmp_path, "mean", tmp_path / "out") == 2
    assert 'the label "days" is below 0 in 1 rows (the first is row 8)' in capsys.readouterr().err


def test_a_bundle_that_tells_no_loss_has_the_squared_one(
    by_losses: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(by_losses / "high", tmp_path / "old")
    told = tmp_path / "old" / "bundle" / "bundle.json"
    document = json.loads(told.read_text(encoding="utf-8"))
    assert document.pop("loss") == {"name": "quantile", "quantile": 0.9}
    told.write_text(json.dumps(document), encoding="utf-8")
    shutil.copy(by_losses / "june.csv", tmp_path)
    assert evaluated(tmp_path, "old", tmp_path / "out") == 0
    assert "On 500 labelled rows the RMSE is" in capsys.readouterr().out
    for wrong in ({"name": "huge"}, {"name": "quantile", "quantile": 2}, "squared"):
        told.write_text(json.dumps({**document, "loss": wrong}), encoding="utf-8")
        assert evaluated(tmp_path, "old", tmp_path / "again") == 2
        assert 'bundle.json: "loss" ' in capsys.readouterr().err
